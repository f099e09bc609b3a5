package cluster

import (
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

func metas(indices ...uint64) []raft.SnapshotMeta {
	var list []raft.SnapshotMeta
	for _, index := range indices {
		list = append(list, raft.SnapshotMeta{Index: index, Term: 1})
	}
	return list
}

func indicesOf(list []raft.SnapshotMeta) []uint64 {
	var indices []uint64
	for _, meta := range list {
		indices = append(indices, meta.Index)
	}
	return indices
}

func TestBaseIsTheNewestSnapshotBelowTheFloor(t *testing.T) {
	cases := []struct {
		have  []uint64
		floor uint64
		want  uint64
	}{
		{nil, 10, 0},
		{[]uint64{5, 10, 15}, 0, 0},
		{[]uint64{5, 10, 15}, 5, 0},
		{[]uint64{5, 10, 15}, 6, 5},
		{[]uint64{5, 10, 15}, 10, 5},
		{[]uint64{5, 10, 15}, 11, 10},
		{[]uint64{5, 10, 15}, 99, 15},
		{[]uint64{1}, 99, 0}, // its anchor would look like the first entry
	}
	for _, test := range cases {
		base, ok := chooseBase(metas(test.have...), test.floor)
		if base.Index != test.want || ok != (test.want > 0) {
			t.Errorf("base of %v under floor %d is %d, want %d", test.have, test.floor, base.Index, test.want)
		}
	}
}

func TestSurplus(t *testing.T) {
	cases := []struct {
		have []uint64
		base uint64
		want []uint64
	}{
		{[]uint64{5, 10, 15}, 0, nil},
		{[]uint64{5, 10, 15}, 10, []uint64{5}},
		{[]uint64{5, 10, 15, 20, 25}, 10, []uint64{5}},
		{[]uint64{5, 10, 15, 20, 25, 30}, 10, []uint64{5, 15, 25}},
		{[]uint64{15, 20, 25, 30}, 0, []uint64{15, 25}},
	}
	for _, test := range cases {
		if got := indicesOf(surplus(metas(test.have...), test.base, 3)); !slices.Equal(got, test.want) {
			t.Errorf("surplus of %v above base %d is %v, want %v", test.have, test.base, got, test.want)
		}
	}
}

// However long a backlog grows, the ladder stays short, keeps its newest rung, and the same steps give the
// same rungs.
func TestLadderStaysShort(t *testing.T) {
	climb := func() []raft.SnapshotMeta {
		var ladder []raft.SnapshotMeta
		for index := uint64(10); index < 20000; index += 10 {
			ladder = append(ladder, raft.SnapshotMeta{Index: index})
			drop := surplus(ladder, 0, ladderMax)
			ladder = slices.DeleteFunc(ladder, func(m raft.SnapshotMeta) bool {
				return slices.ContainsFunc(drop, func(d raft.SnapshotMeta) bool { return d.Index == m.Index })
			})
			if len(ladder) > ladderMax+1 || ladder[len(ladder)-1].Index != index {
				t.Fatalf("after index %d: %v", index, indicesOf(ladder))
			}
		}
		return ladder
	}
	if one, two := indicesOf(climb()), indicesOf(climb()); !slices.Equal(one, two) {
		t.Errorf("%v and %v", one, two)
	}
}

// bench is a retention without a node around it.
type bench struct {
	*retention
	log   *memoryLog
	path  string
	floor uint64
	fatal []error
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{log: newMemoryLog(), path: t.TempDir()}
	dir, err := OpenDir(b.path, "n1", false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	if err := dir.promise("c", false); err != nil {
		t.Fatal(err)
	}
	files, err := openSnapshots(filepath.Join(b.path, snapshotsDir))
	if err != nil {
		t.Fatal(err)
	}
	b.retention = &retention{
		log: b.log, files: files, dir: dir, cluster: "c", floor: func() uint64 { return b.floor }, trailing: 1,
		logger: slog.New(slog.DiscardHandler), watch: newWatchdog(time.Minute), leads: func() bool { return false },
		fatal: func(err error) { b.fatal = append(b.fatal, err) },
	}
	b.serving.Store(true)
	return b
}

func (b *bench) append(t *testing.T, from, to, term uint64) {
	t.Helper()
	for index := from; index <= to; index++ {
		if err := b.StoreLogs([]*raft.Log{{Index: index, Term: term}}); err != nil {
			t.Fatal(err)
		}
	}
}

func (b *bench) snapshot(t *testing.T, index, term uint64, local bool) error {
	t.Helper()
	sink, err := b.Create(1, index, term, raft.Configuration{}, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	sink.(*snapshotSink).local = local
	if _, err := io.WriteString(sink, "state"); err != nil {
		t.Fatal(err)
	}
	return sink.Close()
}

func (b *bench) extent(t *testing.T) [2]uint64 {
	t.Helper()
	first, last, err := b.bounds()
	if err != nil {
		t.Fatal(err)
	}
	return [2]uint64{first, last}
}

// R1, R2: the three meanings of DeleteRange.
func TestDeleteRange(t *testing.T) {
	cases := []struct {
		name      string
		snapshots []uint64
		floor     uint64
		low, high uint64
		want      [2]uint64
		fatal     bool
	}{
		{"prefix without a base", nil, 50, 1, 40, [2]uint64{1, 100}, false},
		{"prefix, all snapshots above the floor", []uint64{60}, 50, 1, 60, [2]uint64{1, 100}, false},
		{"prefix up to the base keeps its entry", []uint64{40}, 50, 1, 40, [2]uint64{40, 100}, false},
		{"prefix past the base is clamped", []uint64{40, 60}, 50, 1, 60, [2]uint64{40, 100}, false},
		{"prefix below the base", []uint64{40}, 50, 1, 30, [2]uint64{31, 100}, false},
		{"suffix", []uint64{40}, 50, 90, 100, [2]uint64{1, 89}, false},
		{"suffix above the floor", []uint64{40}, 50, 51, 100, [2]uint64{1, 50}, false},
		{"everything, no snapshot", nil, 50, 1, 100, [2]uint64{0, 0}, false},
		{"everything although half is committed", []uint64{40}, 50, 1, 100, [2]uint64{1, 100}, true},
		{"suffix that was committed", []uint64{40}, 50, 40, 100, [2]uint64{1, 100}, true},
		{"prefix that has become everything", []uint64{30, 100}, 50, 1, 100, [2]uint64{30, 100}, false},
		{"beside the log", nil, 50, 200, 300, [2]uint64{1, 100}, false},
		{"middle", []uint64{40}, 50, 20, 30, [2]uint64{1, 100}, true},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t)
			b.append(t, 1, 100, 1)
			for _, index := range test.snapshots {
				if err := b.snapshot(t, index, 1, true); err != nil {
					t.Fatal(err)
				}
			}
			b.floor = test.floor
			err := b.DeleteRange(test.low, test.high)
			if (err != nil) != test.fatal || (len(b.fatal) > 0) != test.fatal {
				t.Errorf("error %v, fatal %v", err, b.fatal)
			}
			if got := b.extent(t); got != test.want {
				t.Errorf("log is %v, want %v", got, test.want)
			}
		})
	}
	if err := newBench(t).DeleteRange(1, 10); err != nil {
		t.Errorf("on an empty log: %v", err)
	}
}

// After a snapshot was received, Raft removes the whole log, whatever of it the snapshot had seen.
func TestReceivedSnapshotReplacesTheLog(t *testing.T) {
	for _, test := range []struct {
		name       string
		last, term uint64
	}{{"older log", 10, 1}, {"another history", 60, 1}} {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t)
			b.append(t, 1, test.last, test.term)
			if err := b.snapshot(t, 40, 2, false); err != nil {
				t.Fatal(err)
			}
			if err := b.DeleteRange(1, test.last); err != nil || b.extent(t) != [2]uint64{0, 0} {
				t.Errorf("log is %v, error %v", b.extent(t), err)
			}
		})
	}
	b := newBench(t)
	if err := b.snapshot(t, 40, 2, false); err != nil {
		t.Fatal(err)
	}
	b.append(t, 41, 50, 3)
	if err := b.DeleteRange(41, 50); err != nil || b.extent(t) != [2]uint64{0, 0} {
		t.Errorf("all of it lost against a leader's: log is %v, error %v", b.extent(t), err)
	}
}

// Trap 2: the entry at an installed snapshot's index never existed here, but its term must be known.
func TestAnchor(t *testing.T) {
	b := newBench(t)
	if err := b.snapshot(t, 40, 7, false); err != nil {
		t.Fatal(err)
	}
	b.append(t, 41, 50, 8)
	var entry raft.Log
	if err := b.GetLog(40, &entry); err != nil || entry.Index != 40 || entry.Term != 7 || entry.Type != raft.LogNoop {
		t.Errorf("anchor: %+v, %v", entry, err)
	}
	for _, index := range []uint64{1, 39, 51} {
		if err := b.GetLog(index, &entry); err != raft.ErrLogNotFound { // Raft compares so
			t.Errorf("index %d: %v", index, err)
		}
	}
	if err := b.GetLog(41, &entry); err != nil || entry.Term != 8 {
		t.Errorf("index 41: %+v, %v", entry, err)
	}
}

// Trap 4: a crash after a snapshot was received and before the log was removed.
func TestLogIsResetWhereASnapshotWasInstalled(t *testing.T) {
	b := newBench(t)
	b.append(t, 1, 10, 1)
	if err := b.snapshot(t, 40, 2, false); err != nil {
		t.Fatal(err)
	}
	b.append(t, 41, 41, 2)
	if got := b.extent(t); got != [2]uint64{41, 41} {
		t.Errorf("log is %v", got)
	}
	if err := b.StoreLogs([]*raft.Log{{Index: 50, Term: 2}}); err == nil || len(b.fatal) != 1 {
		t.Errorf("a gap was accepted: %v, %v", err, b.fatal)
	}
	empty := newBench(t)
	if err := empty.StoreLogs([]*raft.Log{{Index: 5, Term: 2}}); err == nil || len(empty.fatal) != 1 {
		t.Errorf("a log that begins at 5 without a snapshot was accepted: %v", err)
	}
}

func TestReconcile(t *testing.T) {
	cases := []struct {
		name  string
		setUp func(t *testing.T, b *bench)
		want  [2]uint64
		err   string
	}{
		{"installed snapshot ahead of the log", func(t *testing.T, b *bench) {
			b.append(t, 1, 10, 1)
			_ = b.snapshot(t, 40, 2, false)
		}, [2]uint64{0, 0}, ""},
		{"installed snapshot over another history", func(t *testing.T, b *bench) {
			b.append(t, 1, 50, 1)
			_ = b.snapshot(t, 40, 2, false)
		}, [2]uint64{0, 0}, ""},
		{"own snapshot", func(t *testing.T, b *bench) {
			b.append(t, 1, 50, 1)
			_ = b.snapshot(t, 40, 1, true)
		}, [2]uint64{1, 50}, ""},
		{"log continues the snapshot", func(t *testing.T, b *bench) {
			_ = b.snapshot(t, 40, 1, false)
			b.append(t, 41, 50, 1)
		}, [2]uint64{41, 50}, ""},
		{"lost log", func(t *testing.T, b *bench) {
			b.append(t, 1, 5, 1)
			_ = b.log.DeleteRange(1, 5)
		}, [2]uint64{0, 0}, "its log is empty"},
		{"lost snapshots", func(t *testing.T, b *bench) {
			b.append(t, 1, 5, 1)
			_ = b.log.DeleteRange(1, 3)
		}, [2]uint64{4, 5}, "there is no snapshot before it"},
		{"gap", func(t *testing.T, b *bench) {
			b.append(t, 1, 50, 1)
			_ = b.snapshot(t, 10, 1, true)
			_ = b.log.DeleteRange(1, 20)
		}, [2]uint64{21, 50}, "the newest snapshot ends at 10"},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t)
			test.setUp(t, b)
			err := b.reconcile()
			if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("error %v, want %q", err, test.err)
			}
			if got := b.extent(t); got != test.want {
				t.Errorf("log is %v, want %v", got, test.want)
			}
		})
	}
}

// A damaged snapshot is done without where the log has what it had, and never where the log stood before it.
func TestDamagedSnapshots(t *testing.T) {
	cases := []struct {
		name  string
		setUp func(t *testing.T, b *bench)
		spare bool
	}{
		{"the only one, with the whole log", func(t *testing.T, b *bench) {
			b.append(t, 1, 50, 1)
			_ = b.snapshot(t, 40, 1, true)
		}, true},
		{"the newest, an older one is there", func(t *testing.T, b *bench) {
			b.append(t, 1, 50, 1)
			_ = b.snapshot(t, 10, 1, true)
			_ = b.log.DeleteRange(1, 9)
			_ = b.snapshot(t, 40, 1, true)
		}, true},
		{"the only one, the log begins behind it", func(t *testing.T, b *bench) {
			b.append(t, 1, 50, 1)
			_ = b.snapshot(t, 40, 1, true)
			_ = b.log.DeleteRange(1, 39)
		}, false},
		{"received ahead of the log", func(t *testing.T, b *bench) {
			b.append(t, 1, 10, 1)
			_ = b.snapshot(t, 40, 2, false)
		}, false},
		{"received over another history", func(t *testing.T, b *bench) {
			b.append(t, 1, 50, 1)
			_ = b.snapshot(t, 40, 2, false)
		}, false},
		{"received, the log is empty", func(t *testing.T, b *bench) { _ = b.snapshot(t, 40, 1, false) }, false},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t)
			test.setUp(t, b)
			newest, _ := b.files.newest()
			path := b.files.path(newest.ID)
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			data[len(data)/2] ^= 1
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			if b.retention.files, err = openSnapshots(b.files.dir); err != nil {
				t.Fatal(err)
			}
			before := b.extent(t)
			err = b.reconcile()
			if test.spare && err != nil || !test.spare && (!errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), path)) {
				t.Errorf("error %v", err)
			}
			if got := b.extent(t); got != before {
				t.Errorf("log is %v, was %v", got, before)
			}
			if _, err := os.Stat(path); test.spare != errors.Is(err, os.ErrNotExist) {
				t.Errorf("after reconcile: %v", err)
			}
		})
	}
}

// R4 (trap 6): a received snapshot does not roll the node back.
func TestReceivedSnapshotIsRefusedWhereTheLogGoesFurther(t *testing.T) {
	cases := []struct {
		name    string
		setUp   func(t *testing.T, b *bench)
		refused bool
	}{
		{"empty", func(*testing.T, *bench) {}, false},
		{"log ends before", func(t *testing.T, b *bench) { b.append(t, 1, 39, 1) }, false},
		{"log ends there", func(t *testing.T, b *bench) { b.append(t, 1, 40, 1) }, false},
		{"log goes further", func(t *testing.T, b *bench) { b.append(t, 1, 41, 1) }, true},
		{"log goes further in another history", func(t *testing.T, b *bench) { b.append(t, 1, 41, 2) }, false},
		{"same snapshot again, its answer was lost", func(t *testing.T, b *bench) { _ = b.snapshot(t, 40, 1, false) }, false},
		{"newer snapshot", func(t *testing.T, b *bench) { _ = b.snapshot(t, 41, 1, false) }, true},
		{"log after an installed snapshot", func(t *testing.T, b *bench) {
			_ = b.snapshot(t, 40, 1, false)
			b.append(t, 41, 42, 1)
		}, true},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t)
			test.setUp(t, b)
			before := b.files.list()
			err := b.snapshot(t, 40, 1, false)
			if (err != nil) != test.refused {
				t.Errorf("error %v, want refusal %v", err, test.refused)
			}
			if test.refused && !slices.Equal(indicesOf(before), indicesOf(b.files.list())) {
				t.Errorf("snapshots changed to %v", indicesOf(b.files.list()))
			}
		})
	}
}

// Trap 14: a node that was just installed has nothing to serve before its own floor has passed the snapshot.
func TestServedSnapshots(t *testing.T) {
	b := newBench(t)
	b.append(t, 1, 30, 1)
	for _, index := range []uint64{10, 20, 30} {
		if err := b.snapshot(t, index, 1, true); err != nil {
			t.Fatal(err)
		}
	}
	list := func() []uint64 {
		listed, err := b.List()
		if err != nil {
			t.Fatal(err)
		}
		var indices []uint64
		for _, meta := range listed {
			indices = append(indices, meta.Index)
		}
		return indices
	}
	b.serving.Store(false)
	if got := list(); !slices.Equal(got, []uint64{30, 20, 10}) {
		t.Errorf("while restoring: %v", got)
	}
	b.serving.Store(true)
	b.floor = 25
	if got := list(); !slices.Equal(got, []uint64{20}) {
		t.Errorf("serving: %v", got)
	}
	b.floor = 5
	if got := list(); got != nil {
		t.Errorf("everything above the floor: %v", got)
	}
	if err := b.snapshot(t, 90, 2, false); err != nil {
		t.Fatal(err)
	}
	b.floor = 50
	if got := list(); got != nil {
		t.Errorf("installed at 90, floor 50: %v", got)
	}
	b.floor = 91
	if got := list(); !slices.Equal(got, []uint64{90}) {
		t.Errorf("installed at 90, floor 91: %v", got)
	}
}

func TestReclaim(t *testing.T) {
	b := newBench(t)
	b.trailing = 10
	b.append(t, 1, 100, 1)
	for _, index := range []uint64{20, 40, 60, 95} {
		if err := b.snapshot(t, index, 1, true); err != nil {
			t.Fatal(err)
		}
	}
	steps := []struct {
		floor     uint64
		first     uint64
		snapshots []uint64
	}{
		{0, 1, []uint64{20, 40, 60, 95}},
		{20, 1, []uint64{20, 40, 60, 95}},
		{30, 20, []uint64{20, 40, 60, 95}},
		{61, 60, []uint64{60, 95}},
		{200, 91, []uint64{95}}, // the last entries stay for followers a little behind
	}
	for _, step := range steps {
		b.floor = step.floor
		if err := b.reclaim(); err != nil {
			t.Fatal(err)
		}
		if got := b.extent(t)[0]; got != step.first || !slices.Equal(indicesOf(b.files.list()), step.snapshots) {
			t.Errorf("floor %d: first %d, snapshots %v, want %d, %v", step.floor, got, indicesOf(b.files.list()), step.first, step.snapshots)
		}
	}
}

// R1 and R2 hold after every one of many random steps.
func TestRetentionModel(t *testing.T) {
	t.Parallel()
	rounds := 30 // each syncs some dozens of files
	if testing.Short() {
		rounds = 5
	}
	for seed := range rounds {
		random := rand.New(rand.NewPCG(uint64(seed), 7))
		b := newBench(t)
		b.trailing = 1 + random.Uint64N(5)
		last, applied := uint64(0), uint64(0)
		for range 60 {
			switch random.IntN(5) {
			case 0, 1:
				count := 1 + random.Uint64N(10)
				b.append(t, last+1, last+count, 1)
				last += count
				applied = max(applied, last-random.Uint64N(min(last, 4)))
			case 2:
				if applied > 0 {
					if err := b.snapshot(t, applied, 1, true); err != nil {
						t.Fatal(err)
					}
					if low := b.extent(t)[0]; last > b.trailing {
						_ = b.DeleteRange(low, min(applied, last-b.trailing))
					}
				}
			case 3:
				b.floor = max(b.floor, 1+random.Uint64N(applied+1))
			case 4:
				if err := b.reclaim(); err != nil {
					t.Fatal(err)
				}
			}
			checkRetention(t, b, last)
		}
	}
}

func checkRetention(t *testing.T, b *bench, last uint64) {
	t.Helper()
	got := b.extent(t)
	if len(b.fatal) > 0 {
		t.Fatal(b.fatal)
	}
	if got[1] != last || (last > 0 && got[0] > max(b.floor, 1)) {
		t.Fatalf("log is %v under floor %d, last entry was %d", got, b.floor, last)
	}
	if base, ok := b.base(); ok {
		var entry raft.Log
		if err := b.GetLog(base.Index, &entry); err != nil || base.Index >= b.floor || got[0] > base.Index+1 {
			t.Fatalf("base %d: %v; log is %v, floor %d", base.Index, err, got, b.floor)
		}
	}
}

// R5 (traps 5 and 11).
func TestFailedStoresAreFatal(t *testing.T) {
	broken := errors.New("no space left on device")
	b := newBench(t)
	b.append(t, 1, 5, 1)
	b.log.fail(broken)
	if err := b.StoreLogs([]*raft.Log{{Index: 6, Term: 1}}); !errors.Is(err, broken) || len(b.fatal) != 1 {
		t.Errorf("error %v, fatal %v", err, b.fatal)
	}
}

func TestWatchdog(t *testing.T) {
	w := newWatchdog(5 * time.Second)
	now := time.Unix(1000, 0)
	w.now = func() time.Time { return now }
	// step lets seconds pass, checked every second as in life, and says what the last check found.
	step := func(seconds int, want bool) {
		t.Helper()
		var err error
		for range seconds {
			now = now.Add(time.Second)
			err = w.check()
		}
		if got := err != nil; got != want {
			t.Errorf("hanging: %v, want %v", err, want)
		}
	}
	step(100, false)
	w.begin()
	step(5, false)
	step(1, true)
	w.begin()
	w.end() // another write came through
	step(5, false)
	step(1, true)
	w.end()
	step(100, false)
	w.begin()
	step(2, false)
	now = now.Add(time.Hour) // the process was stopped
	step(2, false)
	step(4, true)
}

func TestHeldIsMarkedBeforeTheFirstAcknowledgement(t *testing.T) {
	b := newBench(t)
	if b.dir.Identity().Held {
		t.Fatal("held before anything was stored")
	}
	b.append(t, 1, 1, 1)
	kept, err := os.ReadFile(filepath.Join(b.path, identityFile))
	if err != nil || !strings.Contains(string(kept), `"held_entries": true`) {
		t.Errorf("identity on disk is %s, %v", kept, err)
	}
}
