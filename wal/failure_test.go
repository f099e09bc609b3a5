package wal

import (
	"errors"
	"io/fs"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

var errDisk = errors.New("input/output error")

// W7: whichever disk step fails, Fatal is called once, the call fails, and nothing is stored any more.
// What was acknowledged before is there after the next start.
func TestEveryFailedStepIsFatalOnce(t *testing.T) {
	steps := []Op{OpRollHeader, OpRollSync, OpRollRename, OpRollSyncDir, OpAppendWrite, OpAppendSync, OpFirstWrite, OpFirstSync,
		OpEndWrite, OpSealWrite, OpSealTruncate, OpRetireRename, OpRetireSyncDir, OpRetireResize, OpRetireRemove, OpSpareAllocate, OpSpareSync, OpSpareSyncDir}
	for _, op := range steps {
		for _, cause := range []error{errDisk, syscall.EIO} {
			failOnce(t, op, cause)
		}
	}
}

func failOnce(t *testing.T, op Op, cause error) {
	t.Helper()
	fsys := newMemFS()
	o := inPlace(fsys)
	var fatal []error
	o.Fatal = func(err error) { fatal = append(fatal, err) }
	w := mustOpen(t, o)
	s := newScript(11, 2500)
	var m, after model
	fsys.fail = func(at Op) error {
		if at == op {
			return cause
		}
		return nil
	}
	for range 400 {
		st := s.next(m)
		after = st.apply(m)
		if err := st.run(w); err != nil {
			if !errors.Is(err, cause) {
				t.Fatalf("%s: want the cause in the error, got %v", op, err)
			}
			break
		}
		m = after
	}
	if len(fatal) != 1 || !errors.Is(fatal[0], cause) {
		t.Fatalf("%s: want Fatal once with the cause, got %v", op, fatal)
	}
	fsys.fail = nil
	if err := w.StoreLog(&raft.Log{Index: m.last() + 1}); !errors.Is(err, cause) {
		t.Fatalf("%s: stored after a failure: %v", op, err)
	}
	if err := w.DeleteRange(m.first(), m.last()); !errors.Is(err, cause) {
		t.Fatalf("%s: deleted after a failure: %v", op, err)
	}
	if err := w.Close(); err != nil && !errors.Is(err, fs.ErrClosed) {
		t.Fatal(err)
	}
	w = mustOpen(t, inPlace(fsys))
	defer mustClose(t, w)
	if err := diff(w, m); err != nil && diff(w, after) != nil {
		t.Fatalf("%s: after the next start: %v", op, err)
	}
}

// W10: with no space left the log goes on to the end of the tail and through the spares; only then
// it fails, and says so once. Compaction needs no space, and what it frees is used again.
func TestFullDisk(t *testing.T) {
	fsys := newMemFS()
	o := inPlace(fsys)
	var fatal []error
	o.Fatal = func(err error) { fatal = append(fatal, err) }
	w := mustOpen(t, o)
	s := newScript(5, 1)
	entry := func(index uint64) *raft.Log {
		l := s.entry(index)
		l.Data = make([]byte, 1000)
		return l
	}
	next := uint64(1)
	store := func() error { next++; return w.StoreLog(entry(next - 1)) }
	if err := store(); err != nil {
		t.Fatal(err)
	}
	fsys.limited, fsys.space = true, 0
	for range 300 {
		if err := store(); err != nil {
			t.Fatalf("entry %d on a full disk, although compaction keeps up: %v", next-1, err)
		}
		if next > 8 {
			if err := w.DeleteRange(1, next-8); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(fatal) != 0 {
		t.Fatalf("fatal: %v", fatal)
	}
	acknowledged := next - 1
	var err error
	for range 300 {
		if err = store(); err != nil {
			break
		}
		acknowledged = next - 1
	}
	if !errors.Is(err, syscall.ENOSPC) || len(fatal) != 1 || !errors.Is(fatal[0], syscall.ENOSPC) {
		t.Fatalf("want ENOSPC and Fatal once, got %v and %v", err, fatal)
	}
	mustClose(t, w)
	w = mustOpen(t, inPlace(fsys)) // opening needs no space either
	defer mustClose(t, w)
	if last, _ := w.LastIndex(); last != acknowledged {
		t.Fatalf("last index: want %d, got %d", acknowledged, last)
	}
}

// A disk that hangs ends the process, without waiting for the disk.
func TestStallIsFatal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := newMemFS()
		o := inPlace(&hangingFS{FS: fsys, hang: 6 * time.Second})
		fatal := make(chan error, 2)
		o.Fatal = func(err error) { fatal <- err }
		w := mustOpen(t, o)
		began := time.Now()
		stored := make(chan error)
		go func() { stored <- w.StoreLog(&raft.Log{Index: 1}) }()
		err := <-fatal
		if d := time.Since(began); d != 5*time.Second {
			t.Errorf("want Fatal after 5s, got it after %s", d)
		}
		if got := <-stored; !errors.Is(got, err) {
			t.Errorf("an append that hung: want %v, got %v", err, got)
		}
		if last, _ := w.LastIndex(); last != 0 || len(fatal) != 0 {
			t.Errorf("last index %d, %d more fatal failures", last, len(fatal))
		}
		mustClose(t, w)
	})
}

// An append that is slow but not hanging is fine, however many there are.
func TestSlowDiskIsNotFatal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := inPlace(&hangingFS{FS: newMemFS(), hang: 4 * time.Second})
		o.Fatal = func(err error) { t.Error(err) }
		w := mustOpen(t, o)
		for index := uint64(1); index <= 5; index++ {
			if err := w.StoreLog(&raft.Log{Index: index}); err != nil {
				t.Error(err)
			}
		}
		mustClose(t, w)
	})
}

// A process that was stopped for an hour in the middle of a write finds one tick late, not a hanging disk.
func TestSuspendedProcessIsNotFatal(t *testing.T) {
	f := newFailure(func(err error) { t.Error(err) })
	w := newWatchdog(time.Hour, f)
	start := func() {
		w.start()
		w.began = w.began.Add(-time.Hour) // suspended now, no tick came meanwhile
	}
	for range 3 * watchdogTicks {
		start()
		w.tick()
		w.stop()
		w.tick() // one that was already on its way
	}
	w.start()
	for range 3 * watchdogTicks {
		w.tick() // too early, all of them
	}
	told := 0
	f.fatal = func(error) { told++ }
	start()
	for range 2 * watchdogTicks {
		w.tick()
	}
	w.stop()
	if told != 1 || f.latched() == nil {
		t.Errorf("a hanging disk was told %d times, latched %v", told, f.latched())
	}
}

// hangingFS takes its time for each sync of an append.
type hangingFS struct {
	FS
	hang time.Duration
}

func (h *hangingFS) Open(op Op, path string, flag int) (File, error) {
	f, err := h.FS.Open(op, path, flag)
	if err != nil {
		return nil, err
	}
	return &hangingFile{f, h.hang}, nil
}

type hangingFile struct {
	File
	hang time.Duration
}

func (h *hangingFile) Sync(op Op) error {
	if op == OpAppendSync {
		<-time.After(h.hang)
	}
	return h.File.Sync(op)
}

// Without a Fatal a failure must not pass in silence.
func TestFatalDefaultsToPanic(t *testing.T) {
	fsys := newMemFS()
	o := inPlace(fsys)
	o.Fatal = nil
	w := mustOpen(t, o)
	defer mustClose(t, w)
	fsys.fail = func(op Op) error {
		if op == OpAppendSync {
			return errDisk
		}
		return nil
	}
	defer func() {
		if err, ok := recover().(error); !ok || !errors.Is(err, errDisk) {
			t.Fatalf("want a panic with the cause, got %v", err)
		}
		fsys.fail = nil
	}()
	_ = w.StoreLog(&raft.Log{Index: 1})
}
