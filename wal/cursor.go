package wal

import "errors"

// cursor reads frames from the segment files, in order, through one buffer.
type cursor struct {
	window  window
	segment *segment
	next    uint64 // the frame at off
	off     int64
}

// read returns the entry of an index that the view contains. Its data is valid until
// the next call. What was read ahead stays good: an entry that replaces another one is always in
// another segment.
func (c *cursor) read(v *view, index uint64) (frame, error) {
	e := v.find(index)
	if c.segment != e.segment || c.next != index {
		c.seek(&e, index)
	}
	c.window.limit = e.end
	for {
		f, n, err := c.window.frame(e.seed, c.off)
		if err == nil && f.index != c.next {
			err = &frameError{field: "index", want: c.next, got: f.index}
		}
		if err != nil {
			return frame{}, located(err, e.id, c.off, c.next)
		}
		c.off += int64(n)
		c.next++
		if f.index == index {
			return f, nil
		}
	}
}

func (c *cursor) seek(e *extent, index uint64) {
	at, off := e.seek(index)
	if c.segment == e.segment && c.next > at && c.next <= index {
		return // already nearer
	}
	if c.segment != e.segment {
		c.window.reset(e.file, e.end)
	}
	c.segment, c.next, c.off = e.segment, at, off
	c.window.ahead = windowBytesMin
}

// forget makes the next read begin anew.
func (c *cursor) forget() { c.segment = nil }

// located turns a frame's error into a CorruptError; others are the disk's own.
func located(err error, id uint64, off int64, index uint64) error {
	var bad *frameError
	if errors.As(err, &bad) {
		return &CorruptError{id, off, index, bad.field, bad.want, bad.got}
	}
	return err
}
