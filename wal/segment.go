package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
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

// frame takes note of the next frame, n bytes long.
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

// footerReserve is the room kept for the footer of a segment of this size.
func footerReserve(size int64) int64 { return align((size/spotEvery+1)*spotBytes + headerBytes) }

// segmentBytesFor is the size of a segment that can take a group commit of n bytes.
func segmentBytesFor(n int64) int64 {
	size := frameStart + n
	return size + footerReserve(size) + footerReserve(footerReserve(size))
}

// room is where frames must end in a segment file of this size.
func room(size int64) int64 { return size - footerReserve(size) }

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
	if v := binary.LittleEndian.Uint32(h[8:]); v != formatVersion {
		return fmt.Errorf("wal: segment %d has format version %d, this build reads version %d", s.id, v, formatVersion)
	}
	if want, got := binary.LittleEndian.Uint32(h[60:]), crc32.Checksum(h[:60], castagnoli); want != got {
		return &CorruptError{s.id, 60, s.base, "header checksum", uint64(want), uint64(got)}
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

// segmentName is what a segment's file name says.
type segmentName struct{ id, base uint64 }

func (n segmentName) String() string {
	return fmt.Sprintf("%020d-%020d%s", n.id, n.base, segmentSuffix)
}

func parseSegmentName(file string) (segmentName, bool) {
	id, base, ok := strings.Cut(strings.TrimSuffix(file, segmentSuffix), "-")
	if !ok || !strings.HasSuffix(file, segmentSuffix) {
		return segmentName{}, false
	}
	var n segmentName
	var idOK, baseOK bool
	n.id, idOK = parseDecimal(id)
	n.base, baseOK = parseDecimal(base)
	return n, idOK && baseOK && n.id > 0 && n.base > 0
}

func spareName(number uint64) string { return fmt.Sprintf("%020d%s", number, spareSuffix) }

func parseSpareName(file string) (uint64, bool) {
	if !strings.HasSuffix(file, spareSuffix) {
		return 0, false
	}
	return parseDecimal(strings.TrimSuffix(file, spareSuffix))
}

func parseDecimal(s string) (uint64, bool) {
	if len(s) != decimalsOfUint64 {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil
}
