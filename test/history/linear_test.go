package history

import (
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

const ms = time.Millisecond

// script makes a record of calls that follow each other, 10 ms each with 10 ms between them, on three nodes.
type script struct {
	Record
	at time.Duration
}

func (s *script) call(c Call) *script {
	c.Node = []string{"n1", "n2", "n3"}[len(s.Calls)%3]
	c.Began, c.Ended = s.at, s.at+10*ms
	s.at += 20 * ms
	s.Calls = append(s.Calls, c)
	return s
}

func (s *script) order(op Op, source string, outcome Outcome) *script {
	return s.call(Call{Op: op, Source: source, Outcome: outcome})
}

func (s *script) weight(source string, weight uint64, outcome Outcome) *script {
	return s.call(Call{Op: Weight, Source: source, Weight: weight, Outcome: outcome})
}

func (s *script) read(v View) *script { return s.call(Call{Op: Read, Outcome: Done, View: v}) }

func (s *script) change(epoch uint64, from, to, reason string) *script {
	if s.Changes == nil {
		s.Changes = map[Change]string{}
	}
	s.Changes[Change{epoch, from, to, reason}] = "n1"
	return s
}

// shown is a read by the state it shows: epoch, current, pinned, promoted.
func shown(epoch uint64, current, pinned, promoted string) View {
	return View{Epoch: epoch, Current: current, Pinned: pinned, Promoted: promoted}
}

func stale(v View) View {
	v.Stale = true
	return v
}

func weighed(v View, weights map[string]uint64) View {
	v.Weights = weights
	return v
}

// a day in the life of a group: first a, b is promoted, b falls silent, a is pinned while it is current, then unpinned.
func day() *script {
	s := &script{}
	s.change(1, "", "a", "first").change(2, "a", "b", "promote").change(3, "b", "a", "silence")
	s.read(shown(0, "", "", "")).read(shown(1, "a", "", ""))
	s.order(Promote, "b", Done).read(shown(2, "b", "", "b"))
	s.read(shown(3, "a", "", "")).read(stale(shown(1, "a", "", "")))
	s.order(Pin, "a", Done).read(shown(3, "a", "a", "")).order(Promote, "b", Overruled)
	return s.order(Unpin, "", Done).read(shown(3, "a", "", ""))
}

func TestLinearFindsEachPlantedContradiction(t *testing.T) {
	tests := []struct {
		name  string
		plant func(*script)
		want  string // "": nothing
	}{
		{"a clean day", func(*script) {}, ""},
		{"a stale read that is not marked", func(s *script) { s.read(shown(2, "b", "", "b")) }, "showed epoch 2"},
		{"the same, marked", func(s *script) { s.read(stale(shown(2, "b", "", "b"))) }, ""},
		{"a stale read within an epoch", func(s *script) { s.read(shown(3, "a", "a", "")) }, "no order"},
		{"the same, marked", func(s *script) { s.read(stale(shown(3, "a", "a", ""))) }, ""},
		{"a state that never was, marked", func(s *script) { s.read(stale(shown(1, "a", "b", ""))) }, "no order"},
		{"a marked read of what is still to come", func(s *script) {
			s.read(stale(shown(3, "a", "b", ""))).order(Pin, "b", Done).read(shown(3, "a", "b", ""))
		}, "no order"},
		{"a lost promote", func(s *script) { s.order(Promote, "a", Done).read(shown(3, "a", "", "")) }, "no order"},
		{"a promote that does not stay lost", func(s *script) { s.order(Promote, "a", Done).read(shown(3, "a", "", "a")) }, ""},
		{"a promote that never became current", func(s *script) { s.order(Promote, "b", Done).read(shown(3, "a", "", "b")) }, "no order"},
		{"a lost pin", func(s *script) { s.order(Pin, "a", Done).read(shown(3, "a", "", "")) }, "no order"},
		{"a lost unpin", func(s *script) {
			s.order(Pin, "a", Done).order(Unpin, "", Done).read(shown(3, "a", "a", ""))
		}, "no order"},
		{"a promote that nothing overruled", func(s *script) { s.order(Promote, "b", Overruled) }, "no order"},
		{"an epoch that goes back", func(s *script) {
			s.change(4, "a", "b", "lag").read(shown(4, "b", "", "")).read(shown(3, "a", "", ""))
		}, "showed epoch 3"},
		{"two current sources in one epoch", func(s *script) { s.read(shown(3, "b", "", "")) }, `"b"`},
		{"two current sources in one epoch, marked", func(s *script) { s.read(stale(shown(3, "b", "", ""))) }, `"b"`},
		{"two histories", func(s *script) { s.change(2, "a", "c", "silence") }, "has 2 changes"},
		{"an epoch without a change", func(s *script) { s.read(shown(4, "b", "", "")) }, "has 0 changes"},
		{"a change from somebody else", func(s *script) { s.change(4, "b", "a", "lag") }, `"a" was current`},
		{"a change against a pin", func(s *script) {
			s.order(Pin, "a", Done).read(shown(3, "a", "a", "")).change(4, "a", "b", "silence").read(shown(4, "b", "a", ""))
		}, "no order"},
		{"lag beats a promotion", func(s *script) {
			s.order(Promote, "a", Done).read(shown(3, "a", "", "a")).change(4, "a", "b", "lag").read(shown(4, "b", "", "a"))
		}, "no order"},
		{"silence beats a promotion", func(s *script) {
			s.order(Promote, "a", Done).change(4, "a", "b", "silence").read(shown(4, "b", "", ""))
		}, ""},
		{"a change that nobody saw", func(s *script) {
			s.change(4, "a", "b", "lag").change(5, "b", "a", "lag").read(shown(5, "a", "", ""))
		}, ""},
		{"an uncertain command that happens late", func(s *script) {
			s.order(Pin, "b", Uncertain).read(shown(3, "a", "", "")).read(shown(3, "a", "b", ""))
		}, ""},
		{"an uncertain command that never happens", func(s *script) { s.order(Pin, "b", Uncertain).read(shown(3, "a", "", "")) }, ""},
		{"an uncertain command that happens twice", func(s *script) {
			s.order(Pin, "b", Uncertain).read(shown(3, "a", "b", ""))
			s.order(Unpin, "", Done).read(shown(3, "a", "b", ""))
		}, "no order"},
		{"a refused command that happens", func(s *script) { s.order(Pin, "b", Refused).read(shown(3, "a", "b", "")) }, "no order"},
		{"the current source is forgotten", func(s *script) { s.order(Forget, "a", Done) }, "no order"},
		{"a promoted source is forgotten", func(s *script) {
			s.order(Promote, "b", Uncertain).read(shown(3, "a", "", "b")).order(Forget, "b", Done).read(shown(3, "a", "", ""))
		}, ""},
		{"a weight is lost", func(s *script) {
			s.weight("a", 7, Done).read(shown(3, "a", "", ""))
		}, "the weight of a"},
		{"a weight goes back", func(s *script) {
			s.weight("a", 7, Done).weight("a", 8, Done).read(weighed(shown(3, "a", "", ""), map[string]uint64{"a": 7}))
		}, "the weight of a"},
		{"a weight that may have been set", func(s *script) {
			s.weight("a", 7, Uncertain).read(shown(3, "a", "", "")).read(weighed(shown(3, "a", "", ""), map[string]uint64{"a": 7}))
		}, ""},
		{"an earlier weight, marked", func(s *script) { s.weight("b", 7, Done).read(stale(shown(3, "a", "", ""))) }, ""},
		{"a forgotten source keeps its weight", func(s *script) {
			s.weight("b", 7, Done).order(Forget, "b", Done).read(weighed(shown(3, "a", "", ""), map[string]uint64{"b": 7}))
		}, "the weight of b"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := day()
			tt.plant(s)
			got := strings.Join(Linear(s.Record), "; ")
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// What overlaps may have happened in any order, what does not may not.
func TestLinearOverlap(t *testing.T) {
	for _, overlap := range []bool{true, false} {
		s := day()
		s.order(Pin, "a", Done).read(shown(3, "a", "", ""))
		if overlap {
			s.Calls[len(s.Calls)-1].Began = s.Calls[len(s.Calls)-2].Began
		}
		if got := Linear(s.Record); (len(got) == 0) != overlap {
			t.Errorf("overlap %v: got %v", overlap, got)
		}
	}
}

func TestCallsAreRecorded(t *testing.T) {
	var c Calls
	pin := c.Ask("n1", Pin, "a", 0)
	read := c.Ask("n2", Read, "", 0)
	read.Saw(shown(1, "a", "", ""), []Change{{1, "", "a", "first"}})
	c.Ask("n3", Unpin, "", 0)
	pin.Answered(Done)
	r := c.Record()
	read.Saw(shown(2, "b", "", ""), []Change{{2, "a", "b", "lag"}})
	if len(r.Calls) != 3 || len(r.Changes) != 1 || r.Calls[1].View.Epoch != 1 {
		t.Fatalf("unexpected record %+v", r)
	}
	if r.Calls[0].Ended < r.Calls[1].Ended || r.Calls[1].Ended < r.Calls[1].Began {
		t.Errorf("instants out of order: %+v", r.Calls)
	}
	if n := r.Counts(); n[Pin][Done] != 1 || n[Unpin][Uncertain] != 1 || n[Read][Done] != 1 {
		t.Errorf("unexpected counts %v", n)
	}
	if got := Linear(r); len(got) != 0 {
		t.Errorf("got %v", got)
	}
}

// random makes a record that is linearizable by construction: each call happens at one instant between its ends, or, if it
// has no certain answer, at one after its beginning, or never.
func random(r *rand.Rand, calls int) *script {
	s := &script{}
	now, weights := state{}, map[string]uint64{}
	var late []Call // uncertain ones that have not happened yet
	views := []View{shown(0, "", "", "")}
	for i := range calls {
		if r.IntN(10) == 0 {
			to := []string{"a", "b"}[r.IntN(2)]
			reason := []string{"silence", "lag", "promote"}[r.IntN(3)]
			c := Change{now.epoch + 1, now.current, to, reason}
			if possible, after := c.step(now); possible {
				s.change(c.Epoch, c.From, c.To, c.Reason)
				now = after
			}
		}
		if len(late) > 0 && r.IntN(20) == 0 {
			_, now = late[0].step(now)
			late = late[1:]
		}
		c := Call{Op: []Op{Promote, Pin, Unpin, Forget, Read, Read, Read, Read}[r.IntN(8)]}
		if c.Op != Unpin && c.Op != Read {
			c.Source = []string{"a", "b"}[r.IntN(2)]
		}
		view := weighed(shown(now.epoch, now.current, now.pinned, now.promoted), maps.Clone(weights))
		views = append(views, view)
		switch possible, after := c.step(now); {
		case c.Op == Read:
			c.Outcome, c.View = Done, view
			if r.IntN(4) == 0 {
				c.View = stale(views[r.IntN(len(views))])
			}
		case r.IntN(12) == 0:
			if c.Outcome = Uncertain; r.IntN(2) == 0 {
				late = append(late, c)
			}
		case !possible || (c.Op == Promote || c.Op == Pin) && after.current != c.Source:
			c.Outcome = Refused
		default:
			c.Outcome, now = Done, after
		}
		s.call(c)
		s.Calls[i].Began -= time.Duration(r.IntN(30)) * ms // some overlap
		s.Calls[i].Ended += time.Duration(r.IntN(30)) * ms
	}
	return s
}

// What is so by construction is found to be so, in little time, also where answers are missing. A read of what never was is
// found among them.
func TestLinearOfRandomRecords(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		if got := Linear(random(r, 400).Record); len(got) > 0 {
			t.Fatalf("seed %d: %v", seed, got)
		}
		s := random(r, 60)
		s.read(shown(0, "", "nobody", ""))
		s.Calls[len(s.Calls)-1].View = stale(s.Calls[len(s.Calls)-1].View)
		if got := strings.Join(Linear(s.Record), "; "); !strings.Contains(got, "without read {Epoch:0 Current: Pinned:nobody") {
			t.Fatalf("seed %d: planted a pin to nobody: %q", seed, got)
		}
	}
}
