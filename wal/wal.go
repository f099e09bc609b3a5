package wal

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"
)

// Options are the settings of a log. Only Dir is required.
type Options struct {
	Dir          string
	SegmentBytes int64 // size of a segment file; default 64 MiB, at least 16 KiB
	CacheBytes   int64 // bound of the cache of the newest entries; default 32 MiB, negative: none
	FS           FS    // default: the real one
	Logger       *slog.Logger
	Registerer   prometheus.Registerer
	// Held says that the directory has held entries: then one without a log is damaged, and not new.
	Held bool
	// StallTimeout is how long StoreLogs or DeleteRange may take before the disk counts as
	// hanging; default 5 s.
	StallTimeout time.Duration
	// Fatal is called once, with the first failure after which the log must not be written
	// any more, maybe with locks held: it must not call the log. It must end the process, or at
	// least its membership. Default: panic.
	Fatal func(error)

	// spawn runs work beside the writer; tests run it in place.
	spawn func(func())
}

func (o Options) withDefaults() (Options, error) {
	if o.Dir == "" {
		return o, errors.New("wal: no directory given")
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = 64 << 20
	}
	if o.SegmentBytes < segmentBytesMin || o.SegmentBytes > segmentBytesMax {
		return o, fmt.Errorf("wal: segment size %d is not between %d and %d", o.SegmentBytes, segmentBytesMin, int64(segmentBytesMax))
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = 32 << 20
	}
	if o.FS == nil {
		o.FS = osFS{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.StallTimeout <= 0 {
		o.StallTimeout = 5 * time.Second
	}
	return o, nil
}

// WAL is an open log. Its methods may be called from any goroutine.
type WAL struct {
	fs       FS
	dir      string
	logger   *slog.Logger
	metrics  *metrics
	failure  *failure
	watchdog *watchdog
	spares   *spares
	cache    *tail
	cursors  cursorPool
	view     atomic.Pointer[view]
	closed   atomic.Bool

	// Under mu: the writer's own state, from which each view is made.
	mu     sync.Mutex
	state  view
	bounds bounds
	first  File // the file of bounds
	nextID uint64
	buffer []byte
}

var (
	_ raft.LogStore          = (*WAL)(nil)
	_ raft.MonotonicLogStore = (*WAL)(nil)
)

// Open opens the log in a directory, or makes an empty one. It repairs a torn tail,
// and answers with a *CorruptError for damage that is not one. The directory must
// not be open elsewhere for writing: the caller holds a lock on it.
func Open(options Options) (*WAL, error) {
	o, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := o.FS.MkdirAll(OpOpen, o.Dir); err != nil {
		return nil, fmt.Errorf("wal: %w", err)
	}
	first, bounds, err := openOrCreateBounds(o.FS, o.Dir, o.Held)
	if err != nil {
		return nil, err
	}
	found, err := look(o.FS, o.Dir, bounds)
	if err != nil {
		return nil, errors.Join(err, first.Close())
	}
	loaded, err := load(o.FS, o.Dir, found, os.O_RDWR)
	if err != nil {
		return nil, errors.Join(err, first.Close())
	}
	w := newWAL(o, first, found, loaded)
	if err := w.repair(found, loaded); err != nil {
		return nil, errors.Join(err, w.closeFiles())
	}
	w.metrics.register(o.Registerer, w.Info)
	return w, nil
}

// openOrCreateBounds opens the file "first", and makes it in a directory without segments.
func openOrCreateBounds(fsys FS, dir string, held bool) (File, bounds, error) {
	f, b, err := openBounds(fsys, dir, os.O_RDWR)
	if !missing(err) {
		return f, b, err
	}
	if held {
		return nil, bounds{}, &CorruptError{Field: "presence of file \"first\"", Want: 1, Got: 0}
	}
	names, err := fsys.List(OpOpen, dir)
	if err != nil {
		return nil, bounds{}, fmt.Errorf("wal: list %s: %w", dir, err)
	}
	for _, name := range names {
		if n, ok := parseSegmentName(name); ok {
			return nil, bounds{}, &CorruptError{Segment: n.id, Index: n.base, Field: "presence of file \"first\"", Want: 1, Got: 0}
		}
	}
	if err := createBounds(fsys, dir); err != nil {
		return nil, bounds{}, err
	}
	return openBounds(fsys, dir, os.O_RDWR)
}

func newWAL(o Options, first File, found survey, loaded files) *WAL {
	w := &WAL{
		fs: o.FS, dir: o.Dir, logger: o.Logger.With("component", "wal"), metrics: newMetrics(),
		failure: newFailure(o.Fatal), spares: newSpares(o.FS, o.Dir, o.SegmentBytes, o.spawn), cache: newTail(o.CacheBytes),
		first: first, bounds: found.bounds, nextID: found.bounds.lowest,
	}
	w.watchdog = newWatchdog(o.StallTimeout, w.failure)
	for _, name := range slices.Concat(found.live, found.dead) {
		w.nextID = max(w.nextID, name.id+1)
	}
	if n := len(loaded.extents); n > 0 {
		w.state.sealed, w.state.tail = loaded.extents[:n-1:n-1], loaded.extents[n-1]
		w.state.first = max(found.bounds.first, loaded.extents[0].base)
		w.state.last = w.state.tail.last
	}
	return w
}

// repair brings the directory in order: a torn tail cut off, dead files reclaimed, a
// spare at hand.
func (w *WAL) repair(found survey, loaded files) error {
	for _, number := range found.spares {
		if err := w.spares.adopt(number); err != nil {
			return err
		}
	}
	if err := w.repairTail(loaded); err != nil {
		return err
	}
	w.publish()
	for _, i := range loaded.rescanned {
		if e := loaded.extents[i]; w.state.contains(e.last) {
			w.sealLater(e)
		}
	}
	for _, name := range found.dead {
		if err := w.retireUnopened(name); err != nil {
			return err
		}
	}
	w.Refill()
	return nil
}

func (w *WAL) repairTail(loaded files) error {
	torn := loaded.torn
	if torn.dirty {
		w.logger.Warn("torn tail cut off", "segment", w.state.tail.id, "offset", w.state.tail.end, "index", torn.index)
	}
	switch {
	case len(loaded.extents) > 0 && loaded.empty():
		// A segment that never got a whole commit fixes no index for the next entry.
		return w.resetLocked()
	case torn.dirty:
		err := w.rollLocked(torn.index, 0)
		if noSpace(err) {
			return w.eraseTorn()
		}
		return err
	}
	return nil
}

// retireUnopened reclaims a dead segment found at opening.
func (w *WAL) retireUnopened(name segmentName) error {
	path := filepath.Join(w.dir, name.String())
	f, err := w.fs.Open(OpOpen, path, os.O_RDWR)
	if err != nil {
		return fmt.Errorf("wal: open dead segment: %w", err)
	}
	w.retireLater(&segment{id: name.id, base: name.base, path: path, file: f})
	return nil
}

// publish shows the writer's state to readers.
func (w *WAL) publish() {
	v := w.state
	w.view.Store(&v)
}

// IsMonotonic tells raft that indexes have no gaps.
func (w *WAL) IsMonotonic() bool { return true }

// FirstIndex returns the lowest index, 0 for an empty log.
func (w *WAL) FirstIndex() (uint64, error) { return w.view.Load().first, nil }

// LastIndex returns the greatest index, 0 for an empty log.
func (w *WAL) LastIndex() (uint64, error) { return w.view.Load().last, nil }

// GetLog fills in an entry. Outside of the first to the last index it returns exactly
// raft.ErrLogNotFound. Data may be shared with the cache and must not be changed.
func (w *WAL) GetLog(index uint64, l *raft.Log) error {
	if !w.view.Load().contains(index) {
		return raft.ErrLogNotFound
	}
	if held := w.cache.get(index); held != nil {
		w.metrics.cached.Inc()
		*l = *held
		return nil
	}
	w.metrics.disk.Inc()
	c := w.cursors.take(index)
	defer w.cursors.put(c)
	f, err := w.read(c, index)
	if err != nil {
		return err
	}
	f.copyTo(l)
	return nil
}

// read reads an entry from its segment; raft.ErrLogNotFound if it is not there (any more).
func (w *WAL) read(c *cursor, index uint64) (frame, error) {
	for {
		v := w.view.Load()
		if !v.contains(index) {
			return frame{}, raft.ErrLogNotFound
		}
		f, err := c.read(v, index)
		if err == nil {
			return f, nil
		}
		c.forget()
		if w.closed.Load() {
			return frame{}, ErrClosed
		}
		if w.view.Load().generation != v.generation {
			continue // removed under our hands: look again
		}
		return frame{}, w.failure.latch(fmt.Errorf("wal: read entry %d: %w", index, err))
	}
}

// Info is what the log holds.
type Info struct {
	FirstIndex, LastIndex uint64 // 0, 0: empty
	Segments              int
	Spares                int
	Bytes                 int64 // of segments in use, without what is only preallocated
	DiskBytes             int64 // that the files take, preallocated and spare ones included
	Scarce                bool  // the disk had no space for another spare when it was last asked
}

// Info returns what the log holds now.
func (w *WAL) Info() Info {
	v := w.view.Load()
	info := Info{FirstIndex: v.first, LastIndex: v.last, Scarce: w.spares.lacked()}
	v.extents(func(e extent) {
		info.Segments++
		info.Bytes += e.end
		info.DiskBytes += e.size.Load()
	})
	spares, bytes := w.spares.diskBytes()
	info.Spares = spares
	info.DiskBytes += bytes
	return info
}

// Close waits for work under way and closes the files. Everything stored is durable
// already. Reads that are under way may end with ErrClosed. It waits for a hanging disk: after Fatal,
// exit instead.
func (w *WAL) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed.Swap(true) {
		return nil
	}
	w.spares.wait()
	return errors.Join(w.note(), w.closeFiles())
}

// note leaves word of how far the log reaches, unless it has failed.
func (w *WAL) note() error {
	if w.state.tail.segment == nil || w.failure.latched() != nil {
		return nil
	}
	return w.writeEnd(markOf(w.state.tail))
}

func (w *WAL) closeFiles() error {
	w.watchdog.stop()
	errs := []error{w.spares.close(), w.first.Close()}
	w.state.extents(func(e extent) { errs = append(errs, e.file.Close()) })
	return errors.Join(errs...)
}

// usable refuses a log that is closed or has failed.
func (w *WAL) usable() error {
	if w.closed.Load() {
		return ErrClosed
	}
	return w.failure.latched()
}

const indexMax = math.MaxUint64 - 1
