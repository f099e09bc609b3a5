package ingest

import (
	"strings"
	"testing"
	"time"

	"github.com/highlander-io/highlander/fsm"
)

const guard = 500 * time.Millisecond

// A source dies; the next one goes on where it stopped.
func TestHandover(t *testing.T) {
	for name, members := range map[string]int{"standalone": 1, "cluster": 3} {
		t.Run(name, func(t *testing.T) {
			c := newColony(t, members)
			a, b := newProm("a", 0), newProm("b", 2*time.Second)
			c.run(3*time.Minute, a, b)
			c.current("a")
			a.kill()
			c.run(time.Minute, a, b)
			c.current("b")
			if gap := c.check(a.interval+guard, a, b); gap > a.interval+guard {
				t.Errorf("largest gap %v", gap)
			}
			c.explained("b")
			h := c.state().History
			if last := h[len(h)-1]; last.KeptUsed == 0 || last.Fenced == 0 || last.LargestGap == 0 || last.LargestGap > (a.interval+guard).Milliseconds() {
				t.Errorf("history: %+v", last)
			}
			if g := c.state(); g.Standby.Used == 0 || g.Books.Covered == 0 {
				t.Errorf("books: %+v %+v", g.Standby, g.Books)
			}
			if n := strings.Count(c.logs.String(), "source changed"); n != 2 {
				t.Errorf("said %d times:\n%s", n, c.logs)
			}
			c.run(2*time.Minute, a, b)
			if c.state().Fence != nil {
				t.Error("the fence has not ended")
			}
			c.check(a.interval+guard, a, b)
		})
	}
}

func TestKeptIsReleased(t *testing.T) {
	c := newColony(t, 3)
	a, b := newProm("a", 0), newProm("b", 2*time.Second)
	b.via = 1
	c.run(6*time.Minute, a, b)
	items := int(c.state().Standby.Kept)
	if most := 2 * 140 / 5; items == 0 || items > most {
		t.Errorf("%d kept, want at most %d", items, most)
	}
	for i, m := range c.members[:2] {
		if n, _ := m.h.window.held(); n < items || n > items+20 {
			t.Errorf("member %d holds %d, the books say %d", i, n, items)
		}
	}
}

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
		c.crash(2)
		c.run(time.Minute, a, b)
		if gap := c.check(a.interval+guard, a, b); gap > a.interval+guard {
			t.Errorf("after %d: largest gap %v", after, gap)
		}
		c.explained("b")
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

func TestThreeInARow(t *testing.T) {
	c := newColony(t, 3)
	a, b, x := newProm("a", 0), newProm("b", 2*time.Second), newProm("c", 3*time.Second)
	c.run(2*time.Minute, a, b, x)
	a.kill()
	c.run(20*time.Second, a, b, x)
	first := c.state().Current
	if first == "a" {
		t.Fatal("no change")
	}
	if first == "b" {
		b.kill()
	} else {
		x.kill()
	}
	c.run(time.Minute, a, b, x)
	if second := c.state().Current; second == first || second == "a" {
		t.Fatalf("current %q after %q", second, first)
	}
	if gap := c.check(a.interval+guard, a, b, x); gap > a.interval+guard {
		t.Errorf("largest gap %v", gap)
	}
}

// A source that was cut off sends what it has from before the change: it is covered.
func TestReplayIsCovered(t *testing.T) {
	c := newColony(t, 1)
	a, b := newProm("a", 0), newProm("b", 2*time.Second)
	c.run(2*time.Minute, a, b)
	a.cut = true
	c.run(40*time.Second, a, b)
	c.current("b")
	a.cut = false
	c.run(10*time.Second, a, b)
	b.kill()
	c.run(time.Minute, a, b)
	c.current("a")
	if gap := c.check(a.interval+guard, a, b); gap > a.interval+guard {
		t.Errorf("largest gap %v", gap)
	}
}

// A current source that replays half an hour is not replaced while the standby is fresh, and nothing of it is lost.
func TestReplayOfTheCurrentSource(t *testing.T) {
	c := newColony(t, 1)
	a, b := newProm("a", 0), newProm("b", 2*time.Second)
	c.run(time.Minute, a, b)
	a.cut, b.cut = true, true
	c.run(30*time.Minute, a, b)
	a.cut = false
	for range 60 { // a catches up at thirty times real time; b has lost the past
		n := max(0, len(a.queues[0])-6)
		for i := range a.queues {
			for k := range n {
				a.queues[i][k].due = c.clock.Now().Add(time.Duration(k/6) * time.Second)
			}
		}
		b.queues, b.cut = nil, false
		c.run(time.Second, a, b)
	}
	c.run(2*time.Minute, a, b)
	c.current("a")
	if gap := c.check(a.interval+guard, a, b); gap > a.interval+guard {
		t.Errorf("largest gap %v", gap)
	}
}

func TestBothGoneForAnHour(t *testing.T) {
	c := newColony(t, 3)
	a, b := newProm("a", 0), newProm("b", 2*time.Second)
	c.run(2*time.Minute, a, b)
	a.kill()
	b.dead = true
	c.run(time.Hour, a, b)
	b.dead = false
	c.run(time.Minute, a, b)
	c.current("b")
	c.check(a.interval+guard, a, b)
}

func TestFlapping(t *testing.T) {
	c := newColony(t, 3)
	a, b := newProm("a", 0), newProm("b", 2*time.Second)
	c.run(2*time.Minute, a, b)
	for i := range 20 {
		a.cut = i%2 == 0
		c.run(time.Duration(3+i)*time.Second, a, b)
	}
	a.cut = false
	c.run(2*time.Minute, a, b)
	if gap := c.check(a.interval+guard, a, b); gap > a.interval+guard {
		t.Errorf("largest gap %v", gap)
	}
}

func TestMinuteScrapes(t *testing.T) {
	c := newColony(t, 3)
	a, b := newProm("a", 10*time.Second), newProm("b", 35*time.Second)
	for _, p := range []*prom{a, b} {
		p.interval, p.series, p.shards, p.scraped = time.Minute, 1, 1, c.clock.Now()
	}
	c.run(10*time.Minute, a, b)
	if h := c.state().History; len(h) != 1 {
		t.Fatalf("flapped: %+v", h)
	}
	a.kill()
	c.run(5*time.Minute, a, b)
	c.current("b")
	if gap := c.check(a.interval+guard, a, b); gap > a.interval+guard {
		t.Errorf("largest gap %v", gap)
	}
}

func TestClockAnHourAhead(t *testing.T) {
	c := newColony(t, 1)
	a, b := newProm("a", 0), newProm("b", 2*time.Second)
	b.clock = time.Hour
	c.run(6*time.Minute, a, b)
	a.cut = true
	c.run(time.Minute, a, b)
	a.cut = false
	c.run(time.Minute, a, b)
	c.current("a")
	if n := int(c.state().Standby.Kept); n > 150 {
		t.Errorf("%d requests of a clock that is ahead are kept", n)
	}
	c.check(a.interval+guard, a, b)
}

func TestWeightAndPromotion(t *testing.T) {
	c := newColony(t, 3)
	a, b := newProm("a", 0), newProm("b", 2*time.Second)
	d := &desk{TB: t, node: c.log, clock: c.clock}
	c.run(2*time.Minute, a, b)
	d.operate(fsm.SourceOp{Op: "weight", Group: fsm.GroupID{Name: "g"}, Source: "b", Weight: 5})
	c.run(30*time.Second, a, b)
	c.current("b")
	d.operate(fsm.SourceOp{Op: "promote", Group: fsm.GroupID{Name: "g"}, Source: "a"})
	c.run(30*time.Second, a, b)
	c.current("a")
	d.operate(fsm.SourceOp{Op: "pin", Group: fsm.GroupID{Name: "g"}, Source: "b"})
	c.run(3*time.Minute, a, b)
	c.current("b")
	if gap := c.check(a.interval+guard, a, b); gap > a.interval+guard {
		t.Errorf("largest gap %v", gap)
	}
}

func TestWindowIsBounded(t *testing.T) {
	c := newColony(t, 1, func(o *Options) { o.WindowBytes = 10 * 600 })
	a, b := newProm("a", 0), newProm("b", 2*time.Second)
	a.shards, b.shards = 1, 1
	c.run(10*time.Minute, a, b)
	if len(b.queues[0]) == 0 {
		t.Fatal("at the bound the standby keeps its samples itself")
	}
	if _, bytes := c.leading().h.window.held(); bytes > 10*600 {
		t.Errorf("%d bytes are kept", bytes)
	}
	if n := strings.Count(c.logs.String(), "window is full"); n == 0 || n > 5 {
		t.Errorf("warned %d times", n)
	}
	a.kill()
	c.run(3*time.Minute, a, b)
	c.current("b")
	if gap := c.check(a.interval+guard, a, b); gap > a.interval+guard {
		t.Errorf("largest gap %v", gap)
	}
}

// A 202 of a cluster means two nodes; with nobody to take a copy there is none.
func TestNobodyTakesACopy(t *testing.T) {
	c := newColony(t, 3)
	a, b := newProm("a", 0), newProm("b", 2*time.Second)
	c.run(20*time.Second, a, b)
	c.members[1].down.Store(true)
	c.members[2].down.Store(true)
	n := len(b.took["0"])
	c.run(20*time.Second, a, b)
	if len(b.took["0"]) != n {
		t.Error("202 with one copy")
	}
	c.members[2].down.Store(false)
	c.run(20*time.Second, a, b)
	if len(b.took["0"]) < n+7 {
		t.Error("one member that takes copies is enough")
	}
}

func TestCoverageIsSaid(t *testing.T) {
	c := newColony(t, 1)
	a, b := newProm("a", 0), newProm("b", 2*time.Second)
	a.hidden = map[int]bool{1: true, 3: true}
	c.run(6*time.Minute, a, b)
	c.current("a")
	if n := strings.Count(c.logs.String(), "delivers less than a standby"); n != 1 {
		t.Errorf("said %d times", n)
	}
}

// Bodies whose sources are named by labels are kept whole for each of them; each uses what is its own.
func TestKeptByLabels(t *testing.T) {
	d := newDesk(t)
	both := func(source string) int {
		return d.post(bodyV1(t,
			series(d.clock.Now(), "__name__", "up", "cluster", "g1", "__replica__", source),
			series(d.clock.Now(), "__name__", "down", "cluster", "g2", "__replica__", source),
			series(d.clock.Now(), "x", "nameless", "cluster", "g2", "__replica__", source))).Code
	}
	for second := range 60 {
		if second < 30 {
			if code := both("a"); code != 400 { // of which the good ones are taken
				t.Fatalf("a: status %d", code)
			}
		}
		d.clock.advance(500 * time.Millisecond)
		if code := both("b"); code != 202 && code != 400 {
			t.Fatalf("b: status %d", code)
		}
		d.tick()
		d.clock.advance(500 * time.Millisecond)
		d.tick()
	}
	d.flush()
	for _, name := range []string{"g1", "g2"} {
		d.current(name, "b")
		g := d.group(name)
		if last := g.History[len(g.History)-1]; last.KeptUsed < 15 || last.Fenced < 25 || last.LargestGap != 500 {
			t.Errorf("%s: %+v", name, last)
		}
		if g.Standby.Used == 0 || !g.Standby.Balanced() {
			t.Errorf("%s: %+v", name, g.Standby)
		}
	}
	for _, b := range d.node.batches(t) {
		for _, s := range decode(t, b.Body).Timeseries {
			for _, l := range s.Labels {
				if l.Name == "cluster" && l.Value != b.Group.Name || l.Name == "__replica__" || l.Name == "x" {
					t.Fatalf("batch of %s: %v", b.Group.Name, s.Labels)
				}
			}
		}
	}
}

// Remote write 2.0, histograms included, goes through a fence as well.
func TestKept2(t *testing.T) {
	d := newDesk(t)
	for second := range 50 {
		if second < 25 {
			d.expect(d.post(encode(t, requestV2(d.clock.Now(), 3)), asV2, by("g", "a")), 204)
		}
		d.clock.advance(time.Second)
		if w := d.post(encode(t, requestV2(d.clock.Now(), 3)), asV2, by("g", "b")); w.Code >= 300 {
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
		d.tick()
	}
	d.flush()
	d.current("g", "b")
	g := d.group("g")
	if last := g.History[len(g.History)-1]; last.KeptUsed == 0 || last.KeptUsed%4 != 0 || last.Fenced%4 != 0 || last.LargestGap > 2000 {
		t.Errorf("%+v", last)
	}
	if n := g.Books.Accepted; n != 4*(25+26) { // a's seconds 0 to 24; b's 25 to 50
		t.Errorf("%d samples accepted", n)
	}
}
