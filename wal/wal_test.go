package wal

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func entries(from, to uint64) []*raft.Log {
	var logs []*raft.Log
	for index := from; index <= to; index++ {
		logs = append(logs, &raft.Log{Index: index, Term: 1, Data: []byte{byte(index), byte(index >> 8)}})
	}
	return logs
}

func TestDeleteRange(t *testing.T) {
	tests := []struct {
		name        string
		low, high   uint64
		first, last uint64
		fails       bool
	}{
		{name: "prefix", low: 10, high: 14, first: 15, last: 20},
		{name: "prefix from below", low: 1, high: 10, first: 11, last: 20},
		{name: "all but the last", low: 10, high: 19, first: 20, last: 20},
		{name: "suffix", low: 15, high: 20, first: 10, last: 14},
		{name: "suffix from above", low: 20, high: 99, first: 10, last: 19},
		{name: "everything", low: 10, high: 20},
		{name: "everything and more", low: 1, high: 99},
		{name: "below", low: 1, high: 9, first: 10, last: 20},
		{name: "above", low: 21, high: 30, first: 10, last: 20},
		{name: "empty range", low: 16, high: 15, first: 10, last: 20},
		{name: "middle", low: 12, high: 13, first: 10, last: 20, fails: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := inPlace(newMemFS())
			w := mustOpen(t, o)
			if err := w.StoreLogs(entries(10, 20)); err != nil {
				t.Fatal(err)
			}
			if err := w.DeleteRange(tt.low, tt.high); (err != nil) != tt.fails {
				t.Fatalf("fails %v, got %v", tt.fails, err)
			}
			if tt.fails {
				tt.first, tt.last = 10, 20
			}
			for range 2 {
				first, _ := w.FirstIndex()
				last, _ := w.LastIndex()
				if first != tt.first || last != tt.last {
					t.Fatalf("want %d..%d, got %d..%d", tt.first, tt.last, first, last)
				}
				mustClose(t, w)
				w = mustOpen(t, o)
			}
			mustClose(t, w)
		})
	}
}

func TestEmptyLog(t *testing.T) {
	w := mustOpen(t, inPlace(newMemFS()))
	defer mustClose(t, w)
	for _, r := range [][2]uint64{{0, 0}, {1, 100}, {5, 4}} {
		if err := w.DeleteRange(r[0], r[1]); err != nil {
			t.Errorf("delete %v on an empty log: %v", r, err)
		}
	}
	if err := w.GetLog(0, new(raft.Log)); err != raft.ErrLogNotFound {
		t.Errorf("want exactly raft.ErrLogNotFound, got %v", err)
	}
	if err := w.StoreLogs(nil); err != nil {
		t.Error(err)
	}
	if err := w.StoreLog(&raft.Log{Index: 0}); !errors.Is(err, ErrGap) {
		t.Errorf("index 0: want ErrGap, got %v", err)
	}
	// As after a snapshot was installed.
	if err := w.StoreLogs(entries(5000, 5002)); err != nil {
		t.Fatal(err)
	}
	if info := w.Info(); info.FirstIndex != 5000 || info.LastIndex != 5002 || info.Segments != 1 {
		t.Errorf("got %+v", info)
	}
}

// A gap is refused, breaks nothing, and is not fatal by itself: the caller must stop.
func TestGap(t *testing.T) {
	o := inPlace(newMemFS())
	o.Fatal = func(err error) { t.Errorf("fatal: %v", err) }
	w := mustOpen(t, o)
	defer mustClose(t, w)
	if err := w.StoreLogs(entries(1, 3)); err != nil {
		t.Fatal(err)
	}
	inside := append(entries(4, 5), entries(7, 7)...)
	for _, logs := range [][]*raft.Log{entries(5, 6), entries(3, 4), entries(1, 1), inside} {
		if err := w.StoreLogs(logs); !errors.Is(err, ErrGap) {
			t.Errorf("%d after 3: want ErrGap, got %v", logs[0].Index, err)
		}
	}
	if err := w.StoreLogs(entries(4, 5)); err != nil {
		t.Fatal(err)
	}
}

// One write and one sync for each StoreLogs, whatever it stores.
func TestOneSyncPerGroupCommit(t *testing.T) {
	fsys := newMemFS()
	w := mustOpen(t, inPlace(fsys))
	defer mustClose(t, w)
	for i := range uint64(5) {
		if err := w.StoreLogs(entries(1+i*10, 10+i*10)); err != nil {
			t.Fatal(err)
		}
	}
	if writes, syncs := fsys.trace[OpAppendWrite], fsys.trace[OpAppendSync]; writes != 5 || syncs != 5 {
		t.Fatalf("5 group commits: %d writes, %d syncs", writes, syncs)
	}
}

// A group commit larger than a segment gets a larger segment.
func TestLargeGroupCommit(t *testing.T) {
	fsys := newMemFS()
	o := inPlace(fsys)
	w := mustOpen(t, o)
	var m model
	for _, size := range []int{10, 5 * segmentBytesMin, 10, 300 << 10, segmentBytesMin - frameStart - frameHeaderBytes, 10} {
		st := step{store: []*raft.Log{{Index: m.last() + 1, Data: make([]byte, size)}}}
		if err := st.run(w); err != nil {
			t.Fatal(err)
		}
		m = st.apply(m)
	}
	// One that does not fit into a tail that a cut left empty takes that tail's place.
	segments := w.Info().Segments
	for _, st := range []step{
		{low: m.last(), high: m.last()},
		{store: []*raft.Log{{Index: m.last(), Data: make([]byte, 2*segmentBytesMin)}}},
	} {
		if err := st.run(w); err != nil {
			t.Fatal(err)
		}
		m = st.apply(m)
	}
	if err := diff(w, m); err != nil {
		t.Fatal(err)
	}
	if n := w.Info().Segments; n != segments+1 {
		t.Fatalf("%d segments, want %d", n, segments+1)
	}
	mustClose(t, w)
	w = mustOpen(t, o)
	defer mustClose(t, w)
	if err := diff(w, m); err != nil {
		t.Fatal(err)
	}
}

// Which segments live follows from their names.
func TestLivingSegments(t *testing.T) {
	n := func(id, base uint64) segmentName { return segmentName{id, base} }
	tests := []struct {
		name       string
		found      []segmentName
		lowest     uint64
		live, dead int
		first      segmentName
	}{
		{name: "none"},
		{name: "chain", found: []segmentName{n(1, 5), n(2, 9), n(3, 20)}, lowest: 1, live: 3, first: n(1, 5)},
		{name: "prefix", found: []segmentName{n(1, 5), n(2, 9), n(3, 20)}, lowest: 2, live: 2, dead: 1, first: n(2, 9)},
		{name: "cut", found: []segmentName{n(1, 5), n(2, 9), n(3, 20), n(4, 8)}, lowest: 1, live: 2, dead: 2, first: n(1, 5)},
		{name: "cut at a base", found: []segmentName{n(1, 5), n(2, 9), n(3, 9)}, lowest: 1, live: 2, dead: 1, first: n(1, 5)},
		{name: "cut twice", found: []segmentName{n(1, 5), n(2, 9), n(3, 7), n(4, 6)}, lowest: 1, live: 2, dead: 2, first: n(1, 5)},
		{name: "reset", found: []segmentName{n(1, 5), n(2, 9)}, lowest: 3, dead: 2},
		{name: "reset to a lower index", found: []segmentName{n(1, 5), n(2, 9), n(3, 2)}, lowest: 3, live: 1, dead: 2, first: n(3, 2)},
	}
	for _, tt := range tests {
		live, dead := living(tt.found, tt.lowest)
		if len(live) != tt.live || len(dead) != tt.dead || (len(live) > 0 && live[0] != tt.first) {
			t.Errorf("%s: live %v, dead %v", tt.name, live, dead)
		}
	}
}

// Reclaimed segments become spares and are used again; their number is bounded, and W6: nothing of
// their old life is ever seen.
func TestSegmentsAreRecycled(t *testing.T) {
	fsys := newMemFS()
	w := mustOpen(t, inPlace(fsys))
	s := newScript(9, 2000)
	var m model
	run := func(st step) {
		t.Helper()
		if err := st.run(w); err != nil {
			t.Fatal(err)
		}
		m = st.apply(m)
	}
	for range 100 {
		run(s.storeStep(m.last()))
		if n := len(m.logs); n > 20 {
			run(step{low: m.first(), high: m.logs[n-20].Index})
		}
		if err := diff(w, m); err != nil {
			t.Fatal(err)
		}
	}
	if made := fsys.trace[OpSpareCreate]; made > sparesMax+2 {
		t.Errorf("%d files made although segments are recycled", made)
	}
	for range 30 {
		run(s.storeStep(m.last()))
	}
	run(step{low: m.first(), high: m.last()})
	if info := w.Info(); info.Spares != sparesMax || info.Segments != 0 {
		t.Errorf("want %d spares and no segments, got %+v", sparesMax, info)
	}
	mustClose(t, w)
}

// Opening reads the tail, and of sealed segments no more than header and footer.
func TestOpenTrustsFooters(t *testing.T) {
	fsys := newMemFS()
	o := inPlace(fsys)
	w := mustOpen(t, o)
	s := newScript(2, 2000)
	var m model
	for w.Info().Segments < 20 {
		st := s.storeStep(m.last())
		if err := st.run(w); err != nil {
			t.Fatal(err)
		}
		m = st.apply(m)
	}
	mustClose(t, w)
	fsys.readBytes = 0
	w = mustOpen(t, o)
	mustClose(t, w)
	if most := 20*4*headerBytes + segmentBytesMin; fsys.readBytes > most {
		t.Fatalf("opening read %d bytes, want at most %d", fsys.readBytes, most)
	}
	for path, n := range fsys.names { // without footers everything is scanned, and sealed again
		if _, ok := parseSegmentName(filepath.Base(path)); ok {
			n.data[len(n.data)-1] ^= 1
		}
	}
	for range 2 {
		w = mustOpen(t, o)
		if err := diff(w, m); err != nil {
			t.Fatal(err)
		}
		mustClose(t, w)
	}
	fsys.readBytes = 0
	mustClose(t, mustOpen(t, o))
	if most := 20*4*headerBytes + segmentBytesMin; fsys.readBytes > most {
		t.Fatalf("after sealing again, opening read %d bytes, want at most %d", fsys.readBytes, most)
	}
}

func TestUnknownVersionIsRefused(t *testing.T) {
	base, _ := storedLog(t)
	for path := range base.names {
		fsys := base.image()
		n := fsys.names[path]
		switch name := filepath.Base(path); {
		case name == firstFile:
			for slot := range slots {
				b, _, err := decodeBounds(n.data[slot*slotEvery:])
				if err != nil {
					t.Fatal(err)
				}
				copy(n.data[slot*slotEvery:], withVersion(b.encode(), 2))
			}
		case filepath.Ext(name) == segmentSuffix:
			copy(n.data, withVersion(n.data[:headerBytes], 2))
		default:
			continue
		}
		if _, err := Open(inPlace(fsys)); err == nil || !strings.Contains(err.Error(), "version 2, this build reads version 1") {
			t.Errorf("%s: want the versions named, got %v", filepath.Base(path), err)
		}
	}
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	o := inPlace(newMemFS())
	o.Registerer = reg
	w := mustOpen(t, o)
	defer mustClose(t, w)
	if err := w.StoreLogs(entries(1, 9)); err != nil {
		t.Fatal(err)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("promlint: %v %v", problems, err)
	}
	want := `
# HELP highlander_wal_last_index Greatest index of the log, 0 if it is empty.
# TYPE highlander_wal_last_index gauge
highlander_wal_last_index 9
# HELP highlander_wal_bytes Bytes of the log's segments in use, without what is only preallocated.
# TYPE highlander_wal_bytes gauge
highlander_wal_bytes 4600
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "highlander_wal_last_index", "highlander_wal_bytes"); err != nil {
		t.Error(err)
	}
	if n := testutil.CollectAndCount(w.metrics.fsync, "highlander_wal_fsync_duration_seconds"); n != 1 {
		t.Errorf("%d histograms", n)
	}
}

func TestClosed(t *testing.T) {
	fsys, m := storedLog(t)
	w := mustOpen(t, inPlace(fsys))
	r := w.Reader(m.first())
	mustClose(t, w)
	mustClose(t, w)
	if _, err := r.Next(m.last()); !errors.Is(err, ErrClosed) {
		t.Errorf("reader: want ErrClosed, got %v", err)
	}
	if err := w.GetLog(m.first(), new(raft.Log)); !errors.Is(err, ErrClosed) {
		t.Errorf("get: want ErrClosed, got %v", err)
	}
	if err := w.StoreLog(&raft.Log{Index: m.last() + 1}); !errors.Is(err, ErrClosed) {
		t.Errorf("store: want ErrClosed, got %v", err)
	}
	if err := w.DeleteRange(m.first(), m.last()); !errors.Is(err, ErrClosed) {
		t.Errorf("delete: want ErrClosed, got %v", err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, o := range []Options{{}, {Dir: "x", SegmentBytes: 1}, {Dir: "x", SegmentBytes: 1 << 33}} {
		o.FS = newMemFS()
		if _, err := Open(o); err == nil {
			t.Errorf("%+v: want an error", o)
		}
	}
}

// W8: a view that a reader has loaded never changes, whatever the writer does next.
func TestViewsNeverChange(t *testing.T) {
	w := mustOpen(t, inPlace(newMemFS()))
	defer mustClose(t, w)
	s := newScript(6, 2000)
	var m model
	var views, copies []view
	for range 300 {
		v := w.view.Load()
		views = append(views, *v)
		c := *v
		c.sealed = slices.Clone(v.sealed)
		copies = append(copies, c)
		st := s.next(m)
		if err := st.run(w); err != nil {
			t.Fatal(err)
		}
		m = st.apply(m)
	}
	for i, v := range views {
		for j, e := range v.sealed {
			if was := copies[i].sealed[j]; e.segment != was.segment || e.last != was.last || e.end != was.end {
				t.Fatalf("view %d: segment %d ended with %d, now segment %d with %d", i, was.id, was.last, e.id, e.last)
			}
		}
	}
}
