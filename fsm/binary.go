package fsm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

var (
	errTruncated = errors.New("truncated")
	errVarint    = errors.New("malformed varint")
	errRange     = errors.New("number out of range")
)

func appendName(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

// scanner reads a binary format from the front. The first failure sticks, everything read after it is zero, and
// offset tells where it was.
type scanner struct {
	data   []byte
	offset int
	err    error
}

func (s *scanner) fail(err error) {
	if s.err == nil {
		s.err = fmt.Errorf("at byte %d: %w", s.offset, err)
	}
}

func (s *scanner) rest() []byte {
	if s.err != nil {
		return nil
	}
	return s.data[s.offset:]
}

func (s *scanner) take(n uint64) []byte {
	if s.err != nil {
		return nil
	}
	if n > uint64(len(s.data)-s.offset) {
		s.fail(errTruncated)
		return nil
	}
	from := s.offset
	s.offset += int(n)
	return s.data[from:s.offset:s.offset]
}

func (s *scanner) byte() byte {
	if b := s.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (s *scanner) uvarint() uint64 {
	if s.err != nil {
		return 0
	}
	v, n := binary.Uvarint(s.data[s.offset:])
	return advance(s, v, n)
}

func (s *scanner) varint() int64 {
	if s.err != nil {
		return 0
	}
	v, n := binary.Varint(s.data[s.offset:])
	return advance(s, v, n)
}

func advance[T uint64 | int64](s *scanner, v T, n int) T {
	switch {
	case n > 0:
		s.offset += n
		return v
	case n == 0:
		s.fail(errTruncated)
	default:
		s.fail(errVarint)
	}
	return 0
}

func (s *scanner) uint32() uint32 {
	v := s.uvarint()
	if v > math.MaxUint32 {
		s.fail(errRange)
		return 0
	}
	return uint32(v)
}

// name returns a view of the data; it is checked like every name of an entry.
func (s *scanner) name(what string, bytesMax int) []byte {
	b := s.take(s.uvarint())
	if s.err != nil {
		return nil
	}
	if err := checkBytes(what, b, bytesMax); err != nil {
		s.fail(err)
		return nil
	}
	return b
}

// finished fails if anything is left.
func (s *scanner) finished() error {
	if s.err == nil && s.offset != len(s.data) {
		s.fail(fmt.Errorf("%d bytes too many", len(s.data)-s.offset))
	}
	return s.err
}
