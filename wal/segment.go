package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path/filepath"
	"sort"
	"sync/atomic"
)

const (
	formatVersion = 1

	segmentSuffix    = ".wal"
	spareSuffix      = ".spare"
	segmentMagic     = "HLNDRWAL"
	footerMagic      = "HLNDRIDX"
	headerBytes      = 64   // of segments, footers and slots alike
	frameStart       = 4096 // offset of a segment's first frame
	spotBytes        = 8
	spotEvery        = 64 << 10
	segmentBytesMin  = 16 << 10
	segmentBytesMax  = 1<<32 - 1 // offsets are uint32
	decimalsOfUint64 = 20
)

// segment is an open segment file. What it holds is said by an extent.
type segment struct {
	id, base uint64
	seed     uint32
	path     string
	file     File
	size     atomic.Int64 // of the file
}

// spot says where in a segment an entry's frame begins.
type spot struct {
	entry  uint32 // index − base
	offset uint32
}

// extent is a segment's entries, from its base to last. A value; spots is
// shared and only ever appended to.
type extent struct {
	*segment
	last    uint64 // base−1: none yet
	end     int64  // offset behind the last frame
	commits uint32
	spots   []spot
}

// add takes note of the next frame, n bytes long.
func (e *extent) add(index uint64, n int) {
	if noted := e.noted(); e.end-noted >= spotEvery {
		e.spots = append(e.spots, spot{uint32(index - e.base), uint32(e.end)})
	}
	e.last, e.end = index, e.end+int64(n)
}

// noted is the greatest offset that seek can answer.
func (e *extent) noted() int64 {
	if len(e.spots) == 0 {
		return frameStart
	}
	return int64(e.spots[len(e.spots)-1].offset)
}

// seek returns the nearest known frame at or before index.
func (e *extent) seek(index uint64) (at uint64, off int64) {
	i := sort.Search(len(e.spots), func(i int) bool { return e.base+uint64(e.spots[i].entry) > index })
	if i == 0 {
		return e.base, frameStart
	}
	return e.base + uint64(e.spots[i-1].entry), int64(e.spots[i-1].offset)
}

// cut returns the extent without the entries after last; end is where that one's frame ends.
func (e extent) cut(last uint64, end int64) extent {
	i := sort.Search(len(e.spots), func(i int) bool { return e.base+uint64(e.spots[i].entry) > last })
	e.last, e.end, e.spots = last, end, e.spots[:i:i]
	return e
}

func appendSegmentHeader(dst []byte, id, base uint64) []byte {
	h := make([]byte, headerBytes)
	copy(h, segmentMagic)
	binary.LittleEndian.PutUint32(h[8:], formatVersion)
	binary.LittleEndian.PutUint64(h[16:], id)
	binary.LittleEndian.PutUint64(h[24:], base)
	binary.LittleEndian.PutUint32(h[60:], crc32.Checksum(h[:60], castagnoli))
	return append(dst, h...)
}

// openSegment opens a segment by its name and verifies the header.
func openSegment(fs FS, dir string, name segmentName, flag int) (*segment, error) {
	path := filepath.Join(dir, name.String())
	f, err := fs.Open(OpOpen, path, flag)
	if err != nil {
		return nil, fmt.Errorf("wal: open segment: %w", err)
	}
	s := &segment{id: name.id, base: name.base, seed: frameSeed(name.id), path: path, file: f}
	size, err := f.Size()
	if err == nil {
		s.size.Store(size)
		err = s.verifyHeader()
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return s, nil
}

func (s *segment) verifyHeader() error {
	h := make([]byte, headerBytes)
	if n, err := s.file.ReadAt(OpRead, h, 0); err != nil {
		if !errors.Is(err, io.EOF) {
			return fmt.Errorf("wal: read header of segment %d: %w", s.id, err)
		}
		return &CorruptError{s.id, 0, s.base, "header length", headerBytes, uint64(n)}
	}
	if string(h[:8]) != segmentMagic {
		return &CorruptError{s.id, 0, s.base, "magic", magicNumber(segmentMagic), binary.LittleEndian.Uint64(h)}
	}
	if want, got := binary.LittleEndian.Uint32(h[60:]), crc32.Checksum(h[:60], castagnoli); want != got {
		return &CorruptError{s.id, 60, s.base, "header checksum", uint64(want), uint64(got)}
	}
	if v := binary.LittleEndian.Uint32(h[8:]); v != formatVersion {
		return fmt.Errorf("wal: segment %d has format version %d, this build reads version %d", s.id, v, formatVersion)
	}
	if id := binary.LittleEndian.Uint64(h[16:]); id != s.id {
		return &CorruptError{s.id, 16, s.base, "segment id", s.id, id}
	}
	if base := binary.LittleEndian.Uint64(h[24:]); base != s.base {
		return &CorruptError{s.id, 24, s.base, "base index", s.base, base}
	}
	return nil
}

func magicNumber(magic string) uint64 { return binary.LittleEndian.Uint64([]byte(magic)) }
