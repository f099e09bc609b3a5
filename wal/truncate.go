package wal

import (
	"fmt"
	"slices"
	"sort"
)

// DeleteRange removes the entries from low to high, both included. Raft means one of three
// things by it, told apart by what the log holds:
//
//	        first ············ last
//	low ──────────── high                prefix:     compaction; the log begins at high+1
//	                low ──────────── high   suffix:     a term conflict; the log ends at low−1
//	low ──────────────────────────── high   everything: after a snapshot was installed; the log is empty
//
// A range beside the log is accepted and does nothing, likewise any range on an empty log. One
// strictly inside is an error: the log has no holes. It is durable when it returns; disk space
// comes back a little later.
func (w *WAL) DeleteRange(low, high uint64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.usable(); err != nil {
		return err
	}
	w.watchdog.start()
	defer w.watchdog.stop()
	first, last := w.state.first, w.state.last
	var err error
	switch {
	case last == 0 || low > high || high < first || low > last:
		return nil
	case low <= first && high >= last:
		err = w.resetLocked()
	case low <= first:
		err = w.reclaim(high + 1)
	case high >= last:
		err = w.cut(low)
	default:
		return fmt.Errorf("wal: delete %d to %d would leave a hole in %d to %d", low, high, first, last)
	}
	if err != nil {
		return w.failure.latch(err)
	}
	w.publish()
	return nil
}

// reclaim removes what is below the new first index.
func (w *WAL) reclaim(first uint64) error {
	lowest := w.state.find(first)
	if err := w.bound(first, lowest.id); err != nil {
		return err
	}
	n := sort.Search(len(w.state.sealed), func(i int) bool { return w.state.sealed[i].id >= lowest.id })
	dead := w.state.sealed[:n]
	w.state.sealed = w.state.sealed[n:]
	w.state.first = first
	w.removed(dead)
	return nil
}

// cut removes everything from an index on, by a new segment that begins there.
func (w *WAL) cut(from uint64) error {
	before := w.state // for the extents; rolling replaces the tail
	keep := before.find(from - 1)
	end, err := w.endOf(from - 1)
	if err != nil {
		return err
	}
	made, err := w.newSegment(from, segmentBytesFor(0))
	if err != nil {
		return err
	}
	kept := keep.cut(from-1, end)
	n := sort.Search(len(before.sealed), func(i int) bool { return before.sealed[i].id >= keep.id })
	w.state.sealed = append(slices.Clone(before.sealed[:n]), kept) // views share the old one
	w.state.tail = extent{segment: made, last: from - 1, end: frameStart}
	w.state.last = from - 1
	w.cache.truncate(from)
	var dead []extent
	before.extents(func(e extent) {
		if e.id > keep.id {
			dead = append(dead, e)
		}
	})
	w.removed(dead)
	w.sealLater(kept)
	w.Refill()
	return nil
}

// endOf returns the offset behind an entry's frame.
func (w *WAL) endOf(index uint64) (int64, error) {
	c := w.cursors.take(index)
	defer w.cursors.put(c)
	if _, err := c.read(&w.state, index); err != nil {
		return 0, fmt.Errorf("wal: read entry %d: %w", index, err)
	}
	return c.off, nil
}

// resetLocked removes everything; the next entry may have any index.
func (w *WAL) resetLocked() error {
	if err := w.bound(0, w.nextID); err != nil {
		return err
	}
	var dead []extent
	w.state.extents(func(e extent) { dead = append(dead, e) })
	w.state.sealed, w.state.tail = nil, extent{}
	w.state.first, w.state.last = 0, 0
	w.cache.clear()
	w.removed(dead)
	return nil
}

// bound makes new bounds durable.
func (w *WAL) bound(first, lowest uint64) error {
	b := bounds{sequence: w.bounds.sequence + 1, first: first, lowest: lowest}
	if err := writeBounds(w.first, b); err != nil {
		return err
	}
	w.bounds = b
	return nil
}

// removed publishes the state, so that no reader finds the dead segments any more, then
// reclaims them.
func (w *WAL) removed(dead []extent) {
	w.state.generation++
	w.publish()
	for _, e := range dead {
		w.retireLater(e.segment)
	}
}
