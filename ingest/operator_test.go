package ingest

import (
	"errors"
	"strings"
	"testing"
	"time"

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
