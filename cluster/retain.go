package cluster

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// ladderMax bounds how many snapshots above the base are kept for restarts.
const ladderMax = 32

// retention stands between Raft and its two stores and decides what they may forget. Raft takes snapshots as
// it likes; retention shows it only the base when it wants to send one to a peer, never deletes the base's
// entry or anything above it, and answers for the base's term when the entry itself is gone. See doc.go.
type retention struct {
	log      raft.LogStore
	files    *snapshotFiles
	dir      *Dir
	cluster  string
	floor    func() uint64
	trailing uint64
	logger   *slog.Logger
	watch    *watchdog
	leads    func() bool                     // whether it is a leader who stores
	afford   func(entries []*raft.Log) error // Options.Afford
	fatal    func(error)                     // stops everything this node could still say, then reports

	trim    sync.Mutex  // held from looking at the log's bounds to deleting by them
	serving atomic.Bool // set when NewRaft has restored: from then on List has one caller, who sends to peers
	held    atomic.Bool // the directory's Held, cached
	stock   bool        // tests: behave as raft's own stores do
}

// chooseBase picks the newest snapshot that jumps over nothing anyone still needs. One at index 1 is never a
// base: its anchor could be taken for the log's first entry.
func chooseBase(metas []raft.SnapshotMeta, floor uint64) (raft.SnapshotMeta, bool) {
	for _, meta := range slices.Backward(metas) {
		if meta.Index < floor && meta.Index > 1 {
			return meta, true
		}
	}
	return raft.SnapshotMeta{}, false
}

// surplus lists the snapshots that are not needed: those below the base, and every second one above it while
// there are more than limit. The newest always stays. metas are oldest first.
func surplus(metas []raft.SnapshotMeta, base uint64, limit int) []raft.SnapshotMeta {
	var drop, above []raft.SnapshotMeta
	for _, meta := range metas {
		switch {
		case meta.Index < base:
			drop = append(drop, meta)
		case meta.Index > base:
			above = append(above, meta)
		}
	}
	if len(above) <= limit {
		return drop
	}
	for i := 0; i < len(above)-1; i += 2 {
		drop = append(drop, above[i])
	}
	return drop
}

func (r *retention) base() (raft.SnapshotMeta, bool) {
	return chooseBase(r.files.list(), r.floor())
}

// reconcile repairs what a crash between two steps of installing a snapshot leaves, and refuses what no crash
// explains. It runs before Raft reads anything.
func (r *retention) reconcile() error {
	first, last, err := r.bounds()
	if err != nil {
		return err
	}
	if err := r.setAside(first, last); err != nil {
		return err
	}
	newest, ok := r.files.newest()
	switch {
	case last == 0 && !ok && r.dir.Identity().Held:
		return fmt.Errorf("%w: %s: the node has held entries, but its log is empty: acknowledged samples may be lost", ErrDamaged, r.dir.Path())
	case last == 0:
		return nil
	case !ok && first > 1:
		return fmt.Errorf("%w: the log begins at index %d and there is no snapshot before it", ErrDamaged, first)
	case !ok:
		return nil
	case first > newest.Index+1:
		return fmt.Errorf("%w: the log begins at index %d, the newest snapshot ends at %d", ErrDamaged, first, newest.Index)
	}
	stale, err := r.contradicts(newest, first, last)
	if err != nil || !stale {
		return err
	}
	r.logger.Warn("removing a log that an installed snapshot had replaced", "index", newest.Index, "first", first, "last", last)
	return r.log.DeleteRange(first, last)
}

// contradicts reports whether the log is older than the snapshot or of another history. Own snapshots are
// taken from applied entries, so only a received one can be ahead of the log.
func (r *retention) contradicts(meta raft.SnapshotMeta, first, last uint64) (bool, error) {
	if last < meta.Index {
		return true, nil
	}
	if first > meta.Index {
		return false, nil
	}
	var entry raft.Log
	if err := r.log.GetLog(meta.Index, &entry); err != nil {
		return false, err
	}
	return entry.Term != meta.Term, nil
}

func (r *retention) bounds() (first, last uint64, err error) {
	if first, err = r.log.FirstIndex(); err != nil {
		return 0, 0, err
	}
	last, err = r.log.LastIndex()
	return first, last, err
}

// wipe removes a log and snapshots that were never acknowledged to anybody.
func (r *retention) wipe() error {
	first, last, err := r.bounds()
	if err != nil {
		return err
	}
	if err := r.files.remove(slices.Concat(r.files.list(), r.files.bad)); err != nil || last == 0 {
		return err
	}
	return r.log.DeleteRange(first, last)
}

// reclaim gives back what nobody needs any more: snapshots and log entries below the base. It runs whenever
// the floor or the set of snapshots may have moved.
func (r *retention) reclaim() error {
	base, ok := r.base()
	if r.stock || !r.serving.Load() {
		return nil
	}
	if err := r.files.remove(surplus(r.files.list(), base.Index, ladderMax)); err != nil || !ok {
		return err
	}
	r.trim.Lock()
	defer r.trim.Unlock()
	first, last, err := r.bounds()
	if err != nil || last <= r.trailing {
		return err
	}
	upTo := min(base.Index-1, last-r.trailing)
	if first == 0 || first > upTo {
		return nil
	}
	return r.delete(first, upTo)
}

// FirstIndex implements raft.LogStore.
func (r *retention) FirstIndex() (uint64, error) { return r.log.FirstIndex() }

// LastIndex implements raft.LogStore.
func (r *retention) LastIndex() (uint64, error) { return r.log.LastIndex() }

// IsMonotonic implements raft.MonotonicLogStore.
func (r *retention) IsMonotonic() bool {
	store, ok := r.log.(raft.MonotonicLogStore)
	return ok && store.IsMonotonic()
}

// GetLog implements raft.LogStore. Index and term of a retained snapshot stay answerable after the entry has
// gone: a node that was itself installed at index C has a log from C+1 on, and could otherwise never feed
// another node that was installed at C.
func (r *retention) GetLog(index uint64, entry *raft.Log) error {
	err := r.log.GetLog(index, entry)
	if err == nil {
		return nil
	}
	if !errors.Is(err, raft.ErrLogNotFound) {
		return r.fail(fmt.Errorf("cluster: read log index %d: %w", index, err))
	}
	if meta, ok := r.files.at(index); ok && index > 1 && !r.stock {
		*entry = raft.Log{Index: meta.Index, Term: meta.Term, Type: raft.LogNoop}
		return nil
	}
	return raft.ErrLogNotFound // Raft compares with ==
}

// StoreLog implements raft.LogStore.
func (r *retention) StoreLog(entry *raft.Log) error { return r.StoreLogs([]*raft.Log{entry}) }

// StoreLogs implements raft.LogStore. When it returns an error this node has fallen silent: a rejected
// AppendEntries would make the leader walk back to a snapshot and wipe entries that were acknowledged. The
// exception is a leader that cannot afford its own entries: nothing is stored or lost, and Raft steps down.
func (r *retention) StoreLogs(entries []*raft.Log) error {
	if len(entries) == 0 {
		return nil
	}
	r.watch.begin()
	defer r.watch.end()
	if err := r.bridge(entries[0].Index); err != nil {
		return r.fail(err)
	}
	if r.leads() {
		if err := r.affords(entries); err != nil {
			return err
		}
	}
	if err := r.log.StoreLogs(entries); err != nil {
		return r.fail(fmt.Errorf("cluster: append index %d: %w", entries[0].Index, err))
	}
	return r.acknowledge()
}

// affords refuses a leader's own entries before anything is written. Not so a change of members: Raft takes it for the
// latest one even if it could not store it, and would count votes by it.
func (r *retention) affords(entries []*raft.Log) error {
	err := r.afford(entries)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("%w: %w", ErrNoRoom, err)
	if slices.ContainsFunc(entries, func(l *raft.Log) bool { return l.Type == raft.LogConfiguration }) {
		return r.fail(fmt.Errorf("cluster: change of members: %w", err))
	}
	return err
}

// bridge checks that index continues the log. After an installed snapshot it continues the snapshot instead,
// and what is left of the log goes.
func (r *retention) bridge(index uint64) error {
	first, last, err := r.bounds()
	if err != nil {
		return err
	}
	if r.stock || index == last+1 && (last > 0 || index == 1) {
		return nil
	}
	if _, ok := r.files.at(index - 1); !ok || index <= last {
		return fmt.Errorf("cluster: entry %d does not continue a log that ends at %d", index, last)
	}
	if last == 0 {
		return nil
	}
	r.logger.Warn("log restarts after an installed snapshot", "index", index, "last", last)
	r.trim.Lock()
	defer r.trim.Unlock()
	return r.log.DeleteRange(first, last)
}

// acknowledge marks the directory before the first acknowledgement leaves the node.
func (r *retention) acknowledge() error {
	if r.held.Load() {
		return nil
	}
	if err := r.dir.markHeld(r.cluster); err != nil {
		if errors.Is(err, errMoved) {
			return err // this instance is about to be stopped and its log wiped
		}
		return r.fail(err)
	}
	r.held.Store(true)
	return nil
}

// DeleteRange implements raft.LogStore. Raft calls it for three reasons:
//
//	first ........ last
//	[min ... max]          prefix: compaction; never reaches the base
//	       [min ... max]   suffix: these entries lost against a leader's
//	[min ......... max]    everything: a received snapshot has replaced the log
//
// The bounds alone do not tell them apart: while Raft compacts up to a snapshot it has just taken, a leader may
// remove everything above, and the prefix has become the whole log. What a snapshot vouches for was committed,
// so a log that agrees with its newest snapshot loses no entry at or below it but by compaction.
func (r *retention) DeleteRange(lowest, highest uint64) error {
	r.trim.Lock()
	defer r.trim.Unlock()
	first, last, err := r.bounds()
	if err != nil {
		return r.fail(err)
	}
	if last == 0 || highest < first || lowest > last {
		return nil
	}
	committed, err := r.vouched(first, last)
	switch {
	case err != nil:
		return r.fail(err)
	case r.stock || highest >= last && lowest > committed:
		return r.delete(lowest, highest)
	case lowest > first || highest >= last && highest > committed:
		return r.fail(fmt.Errorf("cluster: asked to delete %d to %d of a log of %d to %d that is committed up to %d at least", lowest, highest, first, last, committed))
	}
	base, ok := r.base()
	if !ok || base.Index <= first {
		return nil
	}
	return r.delete(first, min(highest, base.Index-1))
}

// vouched returns the index up to which the newest snapshot proves the log's entries committed; 0 if the
// snapshot came from a leader and replaces the log.
func (r *retention) vouched(first, last uint64) (uint64, error) {
	newest, ok := r.files.newest()
	if !ok {
		return 0, nil
	}
	stale, err := r.contradicts(newest, first, last)
	if err != nil || stale {
		return 0, err
	}
	return newest.Index, nil
}

func (r *retention) delete(lowest, highest uint64) error {
	r.watch.begin()
	defer r.watch.end()
	if err := r.log.DeleteRange(lowest, highest); err != nil {
		return r.fail(fmt.Errorf("cluster: delete log indices %d to %d: %w", lowest, highest, err))
	}
	return nil
}

func (r *retention) fail(err error) error {
	r.fatal(err)
	return err
}

// List implements raft.SnapshotStore: everything, newest first, while Raft restores; afterwards the base, or
// nothing while there is none that this node's log continues. Raft tries again later in that case.
func (r *retention) List() ([]*raft.SnapshotMeta, error) {
	if !r.serving.Load() || r.stock {
		var all []*raft.SnapshotMeta
		for _, meta := range slices.Backward(r.files.list()) {
			all = append(all, &meta)
		}
		return all, nil
	}
	base, ok := r.base()
	if !ok {
		return nil, nil
	}
	first, last, err := r.bounds()
	if err != nil {
		return nil, err
	}
	if last > 0 && first > base.Index+1 {
		return nil, nil
	}
	return []*raft.SnapshotMeta{&base}, nil
}

// Open implements raft.SnapshotStore.
func (r *retention) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	return r.files.open(id)
}

// Create implements raft.SnapshotStore.
func (r *retention) Create(version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration, configurationIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	w, err := r.files.create(raft.SnapshotMeta{
		Version: version, Index: index, Term: term,
		Configuration: configuration, ConfigurationIndex: configurationIndex,
	})
	if err != nil {
		return nil, err
	}
	return &snapshotSink{snapshotWriter: w, retention: r}, nil
}

// snapshotSink receives a snapshot from the local state machine or from a leader. Only the local one passes
// through machineSnapshot.Persist, which sets local before the first byte.
type snapshotSink struct {
	*snapshotWriter
	retention *retention
	local     bool
	done      bool
}

// ID implements raft.SnapshotSink.
func (s *snapshotSink) ID() string { return s.meta.ID }

// Cancel implements raft.SnapshotSink.
func (s *snapshotSink) Cancel() error {
	if s.done {
		return nil
	}
	s.done = true
	return s.discard()
}

// Close implements raft.SnapshotSink. Raft does not compare a received snapshot with what it has: one that the
// local log already goes past would roll this node back and delete acknowledged entries, so it is refused.
func (s *snapshotSink) Close() error {
	if s.done {
		return nil
	}
	s.done = true
	if s.local || s.retention.stock {
		return s.commit()
	}
	if err := s.retention.refuses(s.meta); err != nil {
		return errors.Join(err, s.discard())
	}
	older := s.retention.files.list()
	if err := s.commit(); err != nil {
		return err
	}
	// The state that belongs to older snapshots ends before this one begins: they are no base for anybody.
	return errors.Join(s.retention.files.remove(older), s.retention.acknowledge())
}

func (r *retention) refuses(meta raft.SnapshotMeta) error {
	if newest, ok := r.files.newest(); ok && newest.Index > meta.Index {
		return fmt.Errorf("cluster: received a snapshot up to index %d, have one up to %d", meta.Index, newest.Index)
	}
	first, last, err := r.bounds()
	if err != nil || last <= meta.Index {
		return err
	}
	stale, err := r.contradicts(meta, first, last)
	if err != nil || stale {
		return err
	}
	return fmt.Errorf("cluster: received a snapshot up to index %d, the log already reaches %d", meta.Index, last)
}
