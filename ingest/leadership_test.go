package ingest

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/highlander-io/highlander/fsm"
)

// A current source whose samples are each less than a minute ahead of the last one: none of them may pull the group's time
// along. Samples over a minute ahead of the leader's clock move nothing.
func TestWatermarkIsNotPulledAhead(t *testing.T) {
	d := newDesk(t)
	now := d.clock.Now()
	for i := range 60 {
		at := now.Add(time.Duration(i) * 59 * time.Second)
		d.expect(d.post(bodyV1(t, series(at, "__name__", "m")), by("g", "a")), http.StatusNoContent)
	}
	if ahead := time.UnixMilli(d.group("g").Watermark).Sub(d.clock.Now()); ahead > time.Minute {
		t.Errorf("the watermark is %v ahead of the leader's clock", ahead)
	}
	for _, b := range d.node.batches(t) {
		if ahead := time.UnixMilli(b.Time).Sub(d.clock.Now()); ahead > time.Minute {
			t.Fatalf("a batch is stamped %v ahead of the leader's clock", ahead)
		}
	}
}

// The same by a clock that gains one second in ten, as one without NTP does over months.
func TestClockThatGains(t *testing.T) {
	c := newColony(t, 1)
	a, b := newProm("a", 0), newProm("b", 2*time.Second)
	for range 30 {
		c.run(10*time.Second, a, b)
		a.clock += 5 * time.Second
	}
	if ahead := time.UnixMilli(c.state().Watermark).Sub(c.clock.Now()); ahead > time.Minute {
		t.Errorf("the watermark is %v ahead of the leader's clock", ahead)
	}
}

// What one group does with its time must not shorten what the log keeps for another group's fences.
func TestOtherGroupsFence(t *testing.T) {
	c := newColony(t, 1)
	a, b := newProm("a", 0), newProm("b", 2*time.Second)
	c.run(3*time.Minute, a, b)
	before := c.log.fsm.WindowStart()
	d := &desk{TB: t, Handler: c.members[0].h, node: c.log, clock: c.clock}
	now := c.clock.Now()
	for i := range 60 {
		at := now.Add(time.Duration(i) * 59 * time.Second)
		d.expect(d.post(bodyV1(t, series(at, "__name__", "m")), by("evil", "x")), http.StatusNoContent)
	}
	if after := c.log.fsm.WindowStart(); after > before+1 {
		t.Errorf("fences of other groups are built from %d on instead of %d: three minutes of them are gone from the window", after, before)
	}
}

// The last leader's clock was an hour ahead: what is kept under the next one is released as ever.
func TestKeptAfterALeaderAhead(t *testing.T) {
	s, a, b := afterLeaderAhead(t)
	s.run(10*time.Minute, a, b)
	if n := int(s.state().Standby.Kept); n == 0 || n > 150 {
		t.Errorf("%d requests are kept", n)
	}
}

// A leader whose window has no room for what a member keeps does not fetch all of it at every tick.
func TestFullWindowIsNotFetchedTwiceASecond(t *testing.T) {
	c := newColony(t, 3)
	a, b := newProm("a", 0), newProm("b", 2*time.Second)
	b.via = 1
	c.run(time.Minute, a, b)
	c.members[1].down.Store(true) // while the next leadership begins
	c.members[0].h.window = window{id: "new", max: 1000}
	c.elect(0)
	inner, gets, bytes := c.members[1].routes, 0, 0
	c.members[1].routes = http.NewServeMux()
	c.members[1].routes.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		cw := &counting{ResponseWriter: w}
		inner.ServeHTTP(cw, r)
		if r.Method == http.MethodGet {
			gets++
			bytes += cw.n
		}
	})
	c.members[1].down.Store(false)
	c.run(30*time.Second, a)
	t.Logf("fetched %d times in 30 seconds, %d bytes", gets, bytes)
	if gets > 10 {
		t.Errorf("all that a member keeps was fetched %d times in 30 seconds", gets)
	}
}

type counting struct {
	http.ResponseWriter
	n int
}

func (w *counting) Write(b []byte) (int, error) {
	w.n += len(b)
	return w.ResponseWriter.Write(b)
}

// Consequence of the above: a group whose source has a shard that lags loses what that shard had not delivered.
func TestLaggingShardBesideAnotherGroup(t *testing.T) {
	for name, evil := range map[string]bool{"alone": false, "beside": true} {
		t.Run(name, func(t *testing.T) {
			c := newColony(t, 1)
			a, b := newProm("a", 0), newProm("b", 2*time.Second)
			a.lags = []time.Duration{0, 40 * time.Second}
			c.run(3*time.Minute, a, b)
			d := &desk{TB: t, Handler: c.members[0].h, node: c.log, clock: c.clock}
			now := c.clock.Now()
			a.kill()
			if evil {
				for i := range 60 {
					at := now.Add(time.Duration(i) * 59 * time.Second)
					d.expect(d.post(bodyV1(t, series(at, "__name__", "m", "s", "evil")), by("evil", "x")), http.StatusNoContent)
				}
			}
			c.run(2*time.Minute, a, b)
			c.current("b")
			per := map[string][]int64{}
			for _, batch := range c.log.batches(t) {
				if batch.Group.Name != "g" {
					continue
				}
				for _, s := range decode(t, batch.Body).Timeseries {
					for _, sample := range s.Samples {
						per[s.Labels[1].Value] = append(per[s.Labels[1].Value], sample.Timestamp)
					}
				}
			}
			for name, list := range per {
				for i := 1; i < len(list); i++ {
					if gap := time.Duration(list[i]-list[i-1]) * time.Millisecond; gap > a.interval+guard || gap <= 0 {
						t.Errorf("series %s: %v between two samples", name, gap)
					}
				}
			}
		})
	}
}

// Many answers that must be counted at once wait for two flushes and not for one each.
func TestFlushIsShared(t *testing.T) {
	d := newDesk(t)
	for i := range 5000 {
		g, err := d.lead.enter(fsm.GroupID{Name: time.Duration(i).String()}, 20000)
		if err != nil {
			t.Fatal(err)
		}
		g.mu.Unlock()
	}
	var wg sync.WaitGroup
	for range 300 {
		wg.Go(func() {
			g, _ := d.lead.enter(fsm.GroupID{Name: "x"}, 20000)
			s, _ := g.source("a", 10)
			s.books.covered++
			g.mu.Unlock()
			if err := d.Handler.flush(t.Context(), d.lead); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got, _ := d.node.fsm.Group(fsm.GroupID{Name: "x"}); got.Books.Covered != 300 {
		t.Errorf("%d counted", got.Books.Covered)
	}
}

// What is left of a leadership must not come into the books behind the next one of the same node: what was kept would be counted twice.
func TestLateFlushOfAnEarlierLeadership(t *testing.T) {
	d := newDesk(t)
	at := d.clock.Now()
	d.expect(d.post(bodyV1(t, series(at, "__name__", "m")), by("g", "a")), http.StatusNoContent)
	d.expect(d.post(bodyV1(t, series(at, "__name__", "m")), by("g", "b")), http.StatusAccepted)
	old := d.lead
	d.clock.advance(time.Second)
	old.over.Store(true)                                      // as Lead does
	d.takeOver()                                              // the same node again; b's request is not in the books yet
	if err := d.Handler.flush(t.Context(), old); err != nil { // as a request of the old leadership does before its 204
		t.Logf("refused: %v", err)
	}
	d.flush()
	items, _ := d.window.held()
	if kept := d.group("g").Standby.Kept; kept != int64(items) {
		t.Errorf("%d are kept, the books say %d", items, kept)
	}
}

// What a member offers while kept samples are being passed on is passed on and booked once, whichever comes first.
func TestOfferedWhilePassing(t *testing.T) {
	for i := range 30 {
		d := newDesk(t)
		at := d.clock.Now()
		d.expect(d.post(bodyV1(t, series(at, "__name__", "m")), by("g", "a")), http.StatusNoContent)
		d.expect(d.post(bodyV1(t, series(at.Add(5*time.Second), "__name__", "n")), by("g", "b")), http.StatusAccepted)
		d.flush()
		it := d.window.list()[0]
		d.window.remove(it) // it is another member's alone
		d.lead.tasks.Go(func() {
			d.node.apply(mustEncode(t, &fsm.SourceOp{Op: fsm.OpPromote, Group: fsm.GroupID{Name: "g"}, Source: "b", Time: 1}))
			d.Handler.tick(t.Context(), d.lead)
			d.Handler.advance(t.Context(), d.lead)
		})
		fresh := &keptItem{id: it.id, owner: it.owner, named: it.named, client: it.client, protocol: it.protocol, arrived: it.arrived, share: it.share, body: it.body}
		d.lead.tasks.Go(func() {
			time.Sleep(time.Duration(i) * 20 * time.Microsecond)
			_ = d.takeCopy(d.lead, fresh, d.options.Load())
		})
		d.lead.tasks.Wait()
		d.flush()
		g := d.group("g")
		items, _ := d.window.held()
		// one was counted when it was answered (its item was taken away behind the books' back), one as it is offered
		used := g.History[len(g.History)-1].KeptUsed
		if g.Standby.Kept != int64(1+items) || g.Standby.Used != used {
			t.Fatalf("round %d: the history tells of %d used, %d are kept beside the one taken away: %+v", i, used, items, g.Standby)
		}
	}
}

func mustEncode(t *testing.T, c any) []byte {
	e, err := fsm.Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// A source that is gone for good is forgotten after forget_after, however often the leader changes.
func TestGoneSourceIsForgotten(t *testing.T) {
	c := newColony(t, 3)
	a, x := newProm("a", 0), newProm("x", 2*time.Second)
	c.run(time.Minute, a, x)
	x.kill()
	for i := range 12 {
		c.clock.advance(50 * time.Minute)
		c.run(10*time.Second, a)
		m := c.leading()
		m.h.forget(m.lead)
		c.elect((i + 1) % 3)
	}
	g := c.leading().lead.known(fsm.GroupID{Name: "g"})
	if s := g.sources["x"]; s != nil {
		t.Errorf("x was last heard of ten hours ago; it has a place among the sources, with an interval of %v", s.pace.interval)
	}
}
