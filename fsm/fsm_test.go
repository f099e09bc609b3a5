package fsm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
)

func from(name string) func(*Batch)    { return func(b *Batch) { b.Source = name } }
func epoch(n uint64) func(*Batch)      { return func(b *Batch) { b.Epoch = n } }
func withID(id RequestID) func(*Batch) { return func(b *Batch) { b.RequestID = id } }
func unelected(b *Batch)               { b.Flags = FlagUnelected }
func part(k, n uint32) func(*Batch)    { return func(b *Batch) { b.Part, b.Parts = k, n } }
func at(ms int64) func(*Batch)         { return func(b *Batch) { b.Time = ms } }
func samplesTo(ms int64) func(*Batch)  { return func(b *Batch) { b.Counts.MaxTime = ms } }
func size(n int) func(*Batch)          { return func(b *Batch) { b.Body = make([]byte, n) } }

func TestAdmission(t *testing.T) {
	m := newMachine(t)
	if v := m.send(); v != NoDestination {
		t.Fatalf("without a destination: %d", v)
	}
	if v := m.Admits(prod, "a", 1, RequestID{}); v != NoDestination {
		t.Fatalf("advice without a destination: %d", v)
	}
	m.must(&DestinationOp{Op: OpRegister, Name: "lts"})
	if v := m.send(); v != NotCurrent {
		t.Fatalf("of an unknown group: %d", v)
	}
	m.must(&Elect{Group: prod, To: "a", Reason: ReasonFirst})
	tests := []struct {
		name   string
		change func(*Batch)
		want   Verdict
	}{
		{"current", func(*Batch) {}, Accepted},
		{"standby", from("b"), NotCurrent},
		{"old epoch", epoch(0), NotCurrent},
		{"coming epoch", epoch(2), NotCurrent},
		{"unelected", func(b *Batch) { b.Source, b.Epoch, b.Flags = "host", 0, FlagUnelected }, Accepted},
		{"kept, of the current", func(b *Batch) { b.Flags = FlagKept }, Accepted},
		{"kept, of a standby", func(b *Batch) { b.Flags, b.Source = FlagKept, "b" }, NotCurrent},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := m.batch(test.change)
			if b.Flags&FlagUnelected == 0 {
				if v := m.Admits(b.Group, b.Source, b.Epoch, b.RequestID); v != test.want {
					t.Fatalf("advice %d, want %d", v, test.want)
				}
			}
			if v := m.apply(b); v != test.want {
				t.Fatalf("verdict %d, want %d", v, test.want)
			}
			v, refused := m.Refused(m.index)
			if refused != (test.want != Accepted) || refused && v != test.want {
				t.Fatalf("remembered as refused: %v, %d", refused, v)
			}
			if b.Flags&FlagUnelected != 0 {
				if v := m.AdmitsUnelected(b.RequestID); v != Duplicate {
					t.Fatalf("advice for the second copy: %d", v)
				}
			}
		})
	}
}

func TestDuplicates(t *testing.T) {
	m := ready(t)
	id := m.next()
	steps := []struct {
		name     string
		change   []func(*Batch)
		want     Verdict
		complete bool
	}{
		{"first part", []func(*Batch){part(1, 3)}, Accepted, false},
		{"first part again", []func(*Batch){part(1, 3)}, Duplicate, false},
		{"last part", []func(*Batch){part(3, 3)}, Accepted, false},
		{"of a standby", []func(*Batch){part(2, 3), from("b")}, NotCurrent, false},
		{"middle part", []func(*Batch){part(2, 3)}, Accepted, true},
		{"any part again", []func(*Batch){part(3, 3)}, Duplicate, true},
		{"again, cut otherwise", []func(*Batch){part(70, 70)}, Duplicate, true},
		{"again, no longer current", []func(*Batch){part(1, 3), epoch(9)}, Duplicate, true},
	}
	for _, s := range steps {
		if v := m.send(append(s.change, withID(id))...); v != s.want {
			t.Fatalf("%s: verdict %d, want %d", s.name, v, s.want)
		}
		if v := m.Admits(prod, "a", 1, id); (v == Duplicate) != s.complete {
			t.Fatalf("%s: advice %d", s.name, v)
		}
	}
	b := m.group().Books
	if b.Received != 70 || b.Accepted != 30 || b.Duplicate != 40 {
		t.Fatalf("books: %+v", b)
	}
	if d := m.lts(); d.Accepted != 30 || d.Backlog != (Backlog{3, 30, 30}) {
		t.Fatalf("destination: %+v", d)
	}
	if v := m.send(withID(RequestID{})); v != Accepted {
		t.Fatalf("without an id: %d", v)
	}
	if v := m.send(withID(RequestID{})); v != Accepted {
		t.Fatalf("without an id, again: %d", v)
	}
}

// A request of which only some parts were accepted may come again cut otherwise: then all of it is new.
func TestPartsCutOtherwise(t *testing.T) {
	m := ready(t)
	id := m.next()
	want := func(v Verdict, k, n uint32) {
		t.Helper()
		if got := m.send(withID(id), part(k, n)); got != v {
			t.Fatalf("part %d of %d: %d, want %d", k, n, got, v)
		}
	}
	want(Accepted, 1, 2)
	want(Accepted, 1, 130)
	for k := uint32(2); k <= 130; k++ {
		if m.Admits(prod, "a", 1, id) == Duplicate {
			t.Fatalf("complete after %d of 130 parts", k-1)
		}
		want(Accepted, k, 130)
	}
	want(Duplicate, 2, 2)
	if m.Admits(prod, "a", 1, id) != Duplicate {
		t.Fatal("not complete after all parts")
	}
}

func TestRequestMemoryIsBounded(t *testing.T) {
	m := ready(t)
	first, second := m.next(), m.next()
	m.send(withID(first))
	m.send(withID(second))
	for range RequestsMax - 2 {
		m.send()
	}
	if v := m.send(withID(first)); v != Duplicate {
		t.Fatalf("the oldest of %d is forgotten: %d", RequestsMax, v)
	}
	m.send()
	f := restored(t, snapshotBytes(t, m.FSM))
	if f.StateHash() != m.StateHash() {
		t.Fatal("F1: another state after a restore")
	}
	m.FSM = f // the ring goes on where it was
	if v := m.Admits(prod, "a", 1, first); v != Accepted {
		t.Fatalf("the oldest of %d is remembered: %d", RequestsMax+1, v)
	}
	if v := m.send(withID(second)); v != Duplicate {
		t.Fatalf("the second oldest is forgotten: %d", v)
	}
	m.send()
	if v := m.send(withID(second)); v != Accepted || len(m.requests.slots) != RequestsMax || len(m.requests.byID) != RequestsMax {
		t.Fatalf("verdict %d with %d requests remembered", v, len(m.requests.slots))
	}
}

func TestWatermark(t *testing.T) {
	m := ready(t)
	steps := []struct {
		name   string
		change []func(*Batch)
		want   int64
		newest int64
	}{
		{"first", nil, 1000, 1000},
		{"older", []func(*Batch){samplesTo(900)}, 1000, 1000},
		{"newer", []func(*Batch){samplesTo(1100)}, 1100, 1100},
		{"60 s ahead", []func(*Batch){samplesTo(61_000)}, 61_000, 61_000},
		{"60.001 s ahead", []func(*Batch){samplesTo(61_001)}, 61_000, 61_000},
		{"unelected", []func(*Batch){samplesTo(61_001), at(61_001), unelected}, 61_000, 61_001},
		{"no samples", []func(*Batch){samplesTo(70_000), at(70_000), func(b *Batch) { b.Counts.Floats, b.Counts.Histograms = 0, 0 }}, 61_000, 61_001},
		{"one series far ahead", []func(*Batch){samplesTo(math.MaxInt64), at(61_001), func(b *Batch) { b.Counts.MinTime = 61_500 }}, 61_500, 61_500},
		{"all far ahead", []func(*Batch){samplesTo(math.MaxInt64), at(61_001), func(b *Batch) { b.Counts.MinTime = 200_000 }}, 61_500, 61_500},
	}
	for _, s := range steps {
		if v := m.send(s.change...); v != Accepted {
			t.Fatalf("%s: %d", s.name, v)
		}
		g := m.group()
		if g.Watermark != s.want || g.Sources[0].Newest != s.newest {
			t.Fatalf("%s: watermark %d, newest %d; want %d, %d", s.name, g.Watermark, g.Sources[0].Newest, s.want, s.newest)
		}
	}
}

func TestElect(t *testing.T) {
	m := ready(t)
	refused := func(want error, e Elect) {
		t.Helper()
		e.Group = prod
		before := m.group().Epoch
		if err, _ := m.apply(&e).(error); !errors.Is(err, want) {
			t.Fatalf("%+v: got %v, want %v", e, err, want)
		}
		if m.group().Epoch != before {
			t.Fatalf("%+v moved the epoch", e)
		}
	}
	elect := func(from uint64, to, reason string) {
		t.Helper()
		m.must(&Elect{Group: prod, FromEpoch: from, To: to, Reason: reason, Time: int64(from), Boundary: 7})
	}
	refused(ErrEpoch, Elect{FromEpoch: 0, To: "b", Reason: ReasonFirst})
	refused(ErrEpoch, Elect{FromEpoch: 2, To: "b", Reason: ReasonSilence})
	refused(ErrEpoch, Elect{FromEpoch: 1, To: "a", Reason: ReasonSilence})
	if err, _ := m.apply(&Elect{Group: GroupID{Name: "new"}, FromEpoch: 1, To: "b", Reason: ReasonFirst}).(error); !errors.Is(err, ErrEpoch) {
		t.Fatalf("a new group at epoch 1: %v", err)
	}
	elect(1, "b", ReasonSilence)
	if s, e, ok := m.Current(prod); s != "b" || e != 2 || !ok {
		t.Fatalf("current is %q in epoch %d", s, e)
	}
	m.must(&SourceOp{Op: OpPin, Group: prod, Source: "b"})
	refused(ErrOverruled, Elect{FromEpoch: 2, To: "a", Reason: ReasonSilence})
	refused(ErrOverruled, Elect{FromEpoch: 2, To: "a", Reason: ReasonPromote})
	m.must(&SourceOp{Op: OpPin, Group: prod, Source: "a"})
	elect(2, "a", ReasonPin)
	m.must(&SourceOp{Op: OpUnpin, Group: prod})
	m.must(&SourceOp{Op: OpUnpin, Group: prod})

	// A promotion survives changes that crossed it, and ends when silence or another wish takes the turn away.
	m.must(&SourceOp{Op: OpPromote, Group: prod, Source: "a"})
	refused(ErrOverruled, Elect{FromEpoch: 3, To: "b", Reason: ReasonWeight})
	refused(ErrOverruled, Elect{FromEpoch: 3, To: "b", Reason: ReasonLag})
	m.must(&SourceOp{Op: OpPromote, Group: prod, Source: "b"})
	elect(3, "c", ReasonWeight)
	if p := m.group().Promoted; p != "b" {
		t.Fatalf("a weight that crossed a promotion ended it: %q", p)
	}
	elect(4, "b", ReasonPromote)
	if p := m.group().Promoted; p != "b" {
		t.Fatalf("promoted %q", p)
	}
	elect(5, "a", ReasonSilence)
	if p := m.group().Promoted; p != "" {
		t.Fatalf("still promoted %q", p)
	}

	history := m.group().History
	var turns []string
	for i, c := range history {
		turns = append(turns, c.From+">"+c.To+" "+c.Reason)
		if c.Epoch != uint64(i+1) {
			t.Fatalf("change %d has epoch %d", i, c.Epoch)
		}
	}
	want := []string{">a first", "a>b silence", "b>a pin", "a>c weight", "c>b promote", "b>a silence"}
	if !slices.Equal(turns, want) || history[5].Boundary != 7 || history[5].At != 5 {
		t.Fatalf("history %q, last %+v", turns, history[5])
	}
}

func TestHistoryIsBounded(t *testing.T) {
	m := ready(t)
	for i := uint64(1); i <= HistoryMax+5; i++ {
		m.must(&Elect{Group: prod, FromEpoch: i, To: string(rune('a' + i%2)), Reason: ReasonSilence})
	}
	h := m.group().History
	if len(h) != HistoryMax || h[0].Epoch != 7 || h[HistoryMax-1].Epoch != HistoryMax+6 {
		t.Fatalf("%d changes from epoch %d to %d", len(h), h[0].Epoch, h[len(h)-1].Epoch)
	}
}

func TestSourceOps(t *testing.T) {
	m := ready(t)
	m.must(&Elect{Group: prod, FromEpoch: 1, To: "b", Reason: ReasonSilence})
	refused := func(want error, words string, o SourceOp) {
		t.Helper()
		err, _ := m.apply(&o).(error)
		if !errors.Is(err, want) || !strings.Contains(err.Error(), words) {
			t.Fatalf("%+v: got %v, want %v with %q", o, err, want, words)
		}
	}
	refused(ErrUnknown, "want one of: prod", SourceOp{Op: OpPin, Group: GroupID{Name: "prd"}, Source: "a"})
	refused(ErrUnknown, "want one of: prod", SourceOp{Op: OpUnpin, Group: GroupID{Name: "prd"}})
	refused(ErrUnknown, `tenant "t": there are none yet`, SourceOp{Op: OpPin, Group: GroupID{Tenant: "t", Name: "prod"}, Source: "a"})
	for i := range 25 {
		m.send(unelected, func(b *Batch) { b.Group = GroupID{Tenant: "big", Name: fmt.Sprintf("g%02d", i)} })
	}
	refused(ErrUnknown, "g18, g19 and 5 more", SourceOp{Op: OpUnpin, Group: GroupID{Tenant: "big", Name: "x"}})
	for _, op := range []string{OpPin, OpPromote, OpWeight, OpForget} {
		refused(ErrUnknown, "want one of: a, b", SourceOp{Op: op, Group: prod, Source: "x"})
	}
	refused(ErrInUse, "current", SourceOp{Op: OpForget, Group: prod, Source: "b"})
	m.must(&SourceOp{Op: OpPin, Group: prod, Source: "a"})
	refused(ErrInUse, "unpin", SourceOp{Op: OpForget, Group: prod, Source: "a"})
	refused(ErrOverruled, "unpin", SourceOp{Op: OpPromote, Group: prod, Source: "b"})
	m.must(&SourceOp{Op: OpPromote, Group: prod, Source: "a"})
	m.must(&SourceOp{Op: OpUnpin, Group: prod})
	m.must(&SourceOp{Op: OpWeight, Group: prod, Source: "a", Weight: 9})
	if s := m.group().Sources[0]; s.Weight != 9 || *s.AdminWeight != 9 {
		t.Fatalf("source %+v", s)
	}
	m.must(&SourceOp{Op: OpForget, Group: prod, Source: "a"})
	if g := m.group(); len(g.Sources) != 1 || g.Promoted != "" {
		t.Fatalf("group %+v", g)
	}
	m.must(&SourceOp{Op: OpPin, Group: prod, Source: "b"})
	m.must(&SourceOp{Op: OpUnpin, Group: prod})
}

// Names that come and go make room for each other; what is current or wished for stays.
func TestSourcesAreBounded(t *testing.T) {
	m := ready(t)
	m.must(&Books{Origin: "x", Seq: 1, Groups: []GroupBooks{{Group: prod, Standby: map[string]StandbyBooks{"keeper": {Requests: 1, Kept: 1}}}}})
	for i := range 2 * SourcesMax {
		name := fmt.Sprintf("pod-%03d", i)
		if v := m.send(from(name), unelected, samplesTo(int64(i))); v != Accepted {
			t.Fatalf("%s: %d", name, v)
		}
		if i == 0 {
			m.must(&SourceOp{Op: OpWeight, Group: prod, Source: name, Weight: 1})
		}
	}
	names := map[string]bool{}
	for _, s := range m.group().Sources {
		names[s.Name] = true
	}
	for _, name := range []string{"a", "keeper", "pod-000", "pod-511"} {
		if !names[name] {
			t.Fatalf("%s is gone", name)
		}
	}
	if len(names) != SourcesMax || names["pod-001"] {
		t.Fatalf("%d sources, oldest there: %v", len(names), names["pod-001"])
	}
	audit(t, m.FSM)
}

func TestBooks(t *testing.T) {
	m := ready(t)
	delta := func(origin string, seq uint64, g ...GroupBooks) error {
		for i := range g {
			g[i].Group = orProd(g[i].Group)
		}
		err, _ := m.apply(&Books{Origin: origin, Seq: seq, Groups: g, Time: 5}).(error)
		return err
	}
	whole := GroupBooks{
		Received: map[string]uint64{"a": 5, "b": 1}, Covered: 1, Duplicate: 2, Rejected: map[string]uint64{"empty_name": 2, "bad_histogram": 1},
		Standby: map[string]StandbyBooks{"b": {Requests: 3, Bytes: 30, Kept: 2, KeptBytes: 20, Discarded: 1, DiscardedBytes: 10}},
		Changes: []ChangeBooks{{Epoch: 1, KeptUsed: 2, Fenced: 3, LargestGap: 4}, {Epoch: 9, Fenced: 1}},
	}
	for _, seq := range []uint64{1, 1} { // the second is a repetition
		if err := delta("n1/1", seq, whole); err != nil {
			t.Fatal(err)
		}
	}
	refused := []GroupBooks{
		{Received: map[string]uint64{"a": 1}},
		{Covered: 1},
		{Received: map[string]uint64{"a": 1<<64 - 1, "b": 1}},
		{Standby: map[string]StandbyBooks{"b": {Requests: 1}}},
		{Standby: map[string]StandbyBooks{"b": {Requests: 1, Discarded: 1, Bytes: 1}}},
		{Standby: map[string]StandbyBooks{"b": {Kept: -3, Discarded: 3}}},
		{Standby: map[string]StandbyBooks{"b": {KeptBytes: -21, UsedBytes: 21}}},
		{Standby: map[string]StandbyBooks{"a": {Kept: -1, Used: 1}}},
	}
	for i, g := range refused {
		if err := delta("n1/1", uint64(2+i), GroupBooks{Received: map[string]uint64{"a": 1}, Duplicate: 1, Group: GroupID{Name: "fine"}}, g); !errors.Is(err, ErrBooks) {
			t.Fatalf("%+v: %v", g, err)
		}
	}
	if err := delta("n1/1", 20, GroupBooks{}, GroupBooks{}); !errors.Is(err, ErrBooks) {
		t.Fatalf("a group twice: %v", err)
	}
	if _, ok := m.Group(GroupID{Name: "fine"}); ok {
		t.Fatal("half of a refused delta was counted")
	}
	// A new leader moves what its predecessor kept, and numbers its deltas anew.
	if err := delta("n2/2", 1, GroupBooks{Standby: map[string]StandbyBooks{"b": {Kept: -2, KeptBytes: -20, Used: 2, UsedBytes: 20}}}); err != nil {
		t.Fatal(err)
	}
	g := m.group()
	if g.Books.Received != 6 || g.Books.Covered != 1 || g.Books.Duplicate != 2 || g.Books.Rejected["empty_name"] != 2 || g.Sources[1].Received != 1 {
		t.Fatalf("books %+v", g.Books)
	}
	if want := (StandbyBooks{Requests: 3, Bytes: 30, Discarded: 1, DiscardedBytes: 10, Used: 2, UsedBytes: 20}); g.Standby != want || g.Sources[1].Standby != want {
		t.Fatalf("standby %+v, of the source %+v", g.Standby, g.Sources[1].Standby)
	}
	if h := g.History[0]; h.KeptUsed != 2 || h.Fenced != 3 || h.LargestGap != 4 {
		t.Fatalf("history %+v", h)
	}
	for i := range OriginsMax + 1 {
		if err := delta(fmt.Sprintf("n%d", i), 1); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(m.ledger.origins); n != OriginsMax {
		t.Fatalf("%d leaderships remembered", n)
	}
	audit(t, m.FSM)
}

func orProd(id GroupID) GroupID {
	if id == (GroupID{}) {
		return prod
	}
	return id
}

func TestForgetRefusesKept(t *testing.T) {
	m := ready(t)
	m.must(&Books{Origin: "x", Seq: 1, Groups: []GroupBooks{{Group: prod, Standby: map[string]StandbyBooks{"b": {Requests: 1, Kept: 1}}}}})
	if err, _ := m.apply(&SourceOp{Op: OpForget, Group: prod, Source: "b"}).(error); !errors.Is(err, ErrInUse) {
		t.Fatalf("got %v", err)
	}
}

func TestCluster(t *testing.T) {
	m := newMachine(t)
	m.must(&ClusterOp{UUID: "one", FeatureLevel: 1})
	m.must(&ClusterOp{UUID: "one"})
	if err, _ := m.apply(&ClusterOp{UUID: "two"}).(error); !errors.Is(err, ErrUUID) {
		t.Fatalf("got %v", err)
	}
	m.must(&ClusterOp{UUID: "two", FromUUID: "one"})
	if m.ClusterUUID() != "two" || m.FeatureLevel() != 1 {
		t.Fatalf("cluster %s, level %d", m.ClusterUUID(), m.FeatureLevel())
	}
}

// F9: what cannot be understood changes nothing, is told once, and nothing is applied after it.
func TestFatal(t *testing.T) {
	level, _ := Encode(&ClusterOp{FeatureLevel: FeatureLevel + 1})
	tests := map[string][]byte{
		"version":       {Version + 1, byte(KindBatch)},
		"kind":          {Version, 200},
		"batch":         {Version, byte(KindBatch), 1},
		"command":       {Version, byte(KindElect), '{'},
		"feature level": level,
	}
	for name, entry := range tests {
		t.Run(name, func(t *testing.T) {
			var told []error
			m := ready(t)
			m.fatal = func(err error) { told = append(told, err); m.Applied() }
			hash := m.StateHash()
			log := func(index uint64, data []byte) *raft.Log {
				return &raft.Log{Index: index, Type: raft.LogCommand, Data: data}
			}
			good := m.batch().Append(nil)
			responses := m.ApplyBatch([]*raft.Log{log(3, entry), log(4, good)})
			for _, r := range append(responses, m.Apply(log(5, good))) {
				if _, failed := r.(error); !failed {
					t.Fatalf("response %v", r)
				}
			}
			m.StoreConfiguration(6, raft.Configuration{})
			if len(told) != 1 || !strings.Contains(told[0].Error(), "entry 3") || m.StateHash() != hash {
				t.Fatalf("told %v", told)
			}
			if _, err := m.Snapshot(); err == nil {
				t.Fatal("a broken state gave a snapshot")
			}
			if err := m.Restore(io.NopCloser(bytes.NewReader(snapshotBytes(t, New(Options{}))))); err == nil || m.StateHash() != hash {
				t.Fatalf("a broken state was replaced: %v", err)
			}
		})
	}
	t.Run("panics by default", func(t *testing.T) {
		defer func() {
			if recover() == nil {
				t.Fatal("no panic")
			}
		}()
		newMachine(t).Apply(&raft.Log{Index: 1, Data: []byte{9, 9}})
	})
	t.Run("an entry twice", func(t *testing.T) {
		m := ready(t)
		var told error
		m.fatal = func(err error) { told = err }
		m.Apply(&raft.Log{Index: 2, Data: m.batch().Append(nil)})
		if told == nil {
			t.Fatal("nobody was told")
		}
	})
}

// Raft owns the entries: nothing of them may be kept.
func TestApplyKeepsNothing(t *testing.T) {
	m := newMachine(t)
	var entries [][]byte
	for _, c := range []any{
		&DestinationOp{Op: OpRegister, Name: "lts", URL: "http://lts"},
		&Elect{Group: prod, To: "a", Reason: ReasonFirst},
		m.batch(), m.batch(from("pod"), unelected, func(b *Batch) { b.Group.Name = "new" }),
		&DeadLetter{ID: "x", Destination: "lts", Group: prod, Source: "a", Index: 3, Protocol: 1, Samples: 1, Answer: "no", Body: []byte("body")},
	} {
		entry, err := Encode(c)
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, entry)
	}
	logs := make([]*raft.Log, len(entries))
	for i, entry := range entries {
		logs[i] = &raft.Log{Index: uint64(i + 1), Type: raft.LogCommand, Data: entry}
	}
	for i, r := range m.ApplyBatch(logs) {
		if err, failed := r.(error); failed {
			t.Fatalf("entry %d: %v", i+1, err)
		}
	}
	hash := m.StateHash()
	for _, entry := range entries {
		clear(entry)
	}
	if m.StateHash() != hash {
		t.Fatal("the state changed with the entries")
	}
}

func TestChanged(t *testing.T) {
	m := ready(t)
	changed := m.Changed()
	select {
	case <-changed:
		t.Fatal("closed before a change")
	default:
	}
	m.StoreConfiguration(m.index+1, raft.Configuration{})
	<-changed
	if m.Applied() != m.index+1 {
		t.Fatalf("applied %d", m.Applied())
	}
	m.index++
	changed = m.Changed()
	m.ApplyBatch([]*raft.Log{{Index: m.index + 1, Type: raft.LogConfiguration}})
	<-changed
	m.index++
	changed = m.Changed()
	m.send()
	<-changed
}

func TestGroupsAreBounded(t *testing.T) {
	m := ready(t)
	now := int64(1000)
	elect := func(i int) error {
		err, _ := m.apply(&Elect{Group: GroupID{Name: fmt.Sprint("g", i)}, To: "a", Reason: ReasonFirst, Time: now}).(error)
		return err
	}
	for i := 1; i < GroupsMax-1; i++ { // as elect would, but for the codec
		m.makeGroup(GroupID{Name: fmt.Sprint("g", i)}).touch(now)
	}
	if err := elect(0); err != nil {
		t.Fatalf("the last group that fits: %v", err)
	}
	m.must(&SourceOp{Op: OpPin, Group: GroupID{Name: "g0"}, Source: "a"})
	if err := elect(GroupsMax); !errors.Is(err, ErrLimit) {
		t.Fatalf("one group too many: %v", err)
	}
	if v := m.send(unelected, func(b *Batch) { b.Group.Name = "more" }); v != Accepted {
		t.Fatalf("verdict %d", v)
	}
	if g, ok := m.Group(GroupID{}); !ok || g.Books.Accepted != 10 {
		t.Fatalf("no room and not counted: %+v", g)
	}
	now += groupIdleMin.Milliseconds()
	m.send(at(now))
	if err := elect(GroupsMax); err != nil {
		t.Fatalf("after a day: %v", err)
	}
	if _, ok := m.Group(GroupID{Name: "g0"}); !ok {
		t.Fatal("a pinned group made room")
	}
	if _, ok := m.Group(prod); !ok {
		t.Fatal("a busy group made room")
	}
	audit(t, m.FSM)
}

// Where nobody may make room, the source without a name stands for the others, and nobody unknown is elected.
func TestSourcesThatStay(t *testing.T) {
	m := ready(t)
	m.must(&Elect{Group: prod, FromEpoch: 1, To: "b", Reason: ReasonSilence})
	g := m.groups[prod]
	for i := range SourcesMax - 2 {
		s := g.source(fmt.Sprint(i))
		s.adminWeight = new(uint64)
	}
	g.sources["a"].adminWeight = new(uint64)
	for range 2 {
		if v := m.send(from("more"), unelected); v != Accepted {
			t.Fatalf("verdict %d", v)
		}
	}
	if s := m.group().Sources[0]; s.Name != "" || s.Received != 20 {
		t.Fatalf("source %+v", s)
	}
	if err, _ := m.apply(&Elect{Group: prod, FromEpoch: 2, To: "more", Reason: ReasonSilence}).(error); !errors.Is(err, ErrLimit) {
		t.Fatalf("got %v", err)
	}
	if _, epoch, _ := m.Current(prod); epoch != 2 {
		t.Fatalf("epoch %d after a refused election", epoch)
	}
	audit(t, m.FSM)
}
