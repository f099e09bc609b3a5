package wal

import (
	"fmt"

	"github.com/hashicorp/raft"
)

// Room reports whether entries can be stored next as one group commit, be it in place of others, and frames of leave
// more bytes after them, whatever else fills the disk meanwhile. If need be it takes the space now and begins the next
// segment, so that storing needs none. It is for one writer: what is stored after the call takes the room away.
func (w *WAL) Room(logs []*raft.Log, leave int64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.usable() != nil {
		return true // whoever stores learns of it
	}
	fresh, replaces := w.fresh(logs, w.state.last)
	if len(fresh) == 0 {
		return true
	}
	var bytes int64
	for _, l := range fresh {
		bytes += frameBytes(l)
	}
	inTail := !replaces && bytes <= w.state.tail.left()
	if !w.secure(bytes, leave, inTail) {
		return false
	}
	if inTail || replaces || w.state.last == 0 { // a replacement is cut first; an empty log may go on at any index
		return true
	}
	return w.granted(w.rollLocked(w.state.last+1, bytes))
}

// fresh leaves out what the log has already. An entry of the same index and term is the same, and so is everything before
// it. replaces says that what is left takes the place of other entries.
func (w *WAL) fresh(logs []*raft.Log, last uint64) (fresh []*raft.Log, replaces bool) {
	for i := len(logs) - 1; i >= 0; i-- {
		if logs[i].Index > last {
			continue
		}
		var stored raft.Log
		if w.GetLog(logs[i].Index, &stored) == nil && stored.Term == logs[i].Term {
			return logs[i+1:], false
		}
		return logs, true
	}
	return logs, false
}

// securing is how often secure looks: a spare that was on its way when it looked first has come by then, and a large
// one and an ordinary one are made.
const securing = 4

// secure sees to it that a group commit has room, in the tail or in a spare, and leave bytes besides.
func (w *WAL) secure(bytes, leave int64, inTail bool) bool {
	for look := range securing {
		left, fits := w.spares.room(bytes)
		if inTail {
			left += w.state.tail.left()
		}
		if (fits || inTail) && left-bytes >= leave {
			return true
		}
		if look == 0 {
			w.spares.wait()
			continue
		}
		size := w.spares.size
		if !fits && !inTail {
			size = max(size, segmentBytesFor(bytes))
		}
		if err := w.spares.grow(size); err != nil {
			return w.granted(err)
		}
	}
	return false
}

// granted says whether an attempt to get room was not refused for lack of space. Any other failure is one of the log:
// whoever stores learns of it.
func (w *WAL) granted(err error) bool {
	if err != nil && !noSpace(err) {
		_ = w.failure.latch(err)
	}
	return !noSpace(err)
}

// left is how many bytes of frames fit behind the last one; none if there is no segment.
func (e extent) left() int64 {
	if e.segment == nil {
		return 0
	}
	return max(0, room(e.size.Load())-e.end)
}

// left is how many bytes of frames the tail and the spares take, whatever becomes of the disk.
func (w *WAL) left() int64 {
	all, _ := w.spares.room(0)
	return all + w.view.Load().tail.left()
}

// Scarce reports whether the disk had no space for another spare when it was last asked, and what is left of the log's
// own room is less than so many bytes. It takes no lock that a write holds.
func (w *WAL) Scarce(bytes int64) bool { return w.spares.lacked() && w.left() < bytes }

// Short says whether the disk is short of space. While it is, the log keeps one spare and gives back all other room
// that it does not need.
func (w *WAL) Short(short bool) {
	most := sparesMax
	if short {
		most = sparesShort
	}
	w.spares.do(func() {
		if err := w.spares.bound(most); err != nil {
			_ = w.failure.latch(err)
		}
	})
	w.Refill()
}

// Refill sees to it that there is a spare, soon. A full disk is no failure here: nothing is lost, the next reclaimed
// segment becomes one, and whoever finds the log without one asks again.
func (w *WAL) Refill() {
	w.spares.do(func() {
		known := w.spares.lacked()
		switch err := w.spares.refill(); {
		case err == nil:
		case !noSpace(err):
			_ = w.failure.latch(err)
		case !known:
			w.logger.Warn("no space for a spare segment", "err", err)
		}
	})
}

// eraseTorn does away with the frames of a group commit that was torn, in place, where there is no room for a segment in
// which the log could go on without them. Until it is done they are what they were: the rest of something torn.
func (w *WAL) eraseTorn() error {
	t := w.state.tail
	zeros := make([]byte, 1<<20)
	for off := t.end; off < t.size.Load(); off += int64(len(zeros)) {
		if err := t.file.WriteAt(OpEraseWrite, zeros[:min(int64(len(zeros)), t.size.Load()-off)], off); err != nil {
			return fmt.Errorf("wal: erase the torn end of segment %d: %w", t.id, err)
		}
	}
	if err := t.file.Sync(OpEraseSync); err != nil {
		return fmt.Errorf("wal: erase the torn end of segment %d: %w", t.id, err)
	}
	return nil
}
