package wal

import (
	"errors"
	"math/rand/v2"
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
// its place and torn as well.
func TestTornTwice(t *testing.T) {
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
		w = mustOpen(t, inPlace(fsys))
		if err := diff(w, before.apply(model{})); err != nil {
			t.Fatalf("round %d: %v", round, err)
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
