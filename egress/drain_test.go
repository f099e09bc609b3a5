package egress

import (
	"testing"
	"time"

	"github.com/highlander-io/highlander/fsm/wire"
)

func TestDrainDeliversInOrderAndMerges(t *testing.T) {
	c := newCluster(t)
	l := newLTS(t, func(*write) answer { return ok })
	c.register("lts", l.URL+"/api/v1/write")
	list := names("m", 20)
	for i := range 200 {
		c.batch("", int64(i+1), list...)
		if i%10 == 0 {
			c.barrier()
		}
	}
	c.lead(c.egress(to("lts", l)))
	d := c.drained(t, "lts")
	if d.Delivered != 4000 || d.Redelivered != 0 {
		t.Fatalf("delivered %d, redelivered %d, want 4000, 0", d.Delivered, d.Redelivered)
	}
	l.check(t, 4000)
	if n := l.requests(); n > 20 {
		t.Errorf("a backlog of 200 small batches took %d requests: they were not merged", n)
	}
	for i := range 5 { // live traffic goes on behind it
		c.batch("", int64(1000+i), list...)
	}
	c.drained(t, "lts")
	l.check(t, 4100)
}

func TestDrainKeepsTenantsAndProtocolsApart(t *testing.T) {
	c := newCluster(t)
	l := newLTS(t, func(w *write) answer { return answer{status: 204, header: writtenHeaders(len(w.samples))} })
	c.register("lts", l.URL+"/api/v1/write")
	c.batch("one", 1, "a")
	c.batch("two", 1, "b")
	c.batch("two", 2, "b")
	c.batchV2(3, "c")
	d := to("lts", l)
	d.Protocol = wire.V2
	d.Headers = map[string]string{"X-Extra": "yes"}
	c.lead(c.egressWith(Options{Version: "1.2.3"}, d))
	c.drained(t, "lts")
	l.check(t, 4)
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.writes) != 3 {
		t.Fatalf("%d requests, want 3", len(l.writes))
	}
	for i, want := range []struct {
		tenant string
		p      wire.Protocol
	}{{"one", wire.V1}, {"two", wire.V1}, {"", wire.V2}} {
		w := l.writes[i]
		if w.header.Get(headerTenant) != want.tenant || w.protocol != want.p {
			t.Errorf("request %d: tenant %q, protocol %d", i, w.header.Get(headerTenant), w.protocol)
		}
		if w.header.Get("User-Agent") != "highlander/1.2.3" || w.header.Get("X-Extra") != "yes" {
			t.Errorf("request %d: headers %v", i, w.header)
		}
	}
}

func TestDrainRegistersNewDestinations(t *testing.T) {
	c := newCluster(t)
	l := newLTS(t, func(*write) answer { return ok })
	d := to("lts", l)
	d.URL = "http://user:secret@" + l.Listener.Addr().String() + "/api/v1/write"
	e := c.egress(d)
	c.lead(e)
	eventually(t, "registered", func() bool { return len(c.state.Destinations()) == 1 })
	if got := c.destination("lts").URL; got != l.URL+"/api/v1/write" {
		t.Errorf("registered as %q", got)
	}
	c.batch("", 1, "a")
	c.drained(t, "lts")
	l.mu.Lock()
	auth := l.writes[0].header.Get("Authorization")
	l.mu.Unlock()
	if auth == "" {
		t.Error("credentials of the URL were not sent")
	}
}

func TestDrainRetriesForEver(t *testing.T) {
	for name, bad := range map[string]answer{
		"500":              {status: 500, body: "no"},
		"503, seconds":     {status: 503, header: map[string]string{"Retry-After": "0"}},
		"429":              {status: 429},
		"connection cut":   {cut: true},
		"stored, then 504": {status: 504, store: true},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			tries := 0
			l := newLTS(t, nil)
			l.program(func(w *write) answer {
				if tries++; tries%8 != 0 {
					return bad
				}
				return ok
			})
			c.register("lts", l.URL+"/api/v1/write")
			for i := range 30 {
				c.batch("", int64(i+1), names("m", 10)...)
			}
			d := to("lts", l)
			d.Queue.MaxSamplesPerSend = 100
			logs := &logBuffer{}
			e := c.egressWith(Options{Logger: newLogger(logs)}, d)
			c.lead(e)
			got := c.drained(t, "lts")
			if got.Delivered != 300 {
				t.Errorf("delivered %d, want 300", got.Delivered)
			}
			l.check(t, 300)
			if l.most != 1 {
				t.Errorf("%d requests at once while failing, want 1", l.most)
			}
			if n := logs.count("destination fails"); n < 1 || n > 3 {
				t.Errorf("three streaks of failures made %d lines in the log", n)
			}
		})
	}
}

func TestDrainDeadEndpointThenAlive(t *testing.T) {
	c := newCluster(t)
	l := newLTS(t, func(*write) answer { return ok })
	d := to("lts", l)
	d.URL = "http://127.0.0.1:1/"
	e := c.egress(d)
	c.lead(e)
	eventually(t, "registered", func() bool { return len(c.state.Destinations()) == 1 })
	c.batch("", 1, "a")
	eventually(t, "retrying", func() bool { return e.state("lts").State == Retrying })
	if s := e.state("lts"); s.Error == "" || s.Oldest <= 0 {
		t.Errorf("status %+v", s)
	}
	if err := e.Reload([]Destination{to("lts", l)}); err != nil {
		t.Fatal(err)
	}
	got := c.drained(t, "lts")
	if got.URL != l.URL+"/api/v1/write" {
		t.Errorf("new url is not in the log: %q", got.URL)
	}
	l.check(t, 1)
	eventually(t, "up", func() bool { return e.state("lts").State == Up })
}

func TestDrainTwoDestinationsOneDead(t *testing.T) {
	c := newCluster(t)
	alive := newLTS(t, func(*write) answer { return ok })
	dead := newLTS(t, func(*write) answer { return answer{hang: true} })
	c.register("alive", alive.URL+"/api/v1/write")
	c.register("dead", dead.URL+"/api/v1/write")
	e := c.egress(to("alive", alive), to("dead", dead))
	stop := c.lead(e)
	for i := range 50 {
		c.batch("", int64(i+1), "a", "b")
	}
	c.drained(t, "alive")
	alive.check(t, 100)
	if d := c.destination("dead"); d.Backlog.Samples != 100 || !d.Balanced() {
		t.Errorf("dead destination: %+v", d)
	}
	stop() // while a request hangs: lead's own bound is the check
}

func TestDrainCursorsAreFewAndNeverForBookkeeping(t *testing.T) {
	c := newCluster(t)
	l := newLTS(t, func(*write) answer { return ok })
	c.register("lts", l.URL+"/api/v1/write")
	began := time.Now()
	c.lead(c.egress(to("lts", l)))
	for i := range 300 {
		c.batch("", int64(i+1), "a")
	}
	c.drained(t, "lts")
	c.mu.Lock()
	cursors := c.cursors
	entries := len(c.entries)
	c.mu.Unlock()
	if took := time.Since(began); cursors > 2+int(took/ackEvery) {
		t.Errorf("%d cursor commands for 300 batches in %v", cursors, took)
	}
	for range 50 {
		c.operate(&bookkeeping)
	}
	eventually(t, "another batch", func() bool { return l.count() == 300 })
	c.batch("", 1000, "a")
	c.drained(t, "lts")
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cursors != cursors+1 {
		t.Errorf("%d cursor commands for 50 bookkeeping entries and a batch, want 1", c.cursors-cursors)
	}
	if want := entries + 50 + 1 + 1; len(c.entries) != want {
		t.Errorf("the log has %d entries, want %d", len(c.entries), want)
	}
}

func TestDrainUncertainCursorCommand(t *testing.T) {
	c := newCluster(t)
	l := newLTS(t, func(*write) answer { return ok })
	c.register("lts", l.URL+"/api/v1/write")
	c.fail(map[int]bool{1: true, 3: false, 5: true}) // uncertain: applied, not applied, applied
	c.lead(c.egress(to("lts", l)))
	for i := range 20 {
		c.batch("", int64(i+1), "a", "b", "c")
	}
	d := c.drained(t, "lts")
	if d.Delivered != 60 || l.repeated != 0 {
		t.Errorf("delivered %d, repeated %d", d.Delivered, l.repeated)
	}
	l.check(t, 60)
}

func TestDrainSampleAgeLimit(t *testing.T) {
	c := newCluster(t)
	l := newLTS(t, func(*write) answer { return ok })
	c.register("lts", l.URL+"/api/v1/write")
	now := time.Now().UnixMilli()
	c.batch("", now-time.Hour.Milliseconds(), "old_a", "old_b")
	c.mixedAges(now-time.Hour.Milliseconds(), now)
	c.batch("", now, "new")
	d := to("lts", l)
	d.Queue.SampleAgeLimit = time.Minute
	c.lead(c.egress(d))
	got := c.drained(t, "lts")
	if got.Dropped[DroppedTooOld] != 3 || got.Delivered != 2 {
		t.Errorf("dropped %v, delivered %d; want 3 too old, 2 delivered", got.Dropped, got.Delivered)
	}
	l.check(t, 2)
}

// Whatever the backlog, no more is read than what is in flight and what goes next.
func TestDrainReadsNoFurtherThanTheNextRequest(t *testing.T) {
	c := newCluster(t)
	l := newLTS(t, func(*write) answer { return answer{hang: true} })
	c.register("lts", l.URL+"/api/v1/write")
	for i := range 500 {
		c.batch("", int64(i+1), names("m", 10)...)
	}
	d := to("lts", l)
	d.Queue.MaxSamplesPerSend = 100 // ten batches
	c.lead(c.egress(d))
	read := func() uint64 {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.read
	}
	eventually(t, "one in flight, one prepared", func() bool { return l.requests() >= 1 && read() >= 22 })
	// Registration, twice ten batches, and one that found no place.
	stays(t, "within two requests", func() bool { return read() <= 23 })
}
