package egress

import (
	"fmt"
	"testing"

	"github.com/highlander-io/highlander/fsm"
	"github.com/highlander-io/highlander/fsm/wire"
)

// poison refuses every request that holds a series of that name.
func poison(bad ...string) func(*write) answer {
	return func(w *write) answer {
		for _, b := range bad {
			if w.series[b] {
				return answer{status: 400, body: "bad series " + b}
			}
		}
		return ok
	}
}

// E1, E2: one bad series in a merged request of 10,000 samples costs that series alone, within the budget.
func TestBisectOneBadSeriesAmongTenThousand(t *testing.T) {
	for _, lanes := range []int{1, 4} {
		t.Run(fmt.Sprintf("lanes %d", lanes), func(t *testing.T) {
			c := newCluster(t)
			l := newLTS(t, poison("m_01234"))
			c.register("lts", l.URL+"/api/v1/write")
			list := names("m", 2000)
			for i := range 5 {
				c.batch("", int64(i+1), list...)
			}
			d := to("lts", l)
			d.Queue.MaxShards = lanes
			c.lead(c.egress(d))
			got := c.drained(t, "lts")
			if got.Delivered != 9995 || got.DeadLetter != 5 || len(got.Dropped) != 0 {
				t.Fatalf("delivered %d, dead letters %d, dropped %v; want 9995, 5, none", got.Delivered, got.DeadLetter, got.Dropped)
			}
			l.check(t, 9995)
			if n := l.requests(); n > probesMax/2 {
				t.Errorf("%d requests", n)
			}
			letters := c.state.DeadLetters()
			if len(letters) != 5 {
				t.Fatalf("%d dead letters, want one for each batch", len(letters))
			}
			for i, info := range letters {
				if info.Index != uint64(i+2) || info.Samples != 1 || info.Status != 400 || info.Answer != "bad series m_01234" || info.Source != "a" {
					t.Errorf("letter %d: %+v", i, info)
				}
				letter, _ := c.state.DeadLetter(info.ID)
				w, err := parse(map[string][]string{"Content-Encoding": {"snappy"}, "Content-Type": {contentTypeV1}, headerVersion: {"0.1.0"}}, letter.Body)
				if err != nil || len(w.samples) != 1 || w.samples[0] != (point{"m_01234", int64(i + 1)}) {
					t.Errorf("letter %d holds %+v, %v", i, w, err)
				}
			}
		})
	}
}

func TestBisectManyBadSeries(t *testing.T) {
	c := newCluster(t)
	var bad []string
	for i := 0; i < 2000; i += 10 {
		bad = append(bad, fmt.Sprintf("m_%05d", i))
	}
	l := newLTS(t, poison(bad...))
	c.register("lts", l.URL+"/api/v1/write")
	c.batch("", 1, names("m", 2000)...)
	c.batch("", 2, "good")
	c.lead(c.egress(to("lts", l)))
	d := c.drained(t, "lts")
	if d.Delivered != 1801 || d.DeadLetter != 200 {
		t.Fatalf("delivered %d, dead letters %d; want 1801, 200", d.Delivered, d.DeadLetter)
	}
	if n := l.requests(); n > probesProvenMax+2*probesMax {
		t.Errorf("%d requests", n)
	}
	l.check(t, 1801)
}

// What the budget does not resolve becomes dead letters together with the good series among it.
func TestBisectBeyondTheBudget(t *testing.T) {
	c := newCluster(t)
	var bad []string
	for i := 0; i < 8000; i += 2 {
		bad = append(bad, fmt.Sprintf("m_%05d", i))
	}
	l := newLTS(t, poison(bad...))
	c.register("lts", l.URL+"/api/v1/write")
	c.batch("", 1, names("m", 8000)...)
	c.batch("", 2, names("good", 10)...)
	c.lead(c.egress(to("lts", l)))
	d := c.drained(t, "lts")
	if d.Delivered+d.DeadLetter != 8010 || d.DeadLetter < 4000 || d.Delivered == 0 {
		t.Fatalf("delivered %d, dead letters %d", d.Delivered, d.DeadLetter)
	}
	if n := l.requests(); n > probesProvenMax+3*probesMax {
		t.Errorf("%d requests", n)
	}
	l.check(t, int(d.Delivered))
}

func TestBisectPoisonAloneIsDecidedByTheNextRequest(t *testing.T) {
	c := newCluster(t)
	l := newLTS(t, poison("bad"))
	c.register("lts", l.URL+"/api/v1/write")
	e := c.egress(to("lts", l))
	c.lead(e)
	c.batch("", 1, "bad")
	eventually(t, "undecided", func() bool { return e.state("lts").State == Retrying })
	if d := c.destination("lts"); d.DeadLetter != 0 || d.Cursor != 1 {
		t.Fatalf("decided with nothing to compare: %+v", d)
	}
	c.batch("", 2, "good")
	d := c.drained(t, "lts")
	if d.Delivered != 1 || d.DeadLetter != 1 {
		t.Fatalf("delivered %d, dead letters %d", d.Delivered, d.DeadLetter)
	}
	eventually(t, "up", func() bool { return e.state("lts").State == Up })
}

func TestBisectWrittenCountsAreFinal(t *testing.T) {
	c := newCluster(t)
	l := newLTS(t, func(w *write) answer {
		return answer{status: 400, body: "one is bad", header: writtenHeaders(len(w.samples) - 1)}
	})
	c.register("lts", l.URL+"/api/v1/write")
	c.batchV2(1, "a", "b", "c")
	d := to("lts", l)
	d.Protocol = wire.V2
	c.lead(c.egress(d))
	got := c.drained(t, "lts")
	if got.Delivered != 2 || got.Dropped[DroppedRefused] != 1 || l.requests() != 1 {
		t.Fatalf("delivered %d, dropped %v, %d requests", got.Delivered, got.Dropped, l.requests())
	}
}

func TestBisectTwoPointZero(t *testing.T) {
	c := newCluster(t)
	l := newLTS(t, func(w *write) answer {
		if w.series["m_00007"] {
			return answer{status: 400, body: "bad", header: writtenHeaders(0)}
		}
		return answer{status: 204, header: writtenHeaders(len(w.samples))}
	})
	c.register("lts", l.URL+"/api/v1/write")
	for i := range 4 {
		c.batchV2(int64(i+1), names("m", 50)...)
	}
	d := to("lts", l)
	d.Protocol = wire.V2
	c.lead(c.egress(d))
	got := c.drained(t, "lts")
	if got.Delivered != 196 || got.DeadLetter != 4 {
		t.Fatalf("delivered %d, dead letters %d", got.Delivered, got.DeadLetter)
	}
	for _, info := range c.state.DeadLetters() {
		if info.Samples != 1 {
			t.Errorf("letter %+v", info)
		}
	}
}

func TestSplitTooLarge(t *testing.T) {
	c := newCluster(t)
	l := newLTS(t, func(w *write) answer {
		if len(w.samples) > 16 {
			return answer{status: 413, body: "too large"}
		}
		return ok
	})
	c.register("lts", l.URL+"/api/v1/write")
	for i := range 10 {
		c.batch("", int64(i+1), names("m", 30)...)
	}
	for i := range 40 { // of one series: split by time
		c.batch("", int64(100+i), "single")
	}
	c.lead(c.egress(to("lts", l)))
	d := c.drained(t, "lts")
	if d.Delivered != 340 {
		t.Fatalf("delivered %d, dead letters %d", d.Delivered, d.DeadLetter)
	}
	l.check(t, 340)
}

func TestSplitNothingFits(t *testing.T) {
	c := newCluster(t)
	l := newLTS(t, func(w *write) answer {
		if w.series["huge"] {
			return answer{status: 413}
		}
		return ok
	})
	c.register("lts", l.URL+"/api/v1/write")
	c.batch("", 1, "huge", "a", "b")
	c.lead(c.egress(to("lts", l)))
	d := c.drained(t, "lts")
	if d.Delivered != 2 || d.DeadLetter != 1 || c.state.DeadLetters()[0].Status != 413 {
		t.Fatalf("delivered %d, dead letters %d", d.Delivered, d.DeadLetter)
	}
}

// A leader that takes over sends again what its predecessor had delivered and not committed. An LTS that rolls
// back whole requests then refuses old and new samples together.
func TestRedeliveryAfterLeaderChange(t *testing.T) {
	for name, merge := range map[string]int{"merged": 10_000, "single batches": 20} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			l := newLTS(t, nil)
			l.program(l.prometheus)
			c.register("lts", l.URL+"/api/v1/write")
			list := names("m", 20)
			for i := range 30 {
				c.batch("", int64(i+1), list...)
			}
			block := func(fsm.Kind) (bool, error) { return false, errLost }
			c.propose.Store(&block)
			d := to("lts", l)
			d.Queue.MaxSamplesPerSend = merge
			stop := c.lead(c.egress(d))
			eventually(t, "delivered", func() bool { return l.count() == 600 })
			c.deposed.Store(true)
			stop()
			if d := c.destination("lts"); d.Cursor != 1 {
				t.Fatalf("cursor moved to %d", d.Cursor)
			}
			for i := range 30 { // the next leader finds new batches behind
				c.batch("", int64(i+31), list...)
			}
			c.propose.Store(nil)
			c.deposed.Store(false)
			d.Queue.MaxSamplesPerSend = 10_000 // so that old and new share a request
			c.lead(c.egress(d))
			got := c.drained(t, "lts")
			if got.DeadLetter != 0 || got.Delivered != 1200 {
				t.Errorf("delivered %d, dead letters %d; want 1200, 0", got.Delivered, got.DeadLetter)
			}
			if got.Redelivered == 0 || got.Redelivered > 600 {
				t.Errorf("redelivered %d of 600", got.Redelivered)
			}
			l.check(t, 1200)
		})
	}
}

func TestRedeliveryAfterLostAnswer(t *testing.T) {
	c := newCluster(t)
	l := newLTS(t, nil)
	n := 0
	l.program(func(w *write) answer {
		if n++; n == 1 {
			return answer{status: 502, store: true}
		}
		return l.prometheus(w)
	})
	c.register("lts", l.URL+"/api/v1/write")
	for i := range 5 {
		c.batch("", int64(i+1), names("m", 40)...)
	}
	c.lead(c.egress(to("lts", l)))
	got := c.drained(t, "lts")
	if got.Delivered != 200 || got.DeadLetter != 0 || got.Redelivered == 0 {
		t.Errorf("delivered %d, redelivered %d, dead letters %d", got.Delivered, got.Redelivered, got.DeadLetter)
	}
	l.check(t, 200)
}

// What is refused as out of order without having been sent before is a dead letter.
func TestOutOfOrderAtFirstDeliveryIsADeadLetter(t *testing.T) {
	c := newCluster(t)
	l := newLTS(t, nil)
	l.program(l.prometheus)
	c.register("lts", l.URL+"/api/v1/write")
	c.lead(c.egress(to("lts", l)))
	c.batch("", 100, "a", "b")
	c.drained(t, "lts")
	c.batch("", 50, "a", "c")
	c.batch("", 101, "b")
	d := c.drained(t, "lts")
	if d.DeadLetter != 1 || d.Delivered != 4 || d.Redelivered != 0 {
		t.Errorf("delivered %d, redelivered %d, dead letters %d; want 4, 0, 1", d.Delivered, d.Redelivered, d.DeadLetter)
	}
	l.check(t, 4)
}

func TestFallBackToOnePointZero(t *testing.T) {
	for name, no := range map[string]answer{
		"415":                     {status: 415},
		"success without Written": {status: 204},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			l := newLTS(t, nil)
			l.program(func(w *write) answer {
				if w.protocol == wire.V2 {
					w.samples = nil // it reads an empty message
					return no
				}
				return ok
			})
			c.register("lts", l.URL+"/api/v1/write")
			for i := range 10 {
				c.batchV2(int64(i+1), "a", "b")
			}
			d := to("lts", l)
			d.Protocol = wire.V2
			c.lead(c.egress(d))
			got := c.drained(t, "lts")
			if got.Delivered != 20 {
				t.Errorf("delivered %d", got.Delivered)
			}
			l.check(t, 20)
			before := l.requests()
			c.batchV2(100, "a")
			c.drained(t, "lts")
			if n := l.requests() - before; n != 1 {
				t.Errorf("%d requests: the version was not remembered", n)
			}
		})
	}
}

func TestOldProtocolDestinationGetsOnePointZeroAtOnce(t *testing.T) {
	c := newCluster(t)
	l := newLTS(t, func(w *write) answer {
		if w.protocol != wire.V1 {
			return answer{status: 415}
		}
		return ok
	})
	c.register("lts", l.URL+"/api/v1/write")
	c.batchV2(1, "a", "b")
	c.batchV2(2, "a", "b")
	c.lead(c.egress(to("lts", l)))
	if d := c.drained(t, "lts"); d.Delivered != 4 || l.requests() != 1 {
		t.Errorf("delivered %d in %d requests", d.Delivered, l.requests())
	}
	l.check(t, 4)
}
