package fsm

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/highlander-io/highlander/fsm/wire"
)

// walker makes random commands, about half of which fit the state.
type walker struct {
	*rand.Rand
	f     *FSM
	index uint64
	clock int64
	seq   uint64
}

func newWalker(seed uint64, f *FSM) *walker {
	return &walker{Rand: rand.New(rand.NewPCG(seed, 1)), f: f, clock: 1_700_000_000_000}
}

func pick[T any](w *walker, list ...T) T { return list[w.IntN(len(list))] }

func (w *walker) maybe(percent int) bool { return w.IntN(100) < percent }

func (w *walker) group() GroupID {
	return GroupID{Tenant: pick(w, "", "t"), Name: pick(w, "g1", "g2")}
}

func (w *walker) source() string { return pick(w, "a", "b", "c", "") }

func (w *walker) count(n uint64) uint64 { return w.Uint64N(n + 1) }

func (w *walker) command() any {
	w.index++
	w.clock += int64(w.IntN(3000)) - 200
	switch n := w.IntN(100); {
	case n < 45:
		return w.batch()
	case n < 60:
		return w.cursor()
	case n < 66:
		return w.elect()
	case n < 68:
		return w.fenceEnd()
	case n < 75:
		return &SourceOp{Op: pick(w, OpPin, OpUnpin, OpPromote, OpWeight, OpForget), Group: w.group(), Source: pick(w, "a", "b", "c"), Weight: w.count(9), Time: w.clock}
	case n < 80:
		return &DestinationOp{Op: pick(w, OpRegister, OpRegister, OpPause, OpResume, OpForget), Name: pick(w, "lts", "two"), URL: pick(w, "u", "v"), Time: w.clock}
	case n < 86:
		return w.letter()
	case n < 92:
		return w.letterOp()
	case n < 99:
		return w.books()
	}
	return &ClusterOp{UUID: pick(w, "u", "v"), FromUUID: pick(w, "", "u", "v"), FeatureLevel: w.count(1), Time: w.clock}
}

func (w *walker) batch() *Batch {
	b := &Batch{
		Group: w.group(), Source: w.source(), RequestID: RequestID{1: byte(w.IntN(60))}, Part: 1, Parts: 1, Protocol: wire.V1,
		Counts: wire.Counts{Floats: uint32(w.IntN(20)), MaxTime: w.clock + int64(w.IntN(200_000)) - 100_000}, Time: w.clock,
		Body: make([]byte, w.IntN(50)),
	}
	if w.maybe(30) {
		b.Parts = uint32(pick(w, 2, 3, 70))
		b.Part = 1 + uint32(w.IntN(int(b.Parts)))
	}
	if w.maybe(10) {
		b.RequestID = RequestID{}
	}
	if w.maybe(20) {
		b.Flags = FlagUnelected
	} else if source, epoch, ok := w.f.Current(b.Group); ok && w.maybe(80) {
		b.Source, b.Epoch = source, epoch
	}
	return b
}

func (w *walker) elect() *Elect {
	e := &Elect{Group: w.group(), To: pick(w, "a", "b", "c"), Reason: pick(w, ReasonFirst, ReasonPin, ReasonPromote, ReasonWeight, ReasonSilence, ReasonLag), Time: w.clock, Boundary: w.clock}
	if g, ok := w.f.Group(e.Group); ok && w.maybe(90) {
		e.FromEpoch = g.Epoch
	}
	if w.maybe(70) {
		e.FenceFrom = w.f.Floor() + w.count(5) // a leader names nothing below it
	}
	return e
}

func (w *walker) fenceEnd() *FenceEnd {
	e := &FenceEnd{Group: w.group(), Epoch: w.count(5), Time: w.clock}
	if g, ok := w.f.Group(e.Group); ok && g.Fence != nil && w.maybe(90) {
		e.Epoch = g.Fence.Epoch
	}
	return e
}

// cursor takes a random share of the backlog, which need not be what lies in between: the FSM cannot tell.
func (w *walker) cursor() *Cursor {
	c := &Cursor{Destination: pick(w, "lts", "two"), Time: w.clock}
	d, ok := w.f.Destination(c.Destination)
	if !ok {
		return c
	}
	c.From, c.To = d.Cursor, d.Cursor+1+w.count(w.index-min(w.index, d.Cursor+1))
	c.Entries, c.Samples, c.Bytes = w.count(d.Backlog.Entries), w.count(d.Backlog.Samples), w.count(d.Backlog.Bytes)
	left := c.Samples
	take := func() uint64 {
		n := w.count(left)
		left -= n
		return n
	}
	c.DeadLetter, c.RelabelDropped = take(), take()
	c.Dropped = map[string]uint64{"too_old": take(), "full": take()}
	c.Delivered = left
	c.Redelivered = w.count(c.Delivered)
	if w.maybe(10) {
		c.Samples++
	}
	return c
}

func (w *walker) letterOp() *LetterOp {
	if w.maybe(5) {
		return &LetterOp{Op: OpPurge, Time: w.clock}
	}
	return &LetterOp{
		Op: pick(w, OpReplay, OpReplay, OpDelivered, OpRefused, OpPurge), ID: w.letterID(), Status: 400, Answer: "no", Time: w.clock,
	}
}

func (w *walker) letterID() string { return "l" + string(rune('0'+w.IntN(5))) }

func (w *walker) letter() *DeadLetter {
	return &DeadLetter{
		ID: w.letterID(), Destination: pick(w, "lts", "two"), Group: w.group(), Source: w.source(),
		Index: w.index - min(w.index, w.count(10)), Protocol: wire.V2, Samples: w.count(20), Status: 400, Answer: "no", Time: w.clock,
		Body: make([]byte, w.IntN(50)),
	}
}

func (w *walker) books() *Books {
	w.seq += uint64(w.IntN(2))
	b := &Books{Origin: pick(w, "n1", "n2"), Seq: w.seq, Time: w.clock}
	for _, id := range []GroupID{{Name: "g1"}, {Tenant: "t", Name: "g2"}} {
		g := GroupBooks{Group: id, Covered: w.count(3), Duplicate: w.count(3), Rejected: map[string]uint64{"x": w.count(3)}}
		g.Received = map[string]uint64{w.source(): g.Covered + g.Duplicate + g.Rejected["x"]}
		s := StandbyBooks{Kept: int64(w.count(6)) - 3, Discarded: 3 + w.count(3), Used: w.count(3), KeptBytes: int64(w.count(60)) - 30, DiscardedBytes: 30}
		s.Requests, s.Bytes = uint64(s.Kept+int64(s.Discarded+s.Used)), uint64(s.KeptBytes+30)
		g.Standby = map[string]StandbyBooks{w.source(): s}
		g.Changes = []ChangeBooks{{Epoch: w.count(5), Fenced: 1, LargestGap: int64(w.count(9))}}
		if w.maybe(5) {
			g.Covered++
		}
		b.Groups = append(b.Groups, g)
	}
	return b
}

// witness remembers what F5 and F6 are about.
type witness struct {
	floor   uint64
	refused map[uint64]Verdict
}

func (x *witness) check(t *testing.T, f *FSM, index uint64, response any) {
	t.Helper()
	if v, ok := response.(Verdict); ok && v != Accepted {
		x.refused[index] = v
	}
	if floor := f.Floor(); floor >= x.floor {
		x.floor = floor
	} else {
		t.Fatalf("F6: floor went from %d to %d", x.floor, floor)
	}
	if len(f.Destinations()) == 0 {
		return
	}
	for i := x.floor; i <= index; i++ {
		want, refused := x.refused[i]
		if got, ok := f.Refused(i); ok != refused || got != want {
			t.Fatalf("F5: entry %d was refused: %v (%d), remembered: %v (%d)", i, refused, want, ok, got)
		}
	}
}

// F1 to F6: the books balance after every command, and a state that goes through a snapshot after every one of them is the
// same as one that never does, answers included.
func TestRandomCommands(t *testing.T) {
	walks, steps := 24, 400
	if testing.Short() {
		walks = 8
	}
	accepted, applied := 0, 0
	for seed := range walks {
		straight, reborn := New(Options{}), New(Options{})
		w := newWalker(uint64(seed), straight)
		seen := witness{refused: map[uint64]Verdict{}}
		for range steps {
			command := w.command()
			entry, err := Encode(command)
			if err != nil {
				t.Fatalf("seed %d, entry %d: %v", seed, w.index, err)
			}
			log := &raft.Log{Index: w.index, Type: raft.LogCommand, Data: entry}
			got, want := reborn.Apply(log), straight.Apply(log)
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("F1: seed %d, entry %d %+v: %v, and after snapshots %v", seed, w.index, command, want, got)
			}
			switch {
			case want == Accepted:
				accepted++
			case want == nil:
				applied++
			}
			audit(t, straight)
			seen.check(t, straight, w.index, want)
			before := snapshotBytes(t, straight)
			reborn = restored(t, snapshotBytes(t, reborn))
			if string(snapshotBytes(t, reborn)) != string(before) || reborn.StateHash() != straight.StateHash() {
				t.Fatalf("F1: seed %d, entry %d %+v: another state after snapshots", seed, w.index, command)
			}
			if reborn.Floor() != straight.Floor() {
				t.Fatalf("F1: seed %d, entry %d: floor %d, after snapshots %d", seed, w.index, straight.Floor(), reborn.Floor())
			}
		}
	}
	if all := walks * steps; accepted < all/10 || applied < all/10 {
		t.Fatalf("of %d commands %d batches were accepted and %d others applied: the walk is too wild", all, accepted, applied)
	}
}

// Applying entries one by one or in batches of any size is the same.
func TestApplyBatchIsApply(t *testing.T) {
	one, many := New(Options{}), New(Options{})
	w := newWalker(7, one)
	var pending []*raft.Log
	var want []any
	for range 1000 {
		entry, err := Encode(w.command())
		if err != nil {
			t.Fatal(err)
		}
		log := &raft.Log{Index: w.index, Type: raft.LogCommand, Data: entry}
		pending, want = append(pending, log), append(want, one.Apply(log))
		if !w.maybe(10) {
			continue
		}
		if got := many.ApplyBatch(pending); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("entry %d: %v, want %v", w.index, got, want)
		}
		if one.StateHash() != many.StateHash() {
			t.Fatalf("entry %d: another state", w.index)
		}
		pending, want = nil, nil
	}
}
