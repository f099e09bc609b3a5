package handover

import (
	"errors"
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
	first := r.leader()
	a.Kill()
	r.kept(b, 200)
	r.promote("b")
	r.passing("b", 15)
	first.Kill()
	second := r.leader(first)
	first.Start().WaitReady()
	harness.Eventually(t, "two copies of everything", func() error {
		alone, err := metric(second, "highlander_ingest_kept_underreplicated_requests")
		if err == nil && alone > 0 {
			err = fmt.Errorf("%v requests are kept on one node", alone)
		}
		return err
	})
	r.passing("b", 15)
	second.Kill()
	r.slow(0)
	third := r.leader(second)
	second.Start()
	r.accepted(b, 20)
	r.said(third, "handover continued after a change of leader")
	r.cluster.WaitReady()

	t.Log("the follower with the only other copies dies in the middle")
	b.Stop()   // and not Kill: what is in flight would come behind what follows
	b.Start(t) // goes on with the present: a has nothing of the time that b was behind
	r.accepted(b, 10)
	follower := r.cluster.Followers()[0]
	r.standby(a, 30, follower)
	b.Kill()
	r.kept(a, 80)
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
	if out := r.node(0).Command("source", "forget", group, "c"); out.Code != 1 || !strings.Contains(out.Stderr, "it still sends; stop it, and try again in") {
		t.Errorf("a standby that sends is forgotten: %+v", out)
	}
	c.Kill()
	harness.Eventually(t, "c is forgotten", func() error {
		if out := r.node(0).Command("source", "forget", group, "c"); out.Code != 0 {
			return errors.New(out.Stderr)
		}
		return nil
	})
	r.until("nothing is kept of it", func(g groupStatus) bool { return g.source("c").State == "" && g.Standby.Kept == 0 })
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
	leader, follower := r.leader(), r.cluster.Followers()[0]
	r.standby(b, 30, follower)

	a.Kill() // what follows is needed, and on leader and follower only
	r.kept(b, 100)
	follower.Kill()
	follower.Start().WaitReady()
	harness.Eventually(t, "two copies of everything", func() error {
		kept, err := metric(leader, "highlander_ingest_kept_requests") // first: more come meanwhile
		if err != nil {
			return err
		}
		copies := 0.0
		for _, n := range r.cluster.Followers() {
			held, err := metric(n, "highlander_ingest_kept_requests")
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
	leader.Kill()
	r.leader(leader)
	r.admin("source", "promote", group, "b")
	r.accepted(b, 20)
	leader.Start().WaitReady()
	r.finish(b)
}

// said requires that a node has written a message.
func (r *numbered) said(n *harness.Node, message string) {
	r.t.Helper()
	if !strings.Contains(n.Process.Output(), message) {
		r.t.Errorf("node %s has not said %q", n.ID, message)
	}
}
