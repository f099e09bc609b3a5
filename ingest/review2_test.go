package ingest

import (
	"testing"
	"time"

	"github.com/highlander-io/highlander/fsm"
)

// A source that is gone for good is forgotten after forget_after, however often the leader changes.
func TestReviewGoneSourceIsForgotten(t *testing.T) {
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
