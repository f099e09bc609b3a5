package egress

import (
	"testing"

	"github.com/highlander-io/highlander/fsm/wire"
)

// A window that was prepared as 2.0 before the endpoint turned out to speak 1.0 only is converted by its lanes, which are
// sent side by side: each must still get its own series.
func TestLanesFallBackToOnePointZero(t *testing.T) {
	c := newCluster(t)
	l := newLTS(t, nil)
	prepared := make(chan struct{})
	l.program(func(w *write) answer {
		if w.protocol == wire.V1 {
			return ok
		}
		w.samples = nil
		l.mu.Unlock()
		<-prepared
		l.mu.Lock()
		return answer{status: 415}
	})
	c.register("lts", l.URL+"/api/v1/write")
	for i := range 60 {
		c.batchV2(int64(i+1), names("m", 50)...)
	}
	d := to("lts", l)
	d.Protocol = wire.V2
	d.Queue.MaxShards, d.Queue.MaxSamplesPerSend = 4, 200
	c.lead(c.egress(d))
	eventually(t, "the window behind the first is read", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.read >= 30
	})
	stays(t, "the first is under way", func() bool { return l.count() == 0 })
	close(prepared)
	got := c.drained(t, "lts")
	if got.Delivered != 3000 {
		t.Errorf("delivered %d", got.Delivered)
	}
	l.check(t, 3000)
}

// E7: what an endpoint asks for holds for all lanes.
func TestLanesHonourRetryAfter(t *testing.T) {
	c := newCluster(t)
	l := newLTS(t, func(*write) answer {
		return answer{status: 429, header: map[string]string{"Retry-After": "3600"}}
	})
	c.register("lts", l.URL+"/api/v1/write")
	c.batch("", 1, names("m", 200)...)
	d := to("lts", l)
	d.Queue.MaxShards = 4
	e := c.egress(d)
	c.lead(e)
	eventually(t, "the endpoint has asked for a pause", func() bool { return e.state("lts").State == Retrying })
	stays(t, "one request of each lane", func() bool { return l.requests() == 4 })
}

// A refusal that says how much was written is final, in a lane as elsewhere: what was written is not sent again.
func TestLanesBelieveWrittenCounts(t *testing.T) {
	c := newCluster(t)
	l := newLTS(t, nil)
	l.program(func(w *write) answer {
		for _, p := range w.samples {
			if l.stored[p] {
				return answer{status: 400, body: "duplicate sample", header: writtenHeaders(0)}
			}
		}
		n := max(0, len(w.samples)-1)
		w.samples = w.samples[:n]
		return answer{status: 400, body: "one is bad", header: writtenHeaders(n), store: true}
	})
	c.register("lts", l.URL+"/api/v1/write")
	c.batchV2(1, names("m", 200)...)
	d := to("lts", l)
	d.Protocol = wire.V2
	d.Queue.MaxShards = 4
	c.lead(c.egress(d))
	got := c.drained(t, "lts")
	if got.Delivered != 196 || got.DeadLetter != 0 || got.Dropped[DroppedRefused] != 4 {
		t.Errorf("delivered %d, dead letters %d, dropped %v; want 196, 0, 4 refused", got.Delivered, got.DeadLetter, got.Dropped)
	}
	l.check(t, 196)
	if l.repeated != 0 || l.requests() != 4 {
		t.Errorf("%d samples sent again, %d requests, want one of each lane", l.repeated, l.requests())
	}
}
