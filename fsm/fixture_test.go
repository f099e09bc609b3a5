package fsm

import (
	"bytes"
	"io"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/highlander-io/highlander/fsm/wire"
)

var prod = GroupID{Name: "prod"}

// machine is an FSM with a log of its own.
type machine struct {
	*FSM
	t     testing.TB
	index uint64
	serial
}

// serial makes request ids that never repeat.
type serial uint64

func (s *serial) next() RequestID {
	*s++
	return RequestID{0: byte(*s), 1: byte(*s >> 8), 2: byte(*s >> 16), 15: 1}
}

func newMachine(t testing.TB) *machine { return &machine{FSM: New(Options{}), t: t} }

// ready is a machine with one destination, "lts", registered at index 1, and a group whose current source "a" was elected
// at index 2 into epoch 1.
func ready(t testing.TB) *machine {
	m := newMachine(t)
	m.must(&DestinationOp{Op: OpRegister, Name: "lts", URL: "http://lts"})
	m.must(&Elect{Group: prod, To: "a", Reason: ReasonFirst, Time: 1000})
	return m
}

func (m *machine) apply(command any) any {
	m.t.Helper()
	entry, err := Encode(command)
	if err != nil {
		m.t.Fatal(err)
	}
	m.index++
	return m.Apply(&raft.Log{Index: m.index, Type: raft.LogCommand, Data: entry})
}

func (m *machine) must(command any) {
	m.t.Helper()
	if r := m.apply(command); r != nil {
		m.t.Fatalf("entry %d: %v", m.index, r)
	}
}

func (m *machine) send(change ...func(*Batch)) Verdict {
	m.t.Helper()
	verdict, ok := m.apply(m.batch(change...)).(Verdict)
	if !ok {
		m.t.Fatalf("entry %d: no verdict", m.index)
	}
	return verdict
}

// batch is one of ten samples of source "a" in epoch 1.
func (m *machine) batch(change ...func(*Batch)) *Batch {
	b := &Batch{
		Group: prod, Source: "a", Epoch: 1, RequestID: m.next(), Part: 1, Parts: 1, Protocol: wire.V1,
		Counts: wire.Counts{Series: 10, Floats: 8, Histograms: 2, MinTime: 900, MaxTime: 1000}, Time: 1000, Body: []byte("0123456789"),
	}
	for _, c := range change {
		c(b)
	}
	return b
}

func (m *machine) group() Group {
	m.t.Helper()
	g, ok := m.Group(prod)
	if !ok {
		m.t.Fatal("no group")
	}
	return g
}

func (m *machine) lts() Destination {
	m.t.Helper()
	d, ok := m.Destination("lts")
	if !ok {
		m.t.Fatal("no destination")
	}
	return d
}

// sink is a raft.SnapshotSink in memory.
type sink struct {
	bytes.Buffer
	closed, cancelled bool
}

func (s *sink) ID() string    { return "memory" }
func (s *sink) Close() error  { s.closed = true; return nil }
func (s *sink) Cancel() error { s.cancelled = true; return nil }

func snapshotBytes(t testing.TB, f *FSM) []byte {
	t.Helper()
	snap, err := f.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Release()
	var s sink
	if err := snap.Persist(&s); err != nil || !s.closed {
		t.Fatalf("persist: %v, closed: %v", err, s.closed)
	}
	return s.Bytes()
}

func restored(t testing.TB, data []byte) *FSM {
	t.Helper()
	f := New(Options{})
	if err := f.Restore(io.NopCloser(bytes.NewReader(data))); err != nil {
		t.Fatal(err)
	}
	return f
}

// audit checks the equations of the books (F2, F3) and the cursors (F4).
func audit(t testing.TB, f *FSM) {
	t.Helper()
	for _, d := range f.Destinations() {
		if !d.Balanced() || d.Redelivered > d.Delivered {
			t.Fatalf("F2: destination's books: %+v", d)
		}
		if q := f.letters.queued(d.Name); !d.Backlog.holds(q) {
			t.Fatalf("F2: backlog %+v, of which %+v is being replayed", d.Backlog, q)
		}
		if d.Cursor > f.Applied() || d.Cursor < d.Registered {
			t.Fatalf("F4: cursor %d of a destination registered at %d, applied %d", d.Cursor, d.Registered, f.Applied())
		}
	}
	for _, g := range f.Groups() {
		if !g.Books.Balanced() || !g.Standby.Balanced() {
			t.Fatalf("F3: group's books: %+v, %+v", g.Books, g.Standby)
		}
		for _, s := range g.Sources {
			if !s.Standby.Balanced() || s.Standby.Kept < 0 || s.Standby.KeptBytes < 0 {
				t.Fatalf("F3: source's books: %+v", s)
			}
		}
	}
}
