package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/raft"
)

func TestReader(t *testing.T) {
	for _, cache := range []int64{-1, 1 << 20} {
		t.Run(fmt.Sprintf("cache %d", cache), func(t *testing.T) {
			o := inPlace(newMemFS())
			o.CacheBytes = cache
			w := mustOpen(t, o)
			defer mustClose(t, w)
			if _, err := w.Reader(0).Next(99); err != io.EOF {
				t.Fatalf("want io.EOF, got %v", err)
			}
			r := w.Reader(10)
			defer r.Close()
			expect := func(limit, want uint64, wantErr error) {
				t.Helper()
				e, err := r.Next(limit)
				if !errors.Is(err, wantErr) || (wantErr != nil && err != wantErr) || (err == nil && e.Index != want) {
					t.Fatalf("limit %d: want %d, %v; got %d, %v", limit, want, wantErr, e.Index, err)
				}
			}
			expect(99, 0, io.EOF) // empty log
			if err := w.StoreLogs(entries(10, 13)); err != nil {
				t.Fatal(err)
			}
			expect(9, 0, io.EOF)
			expect(10, 10, nil)
			expect(10, 0, io.EOF)
			expect(12, 11, nil)
			// Above the limit may be replaced, and the reader must not have kept the old one.
			if err := w.DeleteRange(12, 13); err != nil {
				t.Fatal(err)
			}
			expect(13, 0, io.EOF)
			if err := w.StoreLogs([]*raft.Log{{Index: 12, Term: 9, Data: []byte("new")}}); err != nil {
				t.Fatal(err)
			}
			e, err := r.Next(12)
			if err != nil || e.Term != 9 || string(e.Data) != "new" {
				t.Fatalf("want the replacement, got %+v, %v", e, err)
			}
			if err := w.StoreLogs(entries(13, 20)); err != nil {
				t.Fatal(err)
			}
			if err := w.DeleteRange(1, 15); err != nil {
				t.Fatal(err)
			}
			expect(20, 0, ErrReclaimed)
			if err := w.DeleteRange(1, 20); err != nil {
				t.Fatal(err)
			}
			if err := w.StoreLogs(entries(100, 101)); err != nil {
				t.Fatal(err)
			}
			expect(20, 0, ErrReclaimed)
		})
	}
}

// A reader that has read ahead beyond its limit must not show what was cut off meanwhile, wherever the cut is.
func TestReaderForgetsWhatWasCut(t *testing.T) {
	for cut := uint64(2); cut <= 40; cut++ {
		w := mustOpen(t, inPlace(newMemFS()))
		s := newScript(cut, 900)
		var m model
		run := func(st step) {
			t.Helper()
			if err := st.run(w); err != nil {
				t.Fatal(err)
			}
			m = st.apply(m)
		}
		for index := uint64(1); index <= 40; index++ {
			run(step{store: []*raft.Log{s.entry(index)}})
		}
		r := w.Reader(1)
		for index := uint64(1); index < cut; index++ {
			if e, err := r.Next(cut - 1); err != nil || e.Index != index {
				t.Fatalf("%+v, %v", e, err)
			}
		}
		run(step{low: cut, high: 40})
		for index := cut; index <= 40; index++ {
			run(step{store: []*raft.Log{s.entry(index)}})
		}
		for _, want := range m.logs[cut-1:] {
			if e, err := r.Next(40); err != nil || !bytes.Equal(e.Data, want.Data) {
				t.Fatalf("cut at %d: entry %d: want the replacement, got %+v, %v", cut, want.Index, e, err)
			}
		}
		r.Close()
		mustClose(t, w)
	}
}

// stamp makes an entry whose data proves its index and term.
func stamp(index, term uint64) *raft.Log {
	data := bytes.Repeat([]byte{byte(index*31 + term)}, 100+int(index*37%1500))
	binary.LittleEndian.PutUint64(data, index)
	binary.LittleEndian.PutUint64(data[8:], term)
	return &raft.Log{Index: index, Term: term, Data: data}
}

func checkStamp(index, term uint64, data []byte) error {
	if want := stamp(index, term); !bytes.Equal(want.Data, data) {
		return fmt.Errorf("entry %d of term %d holds something else", index, term)
	}
	return nil
}

// W5, W8: readers beside a writer that appends, cuts, reclaims and recycles see each entry right or
// not at all. Without a cache, so that all of them read files that are being overwritten.
func TestConcurrentReaders(t *testing.T) {
	rounds := uint64(1500)
	if testing.Short() {
		rounds = 300
	}
	concurrently(t, Options{Dir: "/wal", FS: newMemFS()}, rounds)
	concurrently(t, Options{Dir: t.TempDir()}, rounds/10)
}

func concurrently(t *testing.T, o Options, rounds uint64) {
	t.Helper()
	o.SegmentBytes, o.CacheBytes = segmentBytesMin, -1
	o.Fatal = func(err error) { t.Errorf("fatal: %v", err) }
	w := mustOpen(t, o)
	var stop atomic.Bool
	var committed, read atomic.Uint64
	var group sync.WaitGroup
	for id := range uint64(2) {
		group.Go(func() {
			var l raft.Log
			for i := uint64(0); !stop.Load(); i++ {
				first, _ := w.FirstIndex()
				last, _ := w.LastIndex()
				index := first + (i*(2+id))%(last-first+2)
				switch err := w.GetLog(index, &l); {
				case err == nil:
					read.Add(1)
					if err := checkStamp(index, l.Term, l.Data); err != nil {
						t.Error(err)
					}
				case err != raft.ErrLogNotFound:
					t.Errorf("get %d: %v", index, err)
				}
			}
		})
	}
	group.Go(func() {
		r := w.Reader(1)
		for !stop.Load() {
			switch e, err := r.Next(committed.Load()); {
			case err == nil:
				read.Add(1)
				if err := checkStamp(e.Index, e.Term, e.Data); err != nil {
					t.Error(err)
				}
			case errors.Is(err, ErrReclaimed):
				r.Close()
				first, _ := w.FirstIndex()
				r = w.Reader(first)
			case !errors.Is(err, io.EOF):
				t.Errorf("read: %v", err)
			}
		}
		r.Close()
	})
	churn(t, w, &committed, rounds)
	stop.Store(true)
	group.Wait()
	mustClose(t, w)
	if read.Load() == 0 {
		t.Error("nothing was read")
	}
}

func churn(t *testing.T, w *WAL, committed *atomic.Uint64, rounds uint64) {
	t.Helper()
	next := uint64(1)
	for round := range rounds {
		var logs []*raft.Log
		for range 1 + round%4 {
			logs = append(logs, stamp(next, round))
			next++
		}
		err := w.StoreLogs(logs)
		if round%7 == 0 && next > committed.Load()+2 {
			next -= (next - committed.Load()) / 2
			err = errors.Join(err, w.DeleteRange(next, next+100))
		}
		if round%5 == 0 {
			committed.Store(next - 1)
		}
		if first, _ := w.FirstIndex(); round%11 == 0 && committed.Load() > first+60 {
			err = errors.Join(err, w.DeleteRange(first, committed.Load()-60))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// meddlingFS calls before once, ahead of the next read.
type meddlingFS struct {
	FS
	before func()
}

func (m *meddlingFS) Open(op Op, path string, flag int) (File, error) {
	f, err := m.FS.Open(op, path, flag)
	return &meddlingFile{f, m}, err
}

type meddlingFile struct {
	File
	fs *meddlingFS
}

func (m *meddlingFile) ReadAt(op Op, p []byte, off int64) (int, error) {
	if before := m.fs.before; before != nil {
		m.fs.before = nil
		before()
	}
	return m.File.ReadAt(op, p, off)
}

// A segment that is reclaimed and overwritten between a reader's look at the view and its look at the file is
// nothing to die of.
func TestReadOfARecycledSegment(t *testing.T) {
	for _, reset := range []bool{false, true} {
		fsys := &meddlingFS{FS: newMemFS()}
		o := inPlace(fsys)
		o.Fatal = func(err error) { t.Errorf("fatal: %v", err) }
		w := mustOpen(t, o)
		next := uint64(1)
		fill := func() {
			for range 60 {
				if err := w.StoreLog(stamp(next, 1)); err != nil {
					t.Error(err)
				}
				next++
			}
		}
		recycle := func() {
			high := next - 2
			if reset {
				high++
			}
			if err := w.DeleteRange(1, high); err != nil {
				t.Error(err)
			}
			fill() // overwrites the spares
		}
		fill()
		fsys.before = recycle
		if err := w.GetLog(next-60, new(raft.Log)); err != raft.ErrLogNotFound {
			t.Errorf("get: want raft.ErrLogNotFound, got %v", err)
		}
		first, _ := w.FirstIndex()
		r := w.Reader(first)
		fsys.before = recycle
		if _, err := r.Next(next - 1); err != ErrReclaimed {
			t.Errorf("reader: want ErrReclaimed, got %v", err)
		}
		mustClose(t, w)
	}
}

// A reader passes every segment once in large reads; GetLog of one index after another does as well.
func TestSequentialReadsAreCheap(t *testing.T) {
	fsys := newMemFS()
	o := inPlace(fsys)
	o.SegmentBytes = 1 << 20
	w := mustOpen(t, o)
	defer mustClose(t, w)
	for index := uint64(1); index <= 400; index++ {
		if err := w.StoreLog(&raft.Log{Index: index, Data: make([]byte, 10<<10)}); err != nil {
			t.Fatal(err)
		}
	}
	total := int(w.Info().Bytes)
	reads := map[string]func(){
		"reader": func() {
			r := w.Reader(1)
			defer r.Close()
			for {
				if _, err := r.Next(400); err != nil {
					return
				}
			}
		},
		"get": func() {
			for index := uint64(1); index <= 400; index++ {
				if err := w.GetLog(index, new(raft.Log)); err != nil {
					t.Fatal(err)
				}
			}
		},
	}
	for name, read := range reads {
		fsys.readBytes, fsys.reads = 0, 0
		read()
		if fsys.readBytes > total*11/10 || fsys.reads > 40 {
			t.Errorf("%s: %d bytes in %d reads for a log of %d bytes", name, fsys.readBytes, fsys.reads, total)
		}
	}
}
