package wal

import (
	"errors"
	"io"
)

const (
	windowBytesMin = 64 << 10  // what a jump reads
	windowBytesMax = 512 << 10 // what reading on grows to
)

// window is a buffer over a stretch of a segment file, moved forward in large reads.
type window struct {
	file  File
	limit int64 // nothing is read from here on
	off   int64 // file offset of buf[0]
	buf   []byte
	ahead int // how much the next read takes
}

// reset points the window at a file and forgets what it holds, but keeps the memory.
func (w *window) reset(f File, limit int64) {
	w.file, w.limit, w.off, w.buf, w.ahead = f, limit, 0, w.buf[:0], windowBytesMin
}

// at returns the bytes from off on: at least need of them, unless limit or the file's
// end comes first. They are valid until the next call.
func (w *window) at(off int64, need int) ([]byte, error) {
	if have := w.held(off); len(have) >= need {
		return have, nil
	}
	if off >= w.limit {
		return nil, nil
	}
	held := w.held(off)
	size := int(min(int64(max(need, w.ahead)), w.limit-off))
	if len(held) >= size {
		return held, nil
	}
	w.ahead = min(2*w.ahead, windowBytesMax)
	if cap(w.buf) < size {
		grown := make([]byte, max(int64(size), min(int64(w.ahead), w.limit)))
		copy(grown, held)
		w.buf = grown
	} else {
		copy(w.buf[:cap(w.buf)], held)
	}
	kept := len(held)
	n, err := w.file.ReadAt(OpRead, w.buf[kept:size], off+int64(kept))
	w.off, w.buf = off, w.buf[:kept+n]
	if err != nil && !errors.Is(err, io.EOF) {
		w.buf = w.buf[:0]
		return nil, err
	}
	return w.buf, nil
}

func (w *window) held(off int64) []byte {
	if off < w.off || off >= w.off+int64(len(w.buf)) {
		return nil
	}
	return w.buf[off-w.off:]
}

// frame decodes the frame at off. Its data is valid until the next call.
func (w *window) frame(seed uint32, off int64) (frame, int, error) {
	need := frameHeaderBytes
	for {
		b, err := w.at(off, need)
		if err != nil {
			return frame{}, 0, err
		}
		f, n, err := decodeFrame(seed, b)
		if !errors.Is(err, errShort) {
			return f, n, err
		}
		if len(b) >= need && n > need {
			need = n
			continue
		}
		return frame{}, 0, &frameError{field: "length", want: uint64(max(0, w.limit-off)), got: uint64(n)}
	}
}
