package ingest

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/highlander-io/highlander/fsm"
)

// What is kept of a source that is gone does not keep it from being forgotten; that of one that still sends does.
func TestForgottenWithKeptSamples(t *testing.T) {
	c := newColony(t, 3)
	a, b := newProm("a", 0), newProm("b", 2*time.Second)
	b.via = 1
	c.run(time.Minute, a, b)
	l, id := c.leading(), fsm.GroupID{Name: "g"}
	err := l.h.GiveUp(t.Context(), id, "b")
	if !errors.Is(err, fsm.ErrInUse) || !strings.Contains(err.Error(), "still sends; stop it, and try again in 1") {
		t.Fatalf("a source that sends is given up: %v", err)
	}
	if c.state().Standby.Kept == 0 {
		t.Fatal("nothing is kept")
	}
	b.kill()
	c.run(16*time.Second, a, b)
	if err := l.h.GiveUp(t.Context(), id, "b"); err != nil {
		t.Fatal(err)
	}
	(&desk{TB: t, node: c.log, clock: c.clock}).operate(fsm.SourceOp{Op: "forget", Group: id, Source: "b"})
	l.h.Forget(id, "b")
	for i, m := range c.members {
		if n, _ := m.h.window.held(); n != 0 {
			t.Errorf("member %d still keeps %d requests", i, n)
		}
	}
	g := c.state()
	if len(g.Sources) != 1 || g.Standby.Kept != 0 || g.Standby.Discarded == 0 || !g.Standby.Balanced() {
		t.Errorf("sources %+v, books %+v", g.Sources, g.Standby)
	}
	if err := l.h.GiveUp(t.Context(), id, "a"); err != nil {
		t.Error("the current source is for the log to refuse", err)
	}
}

// Soon after a pin has deposed the heaviest source what is kept of it does not reach back yet. Once the pin is gone it comes
// back without a turn of another one in between.
func TestUnpinnedGroupChangesOnce(t *testing.T) {
	c := newColony(t, 3, func(o *Options) { o.Policy.FailoverTimeout, o.Policy.PreemptAfter = 5*time.Second, 3*time.Second })
	a, b, x := newProm("a", 0), newProm("b", 400*time.Millisecond), newProm("c", 700*time.Millisecond)
	for _, p := range []*prom{a, b, x} {
		p.interval = time.Second
	}
	wish := func(op fsm.SourceOp) {
		op.Group.Name = "g"
		(&desk{TB: t, node: c.log, clock: c.clock}).operate(op)
	}
	c.run(time.Minute, a, b, x)
	wish(fsm.SourceOp{Op: "pin", Source: "b"})
	c.run(4*time.Second, a, b, x)
	wish(fsm.SourceOp{Op: "weight", Source: "c", Weight: 10})
	wish(fsm.SourceOp{Op: "weight", Source: "a", Weight: 20})
	wish(fsm.SourceOp{Op: "unpin"})
	c.run(20*time.Second, a, b, x)
	c.current("a")
	if h := c.state().History; len(h) != 3 {
		t.Errorf("history %+v", h)
	}
	c.check(a.interval+guard, a, b, x)
}

// onTheWay lets something happen while messages of a kind are on their way to a member.
func (m *memberNode) onTheWay(path string, happen func()) {
	inner := m.routes
	m.routes = http.NewServeMux()
	m.routes.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == path {
			happen()
		}
		inner.ServeHTTP(w, r)
	})
}

// copies is on how many members something is kept of b that one of its own requests brought.
func (c *colony) copies(body []byte) (n int) {
	id := keptID(new(xxh3.Hasher), fsm.GroupID{Name: "g"}, "b", body)
	for _, m := range c.members {
		if m.h.window.get(id) != nil {
			n++
		}
	}
	return n
}

// A source that is back while members are told that it is gone has what it is answered 202 for now on two nodes.
func TestBackWhileItIsForgotten(t *testing.T) {
	for name, known := range map[string]bool{"after a silence": true, "for the first time": false} {
		t.Run(name, func(t *testing.T) {
			c := newColony(t, 3)
			a, b := newProm("a", 0), newProm("b", 2*time.Second)
			b.via, b.dead = 1, !known
			c.run(time.Minute, a, b)
			b.kill()
			c.run(16*time.Second, a)
			body := bodyV1(t, series(c.clock.Now(), "__name__", "m"))
			back := sync.OnceFunc(func() {
				w := httptest.NewRecorder()
				c.members[1].h.ServeHTTP(w, newPost(body, by("g", "b")))
				if w.Code != http.StatusAccepted {
					t.Errorf("status %d: %s", w.Code, w.Body)
				}
			})
			c.members[1].onTheWay(KeptReleasePath, back)
			if err := c.leading().h.GiveUp(t.Context(), fsm.GroupID{Name: "g"}, "b"); err != nil {
				t.Fatal(err)
			}
			if n := c.copies(body); n != 2 {
				t.Errorf("what was answered 202 is on %d nodes", n)
			}
			if items, _ := c.leading().h.window.held(); items != 1 {
				t.Errorf("%d requests are kept, one came after the source was given up", items)
			}
			c.leading().h.Forget(fsm.GroupID{Name: "g"}, "b")
			c.run(3*time.Minute, a)
			if n := c.copies(body); n != 0 {
				t.Errorf("it is still on %d nodes, though the current source has passed it", n)
			}
		})
	}
}

// A request that has been under way for longer than its source would have to be silent is not given up behind its back.
func TestForgottenWhileItIsAnswered(t *testing.T) {
	c := newColony(t, 3, func(o *Options) { o.Policy.FailoverTimeout = 2 * time.Second })
	a, b := newProm("a", 0), newProm("b", 2*time.Second)
	a.interval, b.interval = time.Second, time.Second
	c.run(time.Minute, a, b)
	c.run(500*time.Millisecond, a)
	l, err := c.leading(), error(nil)
	c.members[1].onTheWay(KeptPath, func() {
		c.clock.advance(5 * time.Second)
		err = l.h.GiveUp(t.Context(), fsm.GroupID{Name: "g"}, "b")
	})
	body := bodyV1(t, series(c.clock.Now(), "__name__", "m"))
	w := httptest.NewRecorder()
	l.h.ServeHTTP(w, newPost(body, by("g", "b")))
	if n := c.copies(body); w.Code != http.StatusAccepted || n != 2 {
		t.Errorf("status %d, on %d nodes", w.Code, n)
	}
	if !errors.Is(err, fsm.ErrInUse) {
		t.Errorf("it was forgotten meanwhile: %v", err)
	}
}

// A member that was not there when a source was given up still has what then comes again. It must not drop it sooner than the
// leader does, who takes it for new.
func TestForgottenAndSentAgain(t *testing.T) {
	c := newColony(t, 3)
	a, b := newProm("a", 0), newProm("b", 2*time.Second)
	c.run(time.Minute, a, b)
	b.kill()
	body := bodyV1(t, series(c.clock.Now(), "__name__", "m"))
	send := func(status int) {
		t.Helper()
		w := httptest.NewRecorder()
		c.members[1].h.ServeHTTP(w, newPost(body, by("g", "b")))
		if w.Code != status {
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
	}
	send(http.StatusAccepted)
	c.run(14*time.Second, a)
	c.members[1].down.Store(true)
	c.run(2*time.Second, a)
	if err := c.leading().h.GiveUp(t.Context(), fsm.GroupID{Name: "g"}, "b"); err != nil {
		t.Fatal(err)
	}
	c.members[1].down.Store(false)
	send(http.StatusAccepted)
	c.run(time.Minute, a)
	if n := c.copies(body); n != 2 {
		t.Errorf("what was answered 202 is on %d nodes", n)
	}
	c.run(time.Minute, a)
	if n := c.copies(body); n != 0 {
		t.Errorf("it is still on %d nodes, though the current source has passed it", n)
	}
}
