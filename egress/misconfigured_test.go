package egress

import (
	"strings"
	"testing"

	"github.com/highlander-io/highlander/fsm"
)

var errLost = fsm.ErrEpoch // any error will do: nobody knows what became of a proposal

// E8: an endpoint that refuses everything holds everything, loses nothing, says so once, and goes on by itself.
func TestMisconfiguredHoldsEverything(t *testing.T) {
	for name, bad := range map[string]answer{
		"400": {status: 400, body: "no tenant"}, "401": {status: 401, body: "who are you"}, "403": {status: 403},
		"404": {status: 404}, "405": {status: 405}, "302": {status: 302, header: map[string]string{"Location": "/login"}},
		"415": {status: 415}, "418": {status: 418}, "413": {status: 413},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			l := newLTS(t, func(*write) answer { return bad })
			c.register("lts", l.URL+"/api/v1/write")
			for i := range 40 {
				c.batch("", int64(i+1), names("m", 25)...)
			}
			logs := &logBuffer{}
			d := to("lts", l)
			d.Queue.MaxSamplesPerSend = 100
			e := c.egressWith(Options{Logger: newLogger(logs)}, d)
			c.lead(e)
			eventually(t, "held", func() bool { return e.state("lts").State == Held })
			n := l.requests()
			eventually(t, "probing", func() bool { return l.requests() > n+20 })
			if s := e.state("lts"); s.State != Held || !strings.Contains(s.Error, name) {
				t.Errorf("status %+v", s)
			}
			if got := c.destination("lts"); got.Cursor != 1 || got.Backlog.Samples != 1000 || c.state.DeadLetterBytes() != 0 {
				t.Fatalf("something was given up: %+v", got)
			}
			if n := logs.count("destination is held"); n != 1 {
				t.Errorf("said so %d times in the log", n)
			}
			l.program(func(*write) answer { return ok })
			got := c.drained(t, "lts")
			if got.Delivered != 1000 {
				t.Errorf("delivered %d, dead letters %d", got.Delivered, got.DeadLetter)
			}
			l.check(t, 1000)
			if l.most != 1 {
				t.Errorf("%d requests at once", l.most)
			}
			eventually(t, "up", func() bool { return e.state("lts").State == Up })
		})
	}
}

// The same 400 for every request, but an empty one is taken: several unrelated requests prove it.
func TestMisconfiguredButEmptyIsTaken(t *testing.T) {
	c := newCluster(t)
	l := newLTS(t, func(w *write) answer {
		if len(w.series) == 0 {
			return ok
		}
		return answer{status: 400, body: "quota"}
	})
	c.register("lts", l.URL+"/api/v1/write")
	d := to("lts", l)
	d.Queue.MaxSamplesPerSend = 10 // one batch, one request
	e := c.egress(d)
	c.lead(e)
	for i := range 20 {
		c.batch("", int64(i+1), names("m", 10)...)
	}
	eventually(t, "held", func() bool { return e.state("lts").State == Held })
	if d := c.destination("lts"); d.Cursor != 1 || c.state.DeadLetterBytes() != 0 {
		t.Fatalf("something was given up: %+v", d)
	}
	mended := false // at a moment when the first window is tried
	l.program(func(w *write) answer {
		mended = mended || len(w.samples) > 1 && w.samples[0].t == 1
		if mended {
			return ok
		}
		return answer{status: 400, body: "quota"}
	})
	got := c.drained(t, "lts")
	if got.Delivered != 200 || got.DeadLetter != 0 {
		t.Errorf("delivered %d, dead letters %d", got.Delivered, got.DeadLetter)
	}
	l.check(t, 200)
}

// One window of poison at an endpoint that refuses empty requests, always: other windows show that it lives.
func TestPoisonWhereEmptyIsRefused(t *testing.T) {
	c := newCluster(t)
	l := newLTS(t, func(w *write) answer {
		if len(w.series) == 0 || w.series["bad"] {
			return answer{status: 400, body: "nothing in it"}
		}
		return ok
	})
	c.register("lts", l.URL+"/api/v1/write")
	e := c.egress(to("lts", l))
	c.lead(e)
	c.batch("", 1, "bad")
	eventually(t, "held", func() bool { return e.state("lts").State == Held })
	for i := range 10 {
		c.batch("", int64(i+2), "a", "b")
	}
	d := c.drained(t, "lts")
	if d.Delivered != 20 || d.DeadLetter != 1 {
		t.Errorf("delivered %d, dead letters %d", d.Delivered, d.DeadLetter)
	}
	l.check(t, 20)
}
