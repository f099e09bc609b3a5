package handover

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/highlander-io/highlander/test/harness"
)

// delay is how slow the way between the nodes is while kept samples are passed on: each of them takes at least two.
const delay = 30 * time.Millisecond

// Everything that is kept must arrive, in order, and be accounted for, whoever dies while it is passed on.
func TestPassingIsInterrupted(t *testing.T) {
	r := startNumbered(t)
	a, b := r.source("a", 1), r.source("b", 2)
	a.Start(t)
	r.current("a")
	r.standby(b, 30)

	t.Log("the leader dies in the middle of passing on, and so does the next one")
	a.Kill()
	r.needed(b, a, 200)
	r.promote("b")
	r.passing("b", 15)
	first := r.cluster.Leader()
	first.Kill()
	r.slow(3 * delay) // some must be left when it is back, however long that takes
	r.cluster.Leader()
	first.Start().WaitReady()
	r.slow(delay)
	r.copied()
	r.passing("b", 15)
	second := r.cluster.Leader()
	second.Kill()
	r.slow(0)
	r.cluster.Leader()
	second.Start()
	r.accepted(b, 20)
	r.said("handover continued after a change of leader")
	r.cluster.WaitReady()

	t.Log("the follower with the only other copies dies in the middle")
	b.Stop()   // and not Kill: what is in flight would come behind what follows
	b.Start(t) // goes on with the present: a has nothing of the time that b was behind
	r.accepted(b, 10)
	follower := r.cluster.Followers()[0]
	r.standby(a, 30, follower)
	b.Kill()
	r.needed(a, b, 80)
	r.promote("a")
	r.passing("a", 15)
	follower.Kill()
	r.slow(0)
	r.accepted(a, 20)
	follower.Start().WaitReady()

	t.Log("a standby of which samples are kept is forgotten")
	c := r.source("c", 3)
	c.Step = 600 * time.Millisecond // so that its usual interval is soon known
	r.cluster.Set("sources", "failover_timeout", failover)
	for _, n := range r.cluster.Nodes {
		n.Reload()
	}
	r.standby(c, 3)
	harness.Eventually(t, "a standby that sends is not forgotten", func() error {
		out := r.node(0).Command("source", "forget", group, "c")
		if out.Code == 0 {
			t.Fatal("a standby that sends is forgotten")
		}
		if out.Code != 1 || !strings.Contains(out.Stderr, "it still sends; stop it, and try again in") {
			return fmt.Errorf("%+v", out) // a new leader may not have heard of it yet
		}
		return nil
	})
	c.Kill()
	harness.Eventually(t, "c is forgotten, and nothing is kept of it", func() error {
		out := r.node(0).Command("source", "forget", group, "c")
		g, err := r.group()
		if err == nil && (g.source("c").State != "" || g.Standby.Kept != 0) {
			err = fmt.Errorf("%s%+v", out.Stderr, g)
		}
		return err
	})
	r.finish(a)

	if n := len(r.passed()[2].terms); n < 3 {
		t.Errorf("the kept samples of the first change were passed on in %d terms: the leaders did not die in the middle", n)
	}
}

// A follower that restarts has lost its copies. It gets them again, so the leader may die soon after and take the only others
// along: nothing is missing of what the current source had left to the standby by then.
func TestCopiesAreMadeAnew(t *testing.T) {
	r := startNumbered(t)
	a, b := r.source("a", 1), r.source("b", 2)
	a.Start(t)
	r.current("a")
	follower := r.cluster.Followers()[0]
	r.standby(b, 30, follower)

	a.Kill() // what follows is needed, and on leader and follower only
	r.needed(b, a, 100)
	follower.Kill()
	follower.Start().WaitReady()
	harness.Eventually(t, "two copies of everything", func() error {
		kept, err := r.cluster.Leader().Metric("highlander_ingest_kept_requests") // first: more come meanwhile
		if err != nil {
			return err
		}
		copies := 0.0
		for _, n := range r.cluster.Followers() {
			held, err := n.Metric("highlander_ingest_kept_requests")
			if err != nil {
				return err
			}
			copies += held
		}
		if copies < kept {
			return fmt.Errorf("%v requests are kept, of %v there is a copy", kept, copies)
		}
		return nil
	})
	leader := r.cluster.Leader()
	leader.Kill()
	r.admin("source", "promote", group, "b")
	r.accepted(b, 20)
	leader.Start().WaitReady()
	r.finish(b)
}

// said requires that a node has written a message. It may do so a little after what it tells of.
func (r *numbered) said(message string) {
	r.t.Helper()
	harness.Eventually(r.t, "a node that says what it did", func() error {
		for _, n := range r.cluster.Nodes {
			if strings.Contains(n.Process.Output(), message) {
				return nil
			}
		}
		return fmt.Errorf("nobody has said %q", message)
	})
}
