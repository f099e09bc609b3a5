package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// model is what a log must hold: nothing, or contiguous entries.
type model struct{ logs []*raft.Log }

func (m model) first() uint64 {
	if len(m.logs) == 0 {
		return 0
	}
	return m.logs[0].Index
}

func (m model) last() uint64 {
	if len(m.logs) == 0 {
		return 0
	}
	return m.logs[len(m.logs)-1].Index
}

// step is one call on a log: entries to store, or a range to delete.
type step struct {
	store     []*raft.Log
	low, high uint64
}

func (s step) apply(m model) model {
	if s.store != nil {
		return model{append(m.logs[:len(m.logs):len(m.logs)], s.store...)}
	}
	var kept []*raft.Log
	for _, l := range m.logs {
		if l.Index < s.low || l.Index > s.high {
			kept = append(kept, l)
		}
	}
	return model{kept}
}

func (s step) run(store raft.LogStore) error {
	if s.store != nil {
		return store.StoreLogs(s.store)
	}
	return store.DeleteRange(s.low, s.high)
}

// script makes up steps that suit a log's state.
type script struct {
	rng      *rand.Rand
	bytesMax int
	term     uint64
}

func newScript(seed uint64, bytesMax int) *script {
	return &script{rng: rand.New(rand.NewPCG(seed, 1)), bytesMax: bytesMax, term: 1}
}

func (s *script) next(m model) step {
	switch first, last := m.first(), m.last(); {
	case last == 0 || s.rng.IntN(10) < 7:
		return s.storeStep(last)
	case s.rng.IntN(2) == 0: // prefix, now and then everything
		return step{low: first - uint64(s.rng.IntN(2)), high: first + s.rng.Uint64N(last-first+1)}
	case s.rng.IntN(8) > 0: // suffix
		s.term++
		return step{low: first + s.rng.Uint64N(last-first+1), high: last + uint64(s.rng.IntN(2))}
	default:
		return step{low: first, high: last}
	}
}

func (s *script) storeStep(last uint64) step {
	next := last + 1
	if last == 0 {
		next = 1 + s.rng.Uint64N(1000)
	}
	var logs []*raft.Log
	for i := range 1 + uint64(s.rng.IntN(5)) {
		logs = append(logs, s.entry(next+i))
	}
	return step{store: logs}
}

func (s *script) entry(index uint64) *raft.Log {
	l := &raft.Log{Index: index, Term: s.term, Type: raft.LogType(s.rng.IntN(6)), Data: s.bytes(s.bytesMax)}
	if s.rng.IntN(3) == 0 {
		l.Extensions = s.bytes(40)
	}
	if s.rng.IntN(3) > 0 {
		l.AppendedAt = time.Unix(s.rng.Int64N(1<<33), s.rng.Int64N(1e9)).UTC()
	}
	return l
}

func (s *script) bytes(most int) []byte {
	b := make([]byte, s.rng.IntN(most+1)+8)
	for i := 0; i+8 <= len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], s.rng.Uint64())
	}
	return b[8:]
}

func equalLogs(a, b *raft.Log) bool {
	return a.Index == b.Index && a.Term == b.Term && a.Type == b.Type && bytes.Equal(a.Data, b.Data) &&
		bytes.Equal(a.Extensions, b.Extensions) && a.AppendedAt.Equal(b.AppendedAt) && a.AppendedAt.IsZero() == b.AppendedAt.IsZero()
}

// diff says how a log differs from what it must hold: W1, W2.
func diff(w *WAL, m model) error {
	if first, _ := w.FirstIndex(); first != m.first() {
		return fmt.Errorf("first index: want %d, got %d", m.first(), first)
	}
	if last, _ := w.LastIndex(); last != m.last() {
		return fmt.Errorf("last index: want %d, got %d", m.last(), last)
	}
	if err := w.view.Load().check(); err != nil {
		return err
	}
	r := w.Reader(m.first())
	defer r.Close()
	for _, want := range m.logs {
		var got raft.Log
		if err := w.GetLog(want.Index, &got); err != nil {
			return fmt.Errorf("get %d: %w", want.Index, err)
		}
		if !equalLogs(want, &got) {
			return fmt.Errorf("get %d: want %+v, got %+v", want.Index, want, got)
		}
		e, err := r.Next(m.last())
		if err != nil {
			return fmt.Errorf("read %d: %w", want.Index, err)
		}
		if e.Index != want.Index || e.Term != want.Term || e.Type != want.Type || !bytes.Equal(e.Data, want.Data) {
			return fmt.Errorf("read %d: want %+v, got %+v", want.Index, want, e)
		}
	}
	for _, outside := range []uint64{0, m.first() - 1, m.last() + 1} {
		if err := w.GetLog(outside, new(raft.Log)); outside != m.first() && err != raft.ErrLogNotFound {
			return fmt.Errorf("get %d: want exactly raft.ErrLogNotFound, got %v", outside, err)
		}
	}
	return nil
}

// check says what is wrong with a view: its segments must follow one another, none empty but the tail.
func (v *view) check() error {
	next := uint64(0)
	var err error
	v.extents(func(e extent) {
		if next != 0 && e.base != next {
			err = fmt.Errorf("segment %d has base %d, want %d", e.id, e.base, next)
		}
		if next = e.last + 1; next == e.base && e.segment != v.tail.segment {
			err = fmt.Errorf("segment %d is empty", e.id)
		}
	})
	if err == nil && v.last > 0 && v.last != next-1 {
		err = fmt.Errorf("last index %d, but the segments end with %d", v.last, next-1)
	}
	return err
}

// inPlace are options whose steps have a fixed order.
func inPlace(fsys FS) Options {
	return Options{
		Dir: "/wal", FS: fsys, SegmentBytes: segmentBytesMin, CacheBytes: -1,
		Fatal: func(error) {}, spawn: func(run func()) { run() },
	}
}

func mustOpen(t testing.TB, o Options) *WAL {
	t.Helper()
	w, err := Open(o)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return w
}

func mustClose(t testing.TB, w *WAL) {
	t.Helper()
	if err := w.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
}

// The log does what raft's own in-memory store does, and goes on doing it after being reopened at
// any moment.
func TestAgainstInmemStore(t *testing.T) {
	runs := 120
	if testing.Short() {
		runs = 20
	}
	for seed := range uint64(runs) {
		options := inPlace(newMemFS())
		switch seed % 3 {
		case 1:
			options.CacheBytes = 20 << 10
		case 2:
			options.CacheBytes = 1 << 20
		}
		againstInmemStore(t, seed, options, 120)
	}
}

// The same on the real file system, with work running beside the writer.
func TestAgainstInmemStoreOnDisk(t *testing.T) {
	for seed := range uint64(4) {
		againstInmemStore(t, 1000+seed, Options{Dir: t.TempDir(), SegmentBytes: segmentBytesMin, CacheBytes: 8 << 10}, 60)
	}
}

func againstInmemStore(t *testing.T, seed uint64, o Options, steps int) {
	t.Helper()
	s := newScript(seed, 3000)
	w := mustOpen(t, o)
	reference := raft.NewInmemStore()
	var m model
	for i := range steps {
		st := s.next(m)
		if err := st.run(w); err != nil {
			t.Fatalf("seed %d step %d: %v", seed, i, err)
		}
		if err := st.run(reference); err != nil {
			t.Fatal(err)
		}
		m = st.apply(m)
		if s.rng.IntN(8) == 0 {
			mustClose(t, w)
			w = mustOpen(t, o)
		}
		if err := errors.Join(diff(w, m), sameBounds(w, reference)); err != nil {
			t.Fatalf("seed %d step %d (%v): %v", seed, i, st.describe(), err)
		}
	}
	mustClose(t, w)
}

func (s step) describe() string {
	if s.store != nil {
		return fmt.Sprintf("store %d..%d", s.store[0].Index, s.store[len(s.store)-1].Index)
	}
	return fmt.Sprintf("delete %d..%d", s.low, s.high)
}

func sameBounds(w *WAL, reference raft.LogStore) error {
	wantFirst, _ := reference.FirstIndex()
	wantLast, _ := reference.LastIndex()
	first, _ := w.FirstIndex()
	last, _ := w.LastIndex()
	if first != wantFirst || last != wantLast {
		return fmt.Errorf("bounds: raft's store has %d..%d, the log %d..%d", wantFirst, wantLast, first, last)
	}
	for index := wantFirst; index <= wantLast && wantLast > 0; index++ {
		var want, got raft.Log
		if err := errors.Join(reference.GetLog(index, &want), w.GetLog(index, &got)); err != nil {
			return err
		}
		if !equalLogs(&want, &got) {
			return fmt.Errorf("entry %d: raft's store has %+v, the log %+v", index, want, got)
		}
	}
	return nil
}
