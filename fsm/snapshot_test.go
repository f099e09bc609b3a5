package fsm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"hash/crc32"
	"io"
	"os"
	"testing"
)

var writeGolden = flag.Bool("golden", false, "write the golden snapshot of the current version")

// goldenState has something in every section.
func goldenState(t testing.TB) *machine {
	m := lettered(t)
	m.must(&ClusterOp{UUID: "cluster", FeatureLevel: 1})
	m.must(&Elect{Group: prod, FromEpoch: 1, To: "b", Reason: ReasonSilence, Time: 2000, Boundary: 1000, FenceFrom: 2})
	m.must(&SourceOp{Op: OpWeight, Group: prod, Source: "a", Weight: 300})
	m.must(&SourceOp{Op: OpPin, Group: prod, Source: "a"})
	m.must(&Books{Origin: "n1/1", Seq: 3, Groups: []GroupBooks{{
		Group: prod, Received: map[string]uint64{"a": 3}, Covered: 1, Rejected: map[string]uint64{"empty_name": 2},
		Standby: map[string]StandbyBooks{"b": {Requests: 3, Bytes: 30, Kept: 1, KeptBytes: 10, Discarded: 1, DiscardedBytes: 10, Used: 1, UsedBytes: 10}},
		Changes: []ChangeBooks{{Epoch: 2, KeptUsed: 1, Fenced: 2, LargestGap: 3}}}}})
	m.must(&LetterOp{Op: OpReplay, ID: "x"})
	m.must(&DestinationOp{Op: OpRegister, Name: "two", URL: "http://two"})
	m.must(&DestinationOp{Op: OpPause, Name: "two"})
	m.must(&Cursor{Destination: "lts", From: 3, To: 4, Entries: 1, Samples: 10, Bytes: 10, Delivered: 4, Redelivered: 2, RelabelDropped: 3, Dropped: map[string]uint64{"full": 3}})
	m.send(at(3000), epoch(2), from("b"), part(70, 130))
	m.send(at(3000))
	m.send(at(4000), unelected, func(b *Batch) { b.Group = GroupID{Tenant: "t", Name: "other"} })
	return m
}

// The bytes of a version never change: nodes of one cluster compare them, and old snapshots must stay readable.
func TestGoldenSnapshot(t *testing.T) {
	const file = "testdata/v1.snapshot"
	got := snapshotBytes(t, goldenState(t).FSM)
	if *writeGolden {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("got\n%q\nwant\n%q", got, want)
	}
	f := restored(t, want)
	if again := snapshotBytes(t, f); !bytes.Equal(again, want) {
		t.Fatalf("restored, then\n%q\nwant\n%q", again, want)
	}
	audit(t, f)
}

func TestRestoreRefuses(t *testing.T) {
	good := snapshotBytes(t, goldenState(t).FSM)
	refuse := func(name string, data []byte, want error) {
		t.Helper()
		m := ready(t)
		hash := m.StateHash()
		err := m.Restore(io.NopCloser(bytes.NewReader(data)))
		if !errors.Is(err, want) {
			t.Fatalf("%s: got %v, want %v", name, err, want)
		}
		if m.StateHash() != hash {
			t.Fatalf("%s: the state changed", name)
		}
	}
	for n := range good {
		refuse("truncated", good[:n], ErrSnapshot)
		flipped := bytes.Clone(good)
		flipped[n] ^= 0x10
		want := ErrSnapshot
		if n == len(snapshotMagic) {
			want = ErrVersion
		}
		refuse("one bit", flipped, want)
	}
	refuse("more", append(bytes.Clone(good), 0), ErrSnapshot)
	refuse("more, with a sum", sealed(append(bytes.Clone(good[:len(good)-4]), 0)), ErrSnapshot)
	future := New(Options{})
	future.featureLevel = FeatureLevel + 1
	refuse("feature level", snapshotBytes(t, future), ErrVersion)
	broken := errors.New("broken pipe")
	if err := New(Options{}).Restore(failing{broken}); !errors.Is(err, broken) {
		t.Fatalf("got %v", err)
	}
}

type failing struct{ error }

func (f failing) Read([]byte) (int, error)  { return 0, f.error }
func (f failing) Write([]byte) (int, error) { return 0, f.error }
func (failing) Close() error                { return nil }
func (failing) ID() string                  { return "" }
func (failing) Cancel() error               { return nil }
func sealed(data []byte) []byte {
	return binary.LittleEndian.AppendUint32(data, crc32.Checksum(data, castagnoli))
}

func TestPersistReportsFailure(t *testing.T) {
	snap, err := ready(t).Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("disk full")
	if err := snap.Persist(failing{broken}); !errors.Is(err, broken) {
		t.Fatalf("got %v", err)
	}
}

// A snapshot is of its moment, whatever is applied while it is written.
func TestSnapshotDoesNotMove(t *testing.T) {
	m := goldenState(t)
	want := snapshotBytes(t, m.FSM)
	snap, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	m.must(&LetterOp{Op: OpPurge})
	m.send()
	var s sink
	if err := snap.Persist(&s); err != nil || !bytes.Equal(s.Bytes(), want) {
		t.Fatalf("the snapshot moved on: %v", err)
	}
}

// An empty state is what a node goes back to when it joins another cluster.
func TestRestoreEmpty(t *testing.T) {
	m := goldenState(t)
	empty := snapshotBytes(t, New(Options{}))
	if err := m.Restore(io.NopCloser(bytes.NewReader(empty))); err != nil {
		t.Fatal(err)
	}
	if m.StateHash() != New(Options{}).StateHash() || m.Applied() != 0 || m.HoldsBatches() {
		t.Fatal("something is left")
	}
	m.index = 0
	m.must(&DestinationOp{Op: OpRegister, Name: "lts"})
}

// FuzzRestore repairs the sum, so that the sections are reached. What is taken keeps the books, gives itself again, and a
// node can go on with it.
func FuzzRestore(f *testing.F) {
	f.Add(snapshotBytes(f, New(Options{})))
	f.Add(snapshotBytes(f, goldenState(f).FSM))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 4 {
			data = sealed(bytes.Clone(data[:len(data)-4]))
		}
		m := New(Options{})
		if err := m.Restore(io.NopCloser(bytes.NewReader(data))); err != nil {
			return
		}
		audit(t, m)
		again := snapshotBytes(t, m)
		if third := snapshotBytes(t, restored(t, again)); !bytes.Equal(again, third) {
			t.Fatalf("F1:\n%q\n%q", again, third)
		}
		m.Floor()
		m.DeadLetters()
		goOn(t, m)
	})
}

// goOn moves everything that a restored state holds: what it says of its parts must be true of them.
func goOn(t *testing.T, f *FSM) {
	if f.Applied() > 1<<63 {
		return // no log gets there
	}
	m := &machine{FSM: f, t: t, index: f.Applied()}
	next := func(command any) {
		m.apply(command)
		audit(t, f)
	}
	for _, g := range f.Groups() {
		for _, s := range g.Sources {
			leave := StandbyBooks{Kept: -s.Standby.Kept, KeptBytes: -s.Standby.KeptBytes, Discarded: uint64(s.Standby.Kept), DiscardedBytes: uint64(s.Standby.KeptBytes)}
			next(&Books{Origin: "n", Seq: m.index, Groups: []GroupBooks{{Group: g.ID, Standby: map[string]StandbyBooks{s.Name: leave}}}})
		}
		next(&Elect{Group: g.ID, FromEpoch: g.Epoch, To: "new", Reason: ReasonFirst, Time: 1})
		m.send(func(b *Batch) { b.Group, b.Source, b.Epoch = g.ID, "new", g.Epoch+1 })
		audit(t, f)
	}
	for _, l := range f.DeadLetters() {
		next(&LetterOp{Op: OpReplay, ID: l.ID})
		next(&LetterOp{Op: OpDelivered, ID: l.ID})
	}
	for _, d := range f.Destinations() {
		next(&Cursor{Destination: d.Name, From: d.Cursor, To: m.index, Entries: d.Backlog.Entries, Samples: d.Backlog.Samples, Bytes: d.Backlog.Bytes, Delivered: d.Backlog.Samples})
		if d.Name != "" {
			next(&DestinationOp{Op: OpForget, Name: d.Name})
		}
	}
}

// A snapshot whose sum was made over damage: it is refused, or it is a state that keeps the books.
func TestRestoreSealedDamage(t *testing.T) {
	good := snapshotBytes(t, goldenState(t).FSM)
	body := good[:len(good)-4]
	refused := 0
	try := func(data []byte) {
		f := New(Options{})
		if err := f.Restore(io.NopCloser(bytes.NewReader(sealed(data)))); err != nil {
			refused++
			return
		}
		for _, d := range f.Destinations() {
			if !d.Balanced() {
				t.Fatalf("F2: %+v of %q", d, data)
			}
		}
		for _, g := range f.Groups() {
			if !g.Books.Balanced() || !g.Standby.Balanced() {
				t.Fatalf("F3: %+v of %q", g, data)
			}
		}
		snapshotBytes(t, f)
	}
	for n := range body {
		try(bytes.Clone(body[:n]))
		for _, change := range []byte{0x01, 0x7f, 0x80, 0xff} {
			damaged := bytes.Clone(body)
			damaged[n] ^= change
			try(damaged)
		}
	}
	if refused < len(body) { // at least the truncated ones
		t.Fatalf("%d of %d were refused", refused, 5*len(body))
	}
}
