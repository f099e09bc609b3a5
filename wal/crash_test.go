package wal

import (
	"errors"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"
)

// Crash enumeration: the power goes off at each disk operation of a workload in turn. What was not
// synced is dropped, kept, or torn sector by sector. The log that is opened afterwards must be the one
// before or the one after the call that was under way (W1 to W4), and must go on working.
func TestCrashAtEveryStep(t *testing.T) {
	workloads, tears := uint64(2), 1
	if testing.Short() {
		workloads, tears = 1, 1
	}
	cases := 0
	seen := map[Op]bool{}
	for workload := range workloads {
		dry := newMemFS()
		if got := runWorkload(t, dry, workload); got.err != nil {
			t.Fatalf("workload %d fails without a crash: %v", workload, got.err)
		}
		for op := range dry.trace {
			seen[op] = true
		}
		for k := 1; k <= dry.steps; k++ {
			for tear := range tears + 2 {
				cases++
				crashOnce(t, workload, k, tear)
			}
		}
	}
	for _, op := range []Op{OpFirstCreate, OpFirstWrite, OpFirstSync, OpFirstRename, OpFirstSyncDir, OpSpareCreate, OpSpareAllocate,
		OpSpareSync, OpSpareSyncDir, OpRollHeader, OpRollSync, OpRollRename, OpRollSyncDir, OpAppendWrite, OpAppendSync,
		OpEndWrite, OpSealWrite, OpSealTruncate, OpRetireRename, OpRetireSyncDir, OpRetireResize, OpRetireRemove} {
		if !testing.Short() && !seen[op] {
			t.Errorf("no workload comes by %q", op)
		}
	}
	t.Logf("%d crashes", cases)
}

type outcome struct {
	before, after model
	err           error
}

// runWorkload runs the same steps each time, with a reopening in between, until a call fails.
func runWorkload(t *testing.T, fsys *memFS, seed uint64) outcome {
	t.Helper()
	s := newScript(seed, 2500)
	var m model
	for range 3 {
		w, err := Open(inPlace(fsys))
		if err != nil {
			return outcome{m, m, err}
		}
		for range 25 {
			st := s.next(m)
			after := st.apply(m)
			if err := st.run(w); err != nil {
				return outcome{m, after, err}
			}
			m = after
		}
		if err := w.Close(); err != nil {
			return outcome{m, m, err}
		}
	}
	return outcome{m, m, nil}
}

func crashOnce(t *testing.T, workload uint64, k, tear int) {
	t.Helper()
	fsys := newMemFS()
	if tear > 1 && k%2 == 0 {
		fsys.sector = 24 // worse than any disk
	}
	fsys.crashAt = k
	got := runWorkload(t, fsys, workload)
	rng := rand.New(rand.NewPCG(workload, uint64(k)<<8|uint64(tear)))
	m, rebooted := recoverFrom(t, fsys, tear, rng, got)

	// A second crash while going on, as after a torn tail: nothing old may come back.
	second := rebooted.image()
	second.crashAt = 1 + rng.IntN(40)
	next := goOn(t, second, m, workload^uint64(k))
	recoverFrom(t, second, 2, rng, next)
}

// Valid frames that a torn group commit left behind must not become part of the one that is written in
// its place and torn as well: neither where the log goes on in a new segment, nor where there is no room for one.
func TestTornTwice(t *testing.T) {
	for _, full := range []bool{false, true} {
		tearTwice(t, full)
	}
}

func tearTwice(t *testing.T, full bool) {
	t.Helper()
	fsys := newMemFS()
	w := mustOpen(t, inPlace(fsys))
	commit := func(term uint64) []*raft.Log {
		var logs []*raft.Log
		for index := uint64(2); index <= 4; index++ {
			logs = append(logs, &raft.Log{Index: index, Term: term, Data: make([]byte, 2*fsys.sector-frameHeaderBytes)})
		}
		return logs
	}
	before := step{store: []*raft.Log{{Index: 1, Data: make([]byte, fsys.sector-frameHeaderBytes)}}}
	if err := before.run(w); err != nil {
		t.Fatal(err)
	}
	for round, keepFirst := range []bool{false, true, true} {
		if err := fsys.SyncDir(OpRollSyncDir, "/wal"); err != nil { // only sectors are left to choose from
			t.Fatal(err)
		}
		fsys.fail = func(op Op) error {
			if op == OpAppendSync {
				return errCrashed
			}
			return nil
		}
		if err := w.StoreLogs(commit(uint64(round + 2))); !errors.Is(err, errCrashed) {
			t.Fatal(err)
		}
		sectors := 0
		fsys = fsys.reboot(func() bool { sectors++; return (sectors <= 2) == keepFirst })
		if full {
			fsys.withoutSpares()
		}
		w = mustOpen(t, inPlace(fsys))
		if err := diff(w, before.apply(model{})); err != nil {
			t.Fatalf("round %d, full disk %v: %v", round, full, err)
		}
		if full && fsys.trace[OpEraseSync] != 1 {
			t.Fatalf("round %d: the torn end was not erased", round)
		}
	}
	mustClose(t, w)
}

// recoverFrom reboots and opens the log, and returns what it holds.
func recoverFrom(t *testing.T, fsys *memFS, tear int, rng *rand.Rand, got outcome) (model, *memFS) {
	t.Helper()
	keep := coin(rng)
	switch tear {
	case 0:
		keep = func() bool { return false }
	case 1:
		keep = func() bool { return true }
	}
	rebooted := fsys.reboot(keep)
	image := rebooted.image()
	w, err := Open(inPlace(rebooted))
	if err != nil {
		t.Fatalf("crash at step %d, tear %d: open: %v (before %d..%d, after %d..%d)", fsys.crashAt, tear, err,
			got.before.first(), got.before.last(), got.after.first(), got.after.last())
	}
	defer mustClose(t, w)
	errBefore, errAfter := diff(w, got.before), diff(w, got.after)
	switch {
	case errAfter == nil:
		return got.after, image
	case errBefore == nil:
		return got.before, image
	}
	t.Fatalf("crash at step %d, tear %d: neither the log before the call (%v) nor after it (%v)", fsys.crashAt, tear, errBefore, errAfter)
	return model{}, nil
}

func goOn(t *testing.T, fsys *memFS, m model, seed uint64) outcome {
	t.Helper()
	w, err := Open(inPlace(fsys))
	if err != nil {
		if !errors.Is(err, errCrashed) {
			t.Fatalf("open: %v", err)
		}
		return outcome{m, m, err}
	}
	s := newScript(seed, 2500)
	s.term = 1000
	for {
		st := s.next(m)
		after := st.apply(m)
		if err := st.run(w); err != nil {
			return outcome{m, after, err}
		}
		m = after
	}
}

// The same where the disk is full and there is no spare when the log is opened again: what is torn is erased in place, also
// when the power goes off in the midst of that, and nothing of it comes back when the log goes on (W3, W4).
func TestCrashOnAFullDisk(t *testing.T) {
	dry := newMemFS()
	if got := runWorkload(t, dry, 1); got.err != nil {
		t.Fatal(got.err)
	}
	erased, crashed := 0, 0
	for k := 1; k <= dry.steps; k++ {
		rng := rand.New(rand.NewPCG(7, uint64(k)))
		fsys := newMemFS()
		fsys.sector, fsys.crashAt = 24, k
		got := runWorkload(t, fsys, 1)
		fsys = fsys.reboot(coin(rng)).withoutSpares()
		if fsys.names["/wal/"+firstFile] == nil {
			continue // a new log wants a little
		}
		image := fsys.image()
		fsys.crashAt = 1 + rng.IntN(4)
		if w, err := Open(inPlace(fsys)); err == nil {
			_ = w.Close() // without power, maybe
		} else if !errors.Is(err, errCrashed) {
			t.Fatalf("crash at step %d: open on a full disk: %v", k, err)
		}
		erased += fsys.trace[OpEraseWrite]
		if fsys.off() && fsys.trace[OpEraseWrite] > 0 {
			crashed++
		}
		for _, fsys := range []*memFS{image, fsys.reboot(coin(rng))} {
			m := openFull(t, k, fsys.withoutSpares(), got)
			next := goOn(t, fsys, m, uint64(k))
			openFull(t, k, fsys, next)
		}
	}
	if erased == 0 || crashed == 0 {
		t.Errorf("%d torn ends were erased, %d of them half", erased, crashed)
	}
}

// openFull opens a log on a full disk and returns what it holds.
func openFull(t *testing.T, k int, fsys *memFS, got outcome) model {
	t.Helper()
	w, err := Open(inPlace(fsys))
	if err != nil {
		t.Fatalf("crash at step %d: open on a full disk: %v", k, err)
	}
	defer mustClose(t, w)
	errBefore, errAfter := diff(w, got.before), diff(w, got.after)
	if errAfter == nil {
		return got.after
	}
	if errBefore != nil {
		t.Fatalf("crash at step %d: neither the log before the call (%v) nor after it (%v)", k, errBefore, errAfter)
	}
	return got.before
}

// withoutSpares is the file system without a byte to give, nor a spare.
func (m *memFS) withoutSpares() *memFS {
	for _, names := range []map[string]*inode{m.names, m.durable} {
		maps.DeleteFunc(names, func(path string, _ *inode) bool { return filepath.Ext(path) == spareSuffix })
	}
	m.limited, m.space = true, 0
	return m
}
