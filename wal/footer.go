package wal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
)

// footerReserve is the room kept for the footer of a segment of this size.
func footerReserve(size int64) int64 { return align((size/spotEvery+1)*spotBytes + headerBytes) }

// segmentBytesFor is the size of a segment that can take a group commit of n bytes.
func segmentBytesFor(n int64) int64 {
	size := frameStart + n
	return size + footerReserve(size) + footerReserve(footerReserve(size))
}

// room is where frames must end in a segment file of this size.
func room(size int64) int64 { return size - footerReserve(size) }

// frameRoom is how many bytes of frames a segment file of this size takes.
func frameRoom(size int64) int64 { return max(0, room(size)-frameStart) }

// appendFooter appends the extent's footer to dst.
func appendFooter(dst []byte, e extent) []byte {
	start := len(dst)
	for _, s := range e.spots {
		dst = binary.LittleEndian.AppendUint32(dst, s.entry)
		dst = binary.LittleEndian.AppendUint32(dst, s.offset)
	}
	var t [headerBytes]byte
	copy(t[:], footerMagic)
	binary.LittleEndian.PutUint64(t[8:], e.last)
	binary.LittleEndian.PutUint64(t[16:], uint64(e.end))
	binary.LittleEndian.PutUint32(t[24:], uint32(len(e.spots)))
	binary.LittleEndian.PutUint32(t[28:], e.commits)
	dst = append(dst, t[:]...)
	sum := crc32.Update(e.seed, castagnoli, dst[start:len(dst)-4])
	binary.LittleEndian.PutUint32(dst[len(dst)-4:], sum)
	return dst
}

// readFooter returns the extent that a sealed segment's footer describes. ok is false
// if there is no valid footer: the segment must be scanned.
func readFooter(s *segment) (e extent, ok bool, err error) {
	size := s.size.Load()
	if size < frameStart+headerBytes {
		return extent{}, false, nil
	}
	t := make([]byte, headerBytes)
	if _, err := s.file.ReadAt(OpRead, t, size-headerBytes); err != nil {
		return extent{}, false, fmt.Errorf("wal: read footer of segment %d: %w", s.id, err)
	}
	n := int64(binary.LittleEndian.Uint32(t[24:]))
	end := size - headerBytes - n*spotBytes
	if string(t[:8]) != footerMagic || end < frameStart || binary.LittleEndian.Uint64(t[16:]) != uint64(end) {
		return extent{}, false, nil
	}
	b := make([]byte, size-end)
	if _, err := s.file.ReadAt(OpRead, b, end); err != nil {
		return extent{}, false, fmt.Errorf("wal: read footer of segment %d: %w", s.id, err)
	}
	if crc32.Update(s.seed, castagnoli, b[:len(b)-4]) != binary.LittleEndian.Uint32(b[len(b)-4:]) {
		return extent{}, false, nil
	}
	e = extent{segment: s, last: binary.LittleEndian.Uint64(t[8:]), end: end, commits: binary.LittleEndian.Uint32(t[28:])}
	e.spots = make([]spot, n)
	for i := range e.spots {
		e.spots[i] = spot{binary.LittleEndian.Uint32(b[i*spotBytes:]), binary.LittleEndian.Uint32(b[i*spotBytes+4:])}
	}
	return e, true, nil
}

// describes says where a footer's extent is not that of the frames, as far as those were read.
func (e extent) describes(read extent) error {
	switch known := e.cut(read.last, e.end).spots; {
	case e.last < read.last:
		return &CorruptError{e.id, e.end, e.last + 1, "last index", read.last, e.last}
	case e.last == read.last && e.end != read.end:
		return &CorruptError{e.id, e.end, e.last, "end of the frames", uint64(read.end), uint64(e.end)}
	case !slices.Equal(known, read.spots):
		return &CorruptError{e.id, e.end, e.base, "number of known offsets", uint64(len(read.spots)), uint64(len(known))}
	}
	return nil
}
