package wal

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"time"

	"github.com/hashicorp/raft"
)

const (
	frameHeaderBytes = 48
	frameAlign       = 8
	frameFlagLast    = 1 // last frame of its group commit

	// entryBytesMax bounds what a length field may claim. Entries of the
	// project are 256 KiB at most; the bound only keeps a decoder sane.
	entryBytesMax = 1 << 30
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)

	// errShort: the frame goes on behind the bytes at hand.
	errShort = errors.New("frame is longer than the bytes at hand")
)

// frame is a decoded frame; data and extensions alias the bytes it was decoded from.
type frame struct {
	index, term      uint64
	appendedAt       time.Time
	commit           uint32
	kind             raft.LogType
	last             bool // of its group commit
	data, extensions []byte
}

// frameError says what about a frame is not as it must be.
type frameError struct {
	field     string
	want, got uint64
}

func (e *frameError) Error() string { return "bad " + e.field }

// frameSeed is the CRC's start for a segment: the sum over its id.
func frameSeed(segment uint64) uint32 {
	var id [8]byte
	binary.LittleEndian.PutUint64(id[:], segment)
	return crc32.Checksum(id[:], castagnoli)
}

// frameBytes is the room an entry takes in a segment, padding included.
func frameBytes(l *raft.Log) int64 {
	return align(frameHeaderBytes + int64(len(l.Data)) + int64(len(l.Extensions)))
}

func align(n int64) int64 { return (n + frameAlign - 1) &^ (frameAlign - 1) }

// appendFrame appends an entry's frame, padding included, to dst.
func appendFrame(dst []byte, seed, commit uint32, last bool, l *raft.Log) []byte {
	start := len(dst)
	var h [frameHeaderBytes]byte
	binary.LittleEndian.PutUint32(h[4:], uint32(len(l.Data)))
	binary.LittleEndian.PutUint64(h[8:], l.Index)
	binary.LittleEndian.PutUint64(h[16:], l.Term)
	binary.LittleEndian.PutUint64(h[24:], uint64(l.AppendedAt.Unix()))
	binary.LittleEndian.PutUint32(h[32:], uint32(len(l.Extensions)))
	binary.LittleEndian.PutUint32(h[36:], uint32(l.AppendedAt.Nanosecond()))
	binary.LittleEndian.PutUint32(h[40:], commit)
	h[44] = byte(l.Type)
	if last {
		h[45] = frameFlagLast
	}
	dst = append(dst, h[:]...)
	dst = append(dst, l.Extensions...)
	dst = append(dst, l.Data...)
	sum := crc32.Update(seed, castagnoli, dst[start+4:])
	binary.LittleEndian.PutUint32(dst[start:], sum)
	for (len(dst)-start)%frameAlign != 0 {
		dst = append(dst, 0)
	}
	return dst
}

// decodeFrame decodes and verifies the frame at the start of b, which was written
// under the seed. n is the frame's length with padding. With errShort, n says how
// many bytes are needed; any other error is a *frameError.
func decodeFrame(seed uint32, b []byte) (f frame, n int, err error) {
	if len(b) < frameHeaderBytes {
		return frame{}, frameHeaderBytes, errShort
	}
	f.index = binary.LittleEndian.Uint64(b[8:])
	if f.index == 0 {
		return frame{}, 0, &frameError{field: "index", want: 1, got: 0}
	}
	data, extensions := int64(binary.LittleEndian.Uint32(b[4:])), int64(binary.LittleEndian.Uint32(b[32:]))
	if data+extensions > entryBytesMax {
		return frame{}, 0, &frameError{field: "length", want: entryBytesMax, got: uint64(data + extensions)}
	}
	end := frameHeaderBytes + data + extensions
	n = int(align(end))
	if len(b) < n {
		return frame{}, n, errShort
	}
	want, got := binary.LittleEndian.Uint32(b), crc32.Update(seed, castagnoli, b[4:end])
	if want != got {
		return frame{}, 0, &frameError{field: "checksum", want: uint64(want), got: uint64(got)}
	}
	if unknown := binary.LittleEndian.Uint32(b[44:]) >> 8 &^ frameFlagLast; unknown != 0 {
		return frame{}, 0, &frameError{field: "flags", want: 0, got: uint64(unknown)}
	}
	if nanoseconds := binary.LittleEndian.Uint32(b[36:]); nanoseconds >= 1e9 {
		return frame{}, 0, &frameError{field: "nanoseconds", want: 1e9 - 1, got: uint64(nanoseconds)}
	}
	f.term = binary.LittleEndian.Uint64(b[16:])
	f.appendedAt = time.Unix(int64(binary.LittleEndian.Uint64(b[24:])), int64(binary.LittleEndian.Uint32(b[36:]))).UTC()
	f.commit = binary.LittleEndian.Uint32(b[40:])
	f.kind = raft.LogType(b[44])
	f.last = b[45]&frameFlagLast != 0
	if extensions > 0 {
		f.extensions = b[frameHeaderBytes : frameHeaderBytes+extensions : frameHeaderBytes+extensions]
	}
	if data > 0 {
		f.data = b[frameHeaderBytes+extensions : end : end]
	}
	return f, n, nil
}

// copyTo fills a log entry that the caller owns, with one allocation.
func (f *frame) copyTo(l *raft.Log) {
	*l = raft.Log{Index: f.index, Term: f.term, Type: f.kind, AppendedAt: f.appendedAt}
	if len(f.data)+len(f.extensions) == 0 {
		return
	}
	own := make([]byte, len(f.extensions)+len(f.data))
	x := copy(own, f.extensions)
	copy(own[x:], f.data)
	if x > 0 {
		l.Extensions = own[:x:x]
	}
	if len(f.data) > 0 {
		l.Data = own[x:]
	}
}
