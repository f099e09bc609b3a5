package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
)

const (
	endFile  = "end"
	endMagic = "HLNDREND"
)

// endMark is what the file "end" says: once, the log reached at least this far. It is written when a segment is
// begun and when the log is closed, and never synced: it need not be there, but what it says stays true.
type endMark struct {
	segment uint64
	size    int64  // of the segment's file
	commits uint32 // complete in it
	last    uint64 // index
	end     int64  // offset behind it; for people
}

func (m endMark) encode() []byte {
	h := make([]byte, headerBytes)
	copy(h, endMagic)
	binary.LittleEndian.PutUint32(h[8:], formatVersion)
	binary.LittleEndian.PutUint64(h[16:], m.segment)
	binary.LittleEndian.PutUint64(h[24:], uint64(m.size))
	binary.LittleEndian.PutUint64(h[32:], m.last)
	binary.LittleEndian.PutUint64(h[40:], uint64(m.end))
	binary.LittleEndian.PutUint32(h[48:], m.commits)
	binary.LittleEndian.PutUint32(h[60:], crc32.Checksum(h[:60], castagnoli))
	return h
}

// readEnd returns the mark; the zero one, which claims nothing, where there is none that is valid.
func readEnd(fsys FS, dir string) (m endMark, err error) {
	f, err := fsys.Open(OpOpen, filepath.Join(dir, endFile), os.O_RDONLY)
	if missing(err) {
		return endMark{}, nil
	}
	if err != nil {
		return endMark{}, fmt.Errorf("wal: open %q: %w", endFile, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := make([]byte, headerBytes)
	if _, err := f.ReadAt(OpRead, h, 0); err != nil {
		if errors.Is(err, io.EOF) {
			return endMark{}, nil
		}
		return endMark{}, fmt.Errorf("wal: read %q: %w", endFile, err)
	}
	if string(h[:8]) != endMagic || crc32.Checksum(h[:60], castagnoli) != binary.LittleEndian.Uint32(h[60:]) ||
		binary.LittleEndian.Uint32(h[8:]) != formatVersion {
		return endMark{}, nil
	}
	return endMark{
		segment: binary.LittleEndian.Uint64(h[16:]),
		size:    int64(binary.LittleEndian.Uint64(h[24:])),
		last:    binary.LittleEndian.Uint64(h[32:]),
		end:     int64(binary.LittleEndian.Uint64(h[40:])),
		commits: binary.LittleEndian.Uint32(h[48:]),
	}, nil
}

// holds says what is missing of what the mark vouches for. tail is what was found in the last of the living segments.
func (m endMark) holds(s survey, tail extent) error {
	n := len(s.live)
	switch {
	case m.segment < s.bounds.lowest || n > 0 && m.segment < s.live[n-1].id:
		return nil // gone on since
	case n == 0 || m.segment > s.live[n-1].id:
		return &CorruptError{m.segment, 0, m.last, "number of files of the segment", 1, 0}
	case tail.commits < m.commits:
		return &CorruptError{tail.id, tail.end, tail.last + 1, "group commits", uint64(m.commits), uint64(tail.commits)}
	case tail.size.Load() < m.size:
		// No crash shortens a file, and what was cut off may have been in use.
		return &CorruptError{tail.id, tail.size.Load(), tail.last + 1, "length of the file", uint64(m.size), uint64(tail.size.Load())}
	}
	return nil
}

// markOf is the mark for an extent that is the tail.
func markOf(e extent) endMark {
	return endMark{segment: e.id, size: e.size.Load(), commits: e.commits, last: e.last, end: e.end}
}

// writeEnd replaces the mark. A disk without room for it is no failure: the mark only makes damage known.
func (w *WAL) writeEnd(m endMark) error {
	f, err := w.fs.Open(OpEndCreate, filepath.Join(w.dir, endFile), os.O_RDWR|os.O_CREATE)
	if err == nil {
		err = errors.Join(f.WriteAt(OpEndWrite, m.encode(), 0), f.Close())
	}
	switch {
	case err == nil:
		return nil
	case noSpace(err):
		w.logger.Warn("no space to note the end of the log", "err", err)
		return nil
	}
	return fmt.Errorf("wal: write %q: %w", endFile, err)
}

// markLater notes that a segment has been begun.
func (w *WAL) markLater(m endMark) {
	w.spares.do(func() {
		if err := w.writeEnd(m); err != nil {
			_ = w.failure.latch(err)
		}
	})
}
