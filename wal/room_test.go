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
		if !w.Room(logs) {
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
		if have := sized(last, 1, 100, 1); !w.Room(have) {
			t.Errorf("%+v: no room for an entry that is there", shape)
		}
		if shape.size <= 3000 {
			if w.Room(append(sized(last, 1, shape.size, 2), sized(last+1, shape.group, shape.size, 2)...)) {
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
		if logs := sized(last+1, shape.group, shape.size, 1); !w.Room(logs) {
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
	if !w.Room(logs) {
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
