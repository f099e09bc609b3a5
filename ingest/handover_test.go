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

// Where the operator wants it, a current source that delivers too little is replaced: once, although it weighs more.
func TestCoverageSwitches(t *testing.T) {
	c := newColony(t, 1, minCoverage)
	a, b := newProm("a", 0), newProm("b", 2*time.Second)
	a.hidden, a.weight = map[int]bool{1: true, 3: true}, 10
	c.run(2*time.Minute, a)
	c.current("a")
	c.run(20*time.Minute, a, b)
	c.current("b")
	h := c.state().History
	if last := h[len(h)-1]; len(h) != 2 || last.Reason != fsm.ReasonCover {
		t.Errorf("history: %+v", h)
	}
	c.check(b.interval+guard, a, b)
	a.hidden = nil
	c.run(10*time.Minute, a, b)
	c.current("a") // it is whole again, and heavier
}

// A standby that replays an outage of its own sends more than the current source for as long. That says nothing of either.
func TestReplayIsNoCoverage(t *testing.T) {
	c := newColony(t, 1, minCoverage)
	a, b := newProm("a", 0), newProm("b", 2*time.Second)
	c.run(2*time.Minute, a, b)
	b.cut = true
	c.run(30*time.Minute, a, b)
	b.cut = false
	c.run(30*time.Minute, a, b)
	if h := c.state().History; len(h) != 1 {
		t.Errorf("history: %+v", h)
	}
	if strings.Contains(c.logs.String(), "delivers less than a standby") {
		t.Error("a replay was taken for coverage")
	}
}

func minCoverage(o *Options) { o.Policy.MinCoverage = 0.9 }

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
