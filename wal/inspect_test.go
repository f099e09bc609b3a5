package wal

import (
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/raft"
)

// onDisk is a log in a real directory, some segments long.
func onDisk(t *testing.T) (string, model) {
	t.Helper()
	dir := t.TempDir()
	w := mustOpen(t, Options{Dir: dir, SegmentBytes: segmentBytesMin})
	defer mustClose(t, w)
	s := newScript(4, 900)
	var m model
	for range 40 {
		st := s.storeStep(m.last())
		if m.last() == 0 {
			st = step{store: []*raft.Log{s.entry(3)}}
		}
		if err := st.run(w); err != nil {
			t.Fatal(err)
		}
		m = st.apply(m)
	}
	st := step{low: 1, high: 5}
	if err := st.run(w); err != nil {
		t.Fatal(err)
	}
	return dir, st.apply(m)
}

func TestInspect(t *testing.T) {
	dir, m := onDisk(t)
	before := contents(t, dir)
	l, err := Inspect(dir)
	if err != nil {
		t.Fatal(err)
	}
	if l.FirstIndex != m.first() || l.LastIndex != m.last() || l.Segments != len(l.Files) || l.Segments < 3 || l.Spares < 1 || l.TornIndex != 0 {
		t.Errorf("got %+v for %d..%d", l, m.first(), m.last())
	}
	for i, f := range l.Files {
		if i > 0 && f.First != l.Files[i-1].Last+1 {
			t.Errorf("segment %d begins with %d, the one before ends with %d", f.ID, f.First, l.Files[i-1].Last)
		}
		if f.Sealed != (i < len(l.Files)-1) || f.Bytes <= frameStart || f.DiskBytes < f.Bytes {
			t.Errorf("got %+v", f)
		}
	}
	w := mustOpen(t, Options{Dir: dir, SegmentBytes: segmentBytesMin})
	w.spares.wait()
	if got := w.Info(); got != l.Info {
		t.Errorf("inspected %+v, open %+v", l.Info, got)
	}
	mustClose(t, w)
	for name, data := range contents(t, dir) {
		if string(before[name]) != string(data) {
			t.Errorf("%s was changed", name)
		}
	}
}

func TestDump(t *testing.T) {
	dir, m := onDisk(t)
	tests := []struct{ from, to, first, last uint64 }{
		{0, 0, m.first(), m.last()},
		{1, 1 << 60, m.first(), m.last()},
		{20, 30, 20, 30},
		{m.last(), 0, m.last(), m.last()},
	}
	for _, tt := range tests {
		next := tt.first
		err := Dump(dir, tt.from, tt.to, func(e Entry) error {
			want := m.logs[e.Index-m.first()]
			if e.Index != next || string(e.Data) != string(want.Data) || e.Term != want.Term || e.Type != want.Type {
				t.Errorf("want %d, got %+v", next, e)
			}
			next++
			return nil
		})
		if err != nil || next != tt.last+1 {
			t.Errorf("%d to %d: ended before %d, %v", tt.from, tt.to, next, err)
		}
	}
	stop := errors.New("enough")
	calls := 0
	if err := Dump(dir, 0, 0, func(Entry) error { calls++; return stop }); err != stop || calls != 1 {
		t.Errorf("want the callback's own error after one call, got %v after %d", err, calls)
	}
	if err := Dump(dir, m.last()+1, 0, func(Entry) error { return stop }); err != nil {
		t.Errorf("nothing to dump: %v", err)
	}
}

func TestVerify(t *testing.T) {
	dir, m := onDisk(t)
	r, err := Verify(dir)
	if err != nil || len(r.Problems) != 0 || r.FirstIndex != m.first() || r.LastIndex != m.last() || r.Entries != m.last()-2 {
		t.Fatalf("%d..%d: got %+v, %v", m.first(), m.last(), r, err)
	}
	l, err := Inspect(dir)
	if err != nil {
		t.Fatal(err)
	}
	damaged := l.Files[1]
	flip(t, damaged.Path, frameStart+frameHeaderBytes+1)
	flip(t, l.Files[2].Path, 30)
	r, err = Verify(dir)
	if err != nil || len(r.Problems) != 2 {
		t.Fatalf("want 2 problems, got %+v, %v", r, err)
	}
	var bad *CorruptError
	if !errors.As(r.Problems[0].Err, &bad) || bad.Segment != damaged.ID || bad.Offset != frameStart || bad.Index != damaged.First {
		t.Errorf("got %+v", r.Problems[0])
	}
	if !errors.As(r.Problems[1].Err, &bad) || bad.Segment != l.Files[2].ID {
		t.Errorf("got %+v", r.Problems[1])
	}
	if err := os.Remove(l.Files[0].Path); err != nil {
		t.Fatal(err)
	}
	if r, err = Verify(dir); err != nil || len(r.Problems) != 1 {
		t.Errorf("lowest segment missing: got %+v, %v", r, err)
	}
	if _, err := Verify(filepath.Join(dir, "nowhere")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}

func flip(t *testing.T, path string, off int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, off); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b, off); err != nil {
		t.Fatal(err)
	}
}

// A living directory is read beside its writer, and never found damaged.
func TestInspectLive(t *testing.T) {
	dir := t.TempDir()
	w := mustOpen(t, Options{Dir: dir, SegmentBytes: segmentBytesMin})
	if err := w.StoreLog(stamp(1, 0)); err != nil {
		t.Fatal(err)
	}
	var stop atomic.Bool
	written := make(chan error)
	go func() {
		var err error
		for next := uint64(2); !stop.Load() && err == nil; next++ {
			if err = w.StoreLog(stamp(next, 0)); err == nil && next%40 == 0 && next > 200 {
				err = w.DeleteRange(1, next-200)
			}
		}
		written <- err
	}()
	rounds := 60
	if testing.Short() {
		rounds = 15
	}
	for range rounds {
		r, err := Verify(dir)
		if err != nil || len(r.Problems) > 0 {
			t.Errorf("verify: %+v, %v", r, err)
		}
		if _, err := Inspect(dir); err != nil {
			t.Errorf("inspect: %v", err)
		}
		if err := Dump(dir, 0, 0, func(e Entry) error { return checkStamp(e.Index, e.Term, e.Data) }); err != nil {
			t.Errorf("dump: %v", err)
		}
	}
	stop.Store(true)
	if err := <-written; err != nil {
		t.Error(err)
	}
	mustClose(t, w)
}

// A log that rolls to other segments while it is read is not damaged.
func TestVerifyLongLive(t *testing.T) {
	dir := t.TempDir()
	w := mustOpen(t, Options{Dir: dir, SegmentBytes: segmentBytesMin})
	if err := w.StoreLogs(entries(1, 1)); err != nil {
		t.Fatal(err)
	}
	next := uint64(2)
	for ; next < 60000; next += 60 {
		if err := w.StoreLogs(sized(next, 60, 100, 1)); err != nil {
			t.Fatal(err)
		}
	}
	var stop atomic.Bool
	written := make(chan error)
	go func() {
		var err error
		for ; !stop.Load() && err == nil; next += 60 {
			err = w.StoreLogs(sized(next, 60, 100, 1))
		}
		written <- err
	}()
	for range 3 {
		r, err := Verify(dir)
		if err != nil || len(r.Problems) > 0 {
			t.Errorf("verify: %+v, %v", r.Problems, err)
		}
	}
	stop.Store(true)
	if err := <-written; err != nil {
		t.Error(err)
	}
	mustClose(t, w)
}

// What a log would not be opened with is a problem, also where every checksum is right.
func TestVerifyFooters(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, dir string, files []SegmentInfo){
		"last index": func(t *testing.T, _ string, files []SegmentInfo) { refoot(t, files[1], func(e *extent) { e.last-- }) },
		"offsets": func(t *testing.T, _ string, files []SegmentInfo) {
			refoot(t, files[1], func(e *extent) { e.spots = append(e.spots, spot{0, frameStart}) })
		},
		"the tail is gone": func(t *testing.T, dir string, files []SegmentInfo) {
			if err := errors.Join(os.Remove(files[len(files)-1].Path), os.Remove(filepath.Join(dir, endFile))); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, _ := onDisk(t)
			l, err := Inspect(dir)
			if err != nil {
				t.Fatal(err)
			}
			spoil(t, dir, l.Files)
			r, err := Verify(dir)
			var bad *CorruptError
			if err != nil || len(r.Problems) != 1 || !errors.As(r.Problems[0].Err, &bad) {
				t.Errorf("got %+v, %v", r, err)
			}
		})
	}
}

// refoot gives a sealed segment another footer, with the right sum.
func refoot(t *testing.T, f SegmentInfo, edit func(*extent)) {
	t.Helper()
	s, err := openSegment(osFS{}, filepath.Dir(f.Path), segmentName{f.ID, f.First}, os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	defer s.file.Close()
	e, ok, err := readFooter(s)
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
	edit(&e)
	data, err := os.ReadFile(f.Path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f.Path, appendFooter(data[:e.end], e), 0o600); err != nil {
		t.Fatal(err)
	}
}

// What is whole in a damaged directory is shown, then the damage is told.
func TestDumpDamaged(t *testing.T) {
	for what, spoil := range map[string]func(t *testing.T, l Layout, dir string){
		"the tail is gone": func(t *testing.T, l Layout, dir string) {
			if err := os.Remove(l.Files[len(l.Files)-1].Path); err != nil {
				t.Fatal(err)
			}
		},
		"a flip in the tail": func(t *testing.T, l Layout, dir string) {
			f := l.Files[len(l.Files)-1]
			b, _ := os.ReadFile(f.Path)
			b[frameStart+70] ^= 4
			if err := os.WriteFile(f.Path, b, 0o600); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			dir, m := onDisk(t)
			l, err := Inspect(dir)
			if err != nil {
				t.Fatal(err)
			}
			spoil(t, l, dir)
			n := 0
			err = Dump(dir, 0, 0, func(Entry) error { n++; return nil })
			t.Logf("%d of %d entries in %d segments shown: %v", n, m.last()-m.first()+1, len(l.Files), err)
			if err == nil || n == 0 {
				t.Error("what is whole is not shown")
			}
		})
	}
}
