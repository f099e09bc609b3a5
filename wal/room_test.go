package wal

import (
	"errors"
	"syscall"
	"testing"

	"github.com/hashicorp/raft"
)

// roomy stores entries until Room says no, with a disk that is full from the first on.
func roomy(t *testing.T, fsys *memFS, w *WAL, group, size int) (last uint64) {
	t.Helper()
	for range 400 {
		last, _ = w.LastIndex()
		logs := sized(last+1, group, size, 1)
		if !w.Room(logs, 0) {
			return last
		}
		if err := w.StoreLogs(logs); err != nil {
			t.Fatalf("there was room for %d entries of %d bytes behind %d, and then: %v", group, size, last, err)
		}
	}
	t.Fatal("a full disk does not get full")
	return 0
}

func sized(first uint64, group, size int, term uint64) (logs []*raft.Log) {
	for i := range group {
		logs = append(logs, &raft.Log{Index: first + uint64(i), Term: term, Data: make([]byte, size)})
	}
	return logs
}

// Room says yes as long as entries can be stored, no when storing them would end the node, and yes again with space.
func TestRoom(t *testing.T) {
	for _, shape := range []struct{ group, size int }{{1, 100}, {1, 3000}, {7, 900}, {1, 40000}, {64, 2000}} {
		fsys := newMemFS()
		o := inPlace(fsys)
		o.Fatal = func(err error) { t.Errorf("fatal: %v", err) }
		w := mustOpen(t, o)
		if err := w.StoreLogs(sized(1, 1, 100, 1)); err != nil {
			t.Fatal(err)
		}
		fsys.limited, fsys.space = true, 0
		last := roomy(t, fsys, w, shape.group, shape.size)

		// What the log has already needs none, and what would replace a part of it does.
		if have := sized(last, 1, 100, 1); !w.Room(have, 0) {
			t.Errorf("%+v: no room for an entry that is there", shape)
		}
		if shape.size <= 3000 {
			if w.Room(append(sized(last, 1, shape.size, 2), sized(last+1, shape.group, shape.size, 2)...), 0) {
				t.Errorf("%+v: room for a replacement", shape)
			}
		}
		other := inPlace(fsys.image())
		other.FS.(*memFS).limited = true
		var fatal error
		other.Fatal = func(err error) { fatal = err }
		would := mustOpen(t, other)
		if err := would.StoreLogs(sized(last+1, shape.group, shape.size, 1)); !errors.Is(err, syscall.ENOSPC) || !errors.Is(fatal, syscall.ENOSPC) {
			t.Errorf("%+v: no room, and yet stored: %v", shape, err)
		}
		mustClose(t, would)

		fsys.space = 1 << 20
		if logs := sized(last+1, shape.group, shape.size, 1); !w.Room(logs, 0) {
			t.Errorf("%+v: still no room with space", shape)
		} else if err := w.StoreLogs(logs); err != nil {
			t.Error(err)
		}
		mustClose(t, w)
	}
}

// A replacement that Room has let pass is cut and stored without more space.
func TestRoomForAReplacement(t *testing.T) {
	fsys := newMemFS()
	o := inPlace(fsys)
	o.Fatal = func(err error) { t.Errorf("fatal: %v", err) }
	w := mustOpen(t, o)
	defer mustClose(t, w)
	if err := w.StoreLogs(sized(1, 3, 100, 1)); err != nil {
		t.Fatal(err)
	}
	fsys.limited, fsys.space = true, 64<<10
	logs := sized(2, 20, 2000, 2)
	if !w.Room(logs, 0) {
		t.Fatal("no room")
	}
	fsys.space = 0
	if err := errors.Join(w.DeleteRange(2, 3), w.StoreLogs(logs)); err != nil {
		t.Error(err)
	}
}

// While the disk is short of space, what compaction frees goes back to it, but for one spare.
func TestShort(t *testing.T) {
	w := mustOpen(t, inPlace(newMemFS()))
	defer mustClose(t, w)
	fill := func(n int) {
		for range n {
			last, _ := w.LastIndex()
			if err := w.StoreLogs(sized(last+1, 1, 3000, 1)); err != nil {
				t.Fatal(err)
			}
		}
	}
	compact := func() {
		first, _ := w.FirstIndex()
		last, _ := w.LastIndex()
		if err := w.DeleteRange(first, last-1); err != nil {
			t.Fatal(err)
		}
		w.spares.wait()
	}
	fill(40)
	compact()
	if n := w.Info().Spares; n != sparesMax {
		t.Fatalf("%d spares after a compaction, want %d: nothing to give back", n, sparesMax)
	}
	w.Short(true)
	w.spares.wait()
	if n := w.Info().Spares; n != 1 {
		t.Errorf("%d spares while the disk is short", n)
	}
	fill(40)
	compact()
	if n := w.Info().Spares; n != 1 {
		t.Errorf("%d spares after a compaction while the disk is short", n)
	}
	w.Short(false)
	fill(40)
	compact()
	if n := w.Info().Spares; n != sparesMax {
		t.Errorf("%d spares when it has room again", n)
	}
}

// What Room is told to leave is there afterwards, to the byte, and without a disk that gives any.
func TestRoomLeaves(t *testing.T) {
	for _, leave := range []int64{0, 500, 4000, 11000} {
		fsys := newMemFS()
		o := inPlace(fsys)
		o.Fatal = func(err error) { t.Errorf("leave %d: fatal: %v", leave, err) }
		w := mustOpen(t, o)
		if err := w.StoreLogs(sized(1, 1, 100, 1)); err != nil {
			t.Fatal(err)
		}
		if w.Scarce(1 << 40) {
			t.Errorf("leave %d: scarce with a spare", leave)
		}
		fsys.limited, fsys.space = true, 0
		store := func(leave int64) (stored int64) {
			for {
				last, _ := w.LastIndex()
				logs := sized(last+1, 1, 200, 1)
				if !w.Room(logs, leave) {
					return stored
				}
				if err := w.StoreLogs(logs); err != nil {
					t.Fatal(err)
				}
				stored += frameBytes(logs[0])
			}
		}
		store(leave)
		if !w.Scarce(w.left()+1) || w.Scarce(w.left()) {
			t.Errorf("leave %d: %d bytes are left, and the log does not know", leave, w.left())
		}
		frame := frameBytes(&raft.Log{Data: make([]byte, 200)})
		if got := store(0); got < leave-frame || got > leave+frame {
			t.Errorf("told to leave %d bytes, %d were left", leave, got)
		}
		fsys.space = 1 << 20
		w.Refill()
		if info := w.Info(); info.Scarce || info.Spares != 1 {
			t.Errorf("with space again: %+v", info)
		}
		mustClose(t, w)
	}
}

// A directory that has no room for another name costs nothing: the log does not go on, and does once there is some.
func TestFullDirectory(t *testing.T) {
	fsys := newMemFS()
	o := inPlace(fsys)
	o.Fatal = func(err error) { t.Errorf("fatal: %v", err) }
	w := mustOpen(t, o)
	var m model
	store := func(want bool) bool {
		logs := sized(m.last()+1, 1, 3000, 1)
		if !w.Room(logs, 0) {
			return false
		}
		if !want {
			t.Fatal("room without a name")
		}
		if err := w.StoreLogs(logs); err != nil {
			t.Fatal(err)
		}
		m.logs = append(m.logs, logs...)
		return true
	}
	for range 3 {
		store(true)
	}
	full := func(op Op) error {
		if op == OpRollRename || op == OpRetireRename {
			return syscall.ENOSPC
		}
		return nil
	}
	fsys.fail, fsys.limited, fsys.space = full, true, 0
	for tries := 0; ; tries++ {
		if !store(true) {
			break
		}
		if tries > 10 {
			t.Fatal("the segment does not end")
		}
	}
	store(false)
	if err := diff(w, m); err != nil {
		t.Error(err)
	}
	fsys.fail = nil
	if !store(true) {
		t.Fatal("the spare is gone")
	}
	fsys.limited = false
	for range 20 {
		if !store(true) {
			t.Fatal("no room with room")
		}
	}
	fsys.fail = full
	st := step{low: 1, high: m.last() - 2} // what is freed cannot be renamed, and is given back
	if err := st.run(w); err != nil {
		t.Fatal(err)
	}
	m = st.apply(m)
	fsys.fail = nil
	mustClose(t, w)
	w = mustOpen(t, o)
	defer mustClose(t, w)
	if err := diff(w, m); err != nil {
		t.Error(err)
	}
}

// A segment that Room has begun and nobody has used yet is like any other tail.
func TestRoomBeginsASegment(t *testing.T) {
	for name, after := range map[string]func(m model) []step{ // what is done then
		"nothing":  func(model) []step { return nil },
		"a cut":    func(m model) []step { return []step{{low: m.last(), high: m.last()}} },
		"a prefix": func(m model) []step { return []step{{low: 1, high: m.last() - 1}} },
		"all":      func(m model) []step { return []step{{low: 1, high: m.last()}} },
		"more":     func(m model) []step { return []step{{store: sized(m.last()+1, 1, 15000, 1)}} },
	} {
		fsys := newMemFS()
		w := mustOpen(t, inPlace(fsys))
		var m model
		for tries, began := 0, false; !began; tries++ {
			if tries > 20 {
				t.Fatal("no segment has been begun")
			}
			logs := sized(m.last()+1, 1, 3000, 1)
			segments := len(w.state.sealed)
			if !w.Room(logs, 0) {
				t.Fatal("no room")
			}
			if began = len(w.state.sealed) > segments; !began {
				st := step{store: logs}
				if err := st.run(w); err != nil {
					t.Fatal(err)
				}
				m = st.apply(m)
			}
		}
		for _, st := range after(m) {
			if err := st.run(w); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			m = st.apply(m)
		}
		if err := diff(w, m); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		mustClose(t, w)
		w = mustOpen(t, inPlace(fsys))
		if err := diff(w, m); err != nil {
			t.Errorf("%s, opened again: %v", name, err)
		}
		mustClose(t, w)
	}
}
