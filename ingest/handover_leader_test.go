package ingest

import (
	"testing"
	"time"

	"github.com/highlander-io/highlander/fsm"
)

// The leader and the source go together, with everything that the leader kept.
func TestLeaderAndSourceDie(t *testing.T) {
	for name, via := range map[string]int{"through the leader": 0, "through the next leader": 1, "through another": 2} {
		t.Run(name, func(t *testing.T) {
			c := newColony(t, 3)
			a, b := newProm("a", 0), newProm("b", 2*time.Second)
			b.via = via
			c.run(3*time.Minute, a, b)
			a.kill()
			c.crash(1)
			c.run(2*time.Minute, a, b)
			c.current("b")
			if gap := c.check(a.interval+guard, a, b); gap > a.interval+guard {
				t.Errorf("largest gap %v", gap)
			}
		})
	}
}

// The leader goes while kept samples are being passed on: what it passed on must not come twice.
func TestLeaderDiesDuringHandover(t *testing.T) {
	for after := range 12 {
		c := newColony(t, 3)
		a, b := newProm("a", 0), newProm("b", 2*time.Second)
		c.run(2*time.Minute, a, b)
		passed := 0
		c.log.before = func(entry []byte) error {
			if isKept(entry) {
				if passed++; passed == after+1 {
					return errNotCommitted // and what follows does commit, if it is proposed
				}
			}
			return nil
		}
		ho := c.depose([]*prom{a, b})
		// Once, as passing would wait for the one that cannot be committed.
		if err := c.leading().h.newPassage(ho).pass(t.Context()); err == nil && passed > after {
			t.Fatal("nothing failed")
		}
		c.log.before = nil
		if after%2 == 0 {
			c.flush()
		}
		c.crash(2)
		c.run(time.Minute, a, b)
		if gap := c.check(a.interval+guard, a, b); gap > a.interval+guard {
			t.Errorf("after %d: largest gap %v", after, gap)
		}
		c.explained("b")
		c.counted(a, b)
	}
}

// counted requires that no sample is in the books twice, however many leaders have had it in their hands.
func (c *colony) counted(proms ...*prom) {
	c.Helper()
	answered, fenced := 0, uint64(0)
	for _, p := range proms {
		for _, times := range p.took {
			answered += len(times)
		}
	}
	g := c.state()
	for _, change := range g.History {
		fenced += change.Fenced
	}
	if int(g.Books.Received) > answered || g.Books.Covered != fenced || g.Books.Duplicate > 0 {
		c.Errorf("%d samples were taken, and %d held back: %+v", answered, fenced, g.Books)
	}
}

// explained requires that the last change is told with what the log shows of it, whoever of its leaders died with what they
// had not told.
func (c *colony) explained(to string) {
	c.Helper()
	h := c.state().History
	last := h[len(h)-1]
	if len(h) != 2 || last.To != to {
		c.Fatalf("history: %+v", h)
	}
	used, gap := uint64(0), int64(0)
	for _, b := range c.log.batches(c.TB) {
		if b.Flags&fsm.FlagKept != 0 {
			used += b.Counts.Samples()
		}
	}
	for _, list := range c.delivered() {
		for i := 1; i < len(list); i++ {
			if list[i-1].source != to && list[i].source == to {
				gap = max(gap, list[i].at-list[i-1].at)
			}
		}
	}
	if last.KeptUsed != used || last.LargestGap != gap || last.Fenced == 0 {
		c.Errorf("%d kept samples are in the log, the largest gap is %d ms; the history tells %+v", used, gap, last)
	}
}

// A member that restarts has lost its copies. They are made anew, so that leader and source may go together soon after.
func TestMemberRestarts(t *testing.T) {
	for name, gone := range map[string]bool{"and is back": false, "and stays away": true} {
		t.Run(name, func(t *testing.T) {
			c := newColony(t, 3, func(o *Options) { o.Policy.FailoverTimeout = 40 * time.Second })
			a, b := newProm("a", 0), newProm("b", 2*time.Second)
			b.via = 1
			c.run(time.Minute, a, b)
			a.kill()
			c.run(10*time.Second, a, b)
			if n := len(c.leading().h.lonely()); n != 0 {
				t.Fatalf("%d requests are kept on the leader alone", n)
			}
			c.members[1].start()
			if gone {
				b.via = 2
				c.members[1].down.Store(true)
				c.run(goneAfter, a, b)
			}
			c.run(6*time.Second, a, b)
			if n := len(c.leading().h.lonely()); n != 0 {
				t.Errorf("%d requests are still kept on the leader alone", n)
			}
			c.crash(2)
			c.members[1].down.Store(false)
			c.run(3*time.Minute, a, b)
			c.current("b")
			if gap := c.check(a.interval+guard, a, b); gap > a.interval+guard {
				t.Errorf("largest gap %v", gap)
			}
		})
	}
}

// The member with the only copy is not there when a leadership begins, and back just before the next change of source.
func TestMemberAnswersLate(t *testing.T) {
	c := newColony(t, 3)
	a, b := newProm("a", 0), newProm("b", 2*time.Second)
	b.via = 1
	c.run(time.Minute, a, b)
	a.kill()
	c.run(10*time.Second, a, b) // failover_timeout is longer
	b.via = 2
	c.members[1].down.Store(true)
	c.crash(2)
	c.run(500*time.Millisecond, a, b)
	c.members[1].down.Store(false)
	c.run(time.Minute, a, b)
	c.current("b")
	if gap := c.check(a.interval+guard, a, b); gap > a.interval+guard {
		t.Errorf("largest gap %v", gap)
	}
}

// A new leader knows how often the sources send: one that died with the old leader is not waited for as for one of which nothing
// is known.
func TestNewLeaderKnowsPaces(t *testing.T) {
	c := newColony(t, 3, func(o *Options) { o.Policy.FailoverTimeout = 4 * time.Second })
	a, b := newProm("a", 0), newProm("b", 100*time.Millisecond)
	a.interval, b.interval = 250*time.Millisecond, 250*time.Millisecond // less than what tells bursts from an interval
	c.run(40*time.Second, a, b)
	a.kill()
	c.crash(1)
	c.run(7*time.Second, a, b)
	c.current("b")
}

// Three samples of what a predecessor told of are held back once more; two live ones are new.
func TestAccountOfASuccessor(t *testing.T) {
	for _, tt := range []struct {
		name             string
		told, once, want uint64
	}{{"it told all", 150, 3, 2}, {"it told nothing", 0, 3, 5}, {"it told a part", 2, 3, 3}} {
		ho := newHandover(&group{}, 7, nil)
		ho.again, ho.change.Fenced, ho.fence = true, tt.told, &fence{}
		ho.inherit()
		if fresh := ho.recount(tt.once); fresh != tt.want-2 {
			t.Errorf("%s: %d samples go into the books, want %d", tt.name, fresh, tt.want-2)
		}
		ho.count(0, 2)
		if delta, news := ho.changes(); !news || delta.Fenced != tt.want {
			t.Errorf("%s: %+v, want %d", tt.name, delta, tt.want)
		}
		if delta, news := ho.changes(); news {
			t.Errorf("%s: told twice: %+v", tt.name, delta)
		}
	}
}

// What a change of source has passed on is not kept any more, wherever it was: the next leader would find it, and the next change
// pass it on and count it once more.
func TestPassedOnIsPassedOnOnce(t *testing.T) {
	c := newColony(t, 3)
	a, b := newProm("a", 0), newProm("b", 2*time.Second)
	a.via, b.via = 1, 2
	c.run(2*time.Minute, a, b)
	for i := range 4 {
		to := []string{"b", "a"}[i%2]
		(&desk{TB: t, node: c.log, clock: c.clock}).operate(fsm.SourceOp{Op: "promote", Group: fsm.GroupID{Name: "g"}, Source: to})
		c.run(7*time.Second, a, b)
		c.current(to)
		for n, m := range c.members {
			if list := m.h.window.shelf(shelfKey{fsm.GroupID{Name: "g"}, to}); len(list) > 0 {
				t.Errorf("member %d keeps %d requests of %s, which is current", n, len(list), to)
			}
		}
		c.elect((c.leader + 1) % 3)
		c.run(2*time.Second, a, b)
	}
	c.counted(a, b)
	c.check(a.interval+guard, a, b)
}

// While the books of a change cannot be committed its samples stay where they are: a successor must count what was held back.
func TestPassedOnIsDroppedWhenItIsCounted(t *testing.T) {
	c := newColony(t, 3)
	a, b := newProm("a", 0), newProm("b", 2*time.Second)
	b.via = 1
	c.run(2*time.Minute, a, b)
	a.kill()
	copies := func() int { return len(c.members[1].h.window.shelf(shelfKey{fsm.GroupID{Name: "g"}, "b"})) }
	for range 100 {
		if c.state().Current == "a" {
			c.clock.advance(250 * time.Millisecond)
			b.step(c)
			c.tick()
		}
	}
	c.current("b")
	if copies() == 0 {
		t.Fatal("nothing is kept")
	}
	c.log.before = func(entry []byte) error {
		if kind, _ := fsm.PeekKind(entry); kind == fsm.KindBooks {
			return errNotCommitted
		}
		return nil
	}
	m := c.leading()
	m.h.releaseCopies(t.Context(), m.lead)
	if copies() == 0 {
		t.Error("dropped, and not in the books")
	}
	c.log.before = nil
	m.h.releaseCopies(t.Context(), m.lead)
	if n := copies(); n != 0 {
		t.Errorf("%d requests are kept of the current source", n)
	}
	c.explained("b")
	c.counted(a, b)
}
