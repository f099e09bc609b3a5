package wal

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"
)

// bufferBytesKept bounds what the encoding buffer keeps between two commits: raft sends at
// most 64 entries of at most 256 KiB.
const bufferBytesKept = 17 << 20

// StoreLog stores one entry as a group commit of its own.
func (w *WAL) StoreLog(l *raft.Log) error { return w.StoreLogs([]*raft.Log{l}) }

// StoreLogs stores entries as one group commit: one write, one fdatasync. All of them are
// durable when it returns nil, and after a crash either all or none are there. They must
// continue the log, ErrGap otherwise; an empty log takes any index. The entries are
// kept in the cache as they are: neither they nor their data may be changed afterwards.
func (w *WAL) StoreLogs(logs []*raft.Log) error {
	if len(logs) == 0 {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.usable(); err != nil {
		return err
	}
	bytes, err := w.admit(logs)
	if err != nil {
		return err
	}
	w.watchdog.start()
	defer w.watchdog.stop()
	if w.state.tail.segment == nil || w.state.tail.end+bytes > room(w.state.tail.size.Load()) {
		if err := w.rollLocked(logs[0].Index, bytes); err != nil {
			return w.failure.latch(err)
		}
	}
	if err := w.commit(logs); err != nil {
		return w.failure.latch(err)
	}
	return w.show(logs)
}

// admit checks that entries continue the log and returns how much room they take.
func (w *WAL) admit(logs []*raft.Log) (bytes int64, err error) {
	want := w.state.last + 1
	if w.state.last == 0 {
		want = logs[0].Index
	}
	if want == 0 {
		return 0, fmt.Errorf("%w: index 0", ErrGap)
	}
	for _, l := range logs {
		if l.Index != want || l.Index > indexMax {
			return 0, fmt.Errorf("%w: want index %d, got %d", ErrGap, want, l.Index)
		}
		if n := int64(len(l.Data)) + int64(len(l.Extensions)); n > entryBytesMax {
			return 0, fmt.Errorf("wal: entry %d has %d bytes, more than %d", l.Index, n, entryBytesMax)
		}
		bytes += frameBytes(l)
		want++
	}
	if segmentBytesFor(bytes) > segmentBytesMax {
		return 0, fmt.Errorf("wal: a group commit of %d bytes is more than a segment can hold", bytes)
	}
	return bytes, nil
}

// commit writes and syncs one group commit behind the tail's end, and takes note of it.
func (w *WAL) commit(logs []*raft.Log) error {
	t := w.state.tail // a copy, so that an error changes nothing
	t.commits++
	start := t.end
	buffer := w.buffer[:0]
	for i, l := range logs {
		before := len(buffer)
		buffer = appendFrame(buffer, t.seed, t.commits, i == len(logs)-1, l)
		t.add(l.Index, len(buffer)-before)
	}
	if w.buffer = buffer; cap(buffer) > bufferBytesKept {
		w.buffer = nil
	}
	if err := t.file.WriteAt(OpAppendWrite, buffer, start); err != nil {
		return fmt.Errorf("wal: append index %d to segment %d at offset %d: %w", logs[0].Index, t.id, start, err)
	}
	began := time.Now()
	if err := t.file.Sync(OpAppendSync); err != nil {
		return fmt.Errorf("wal: sync index %d in segment %d: %w", logs[0].Index, t.id, err)
	}
	w.metrics.fsync.Observe(time.Since(began).Seconds())
	w.metrics.bytes.Add(float64(len(buffer)))
	w.metrics.entries.Add(float64(len(logs)))
	w.state.tail = t
	return nil
}

// show lets readers see a durable commit, unless it took so long that the node was told
// to stop: then its fate is the next start's business.
func (w *WAL) show(logs []*raft.Log) error {
	if err := w.failure.latched(); err != nil {
		return err
	}
	if w.state.last == 0 {
		w.state.first = logs[0].Index
	}
	w.state.last = logs[len(logs)-1].Index
	for _, l := range logs {
		w.cache.put(l)
	}
	w.publish()
	return nil
}

// rollLocked makes a new tail segment with the base, with room for a group commit of this many bytes.
// Everything from the base on is cut by it, durably; nothing is published yet.
func (w *WAL) rollLocked(base uint64, bytes int64) error {
	made, err := w.newSegment(base, segmentBytesFor(bytes))
	if err != nil {
		return err
	}
	old := w.state.tail
	w.state.tail = extent{segment: made, last: base - 1, end: frameStart}
	switch {
	case old.segment == nil:
	case old.base >= base:
		w.retireLater(old.segment)
	default:
		w.state.sealed = append(w.state.sealed, old)
		w.sealLater(old)
	}
	w.Refill()
	return nil
}

// newSegment turns a spare into a segment. The rename is the moment from which it counts; by
// then its header is durable.
func (w *WAL) newSegment(base uint64, size int64) (*segment, error) {
	file, err := w.spares.take(size)
	if err != nil {
		return nil, err
	}
	name := segmentName{id: w.nextID, base: base}
	s := &segment{id: name.id, base: base, seed: frameSeed(name.id), path: filepath.Join(w.dir, name.String()), file: file.file}
	s.size.Store(file.size)
	if err := s.file.WriteAt(OpRollHeader, appendSegmentHeader(nil, s.id, base), 0); err != nil {
		return nil, fmt.Errorf("wal: write header of segment %d: %w", s.id, err)
	}
	if err := s.file.Sync(OpRollSync); err != nil {
		return nil, fmt.Errorf("wal: sync header of segment %d: %w", s.id, err)
	}
	if err := w.fs.Rename(OpRollRename, file.path, s.path); noSpace(err) {
		w.spares.add(file) // the directory has no room for the name, and all is as it was
		return nil, w.spares.lacks(fmt.Errorf("wal: name segment %d: %w", s.id, err))
	} else if err != nil {
		return nil, fmt.Errorf("wal: name segment %d: %w", s.id, err)
	}
	if err := w.fs.SyncDir(OpRollSyncDir, w.dir); err != nil {
		return nil, fmt.Errorf("wal: name segment %d: %w", s.id, err)
	}
	w.nextID++
	w.markLater(endMark{segment: s.id, size: file.size, last: base - 1, end: frameStart})
	return s, nil
}

// sealLater writes a segment's footer and gives back the room behind it.
func (w *WAL) sealLater(e extent) {
	w.spares.do(func() {
		footer := appendFooter(nil, e)
		err := e.file.WriteAt(OpSealWrite, footer, e.end)
		size := e.end + int64(len(footer))
		if err == nil {
			err = e.file.Truncate(OpSealTruncate, size)
		}
		switch {
		case err == nil:
			e.size.Store(size)
		case noSpace(err):
			w.logger.Warn("segment is not sealed, opening will scan it", "segment", e.id, "err", err)
		default:
			_ = w.failure.latch(fmt.Errorf("wal: seal segment %d: %w", e.id, err))
		}
	})
}

// retireLater reclaims a segment that no view holds any more.
func (w *WAL) retireLater(s *segment) {
	w.spares.do(func() {
		recycled, err := w.spares.retire(s.file, s.path)
		if err != nil {
			_ = w.failure.latch(err)
		}
		if recycled {
			w.metrics.recycled.Inc()
		}
	})
}
