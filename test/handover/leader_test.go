package handover

import (
	"fmt"
	"testing"

	"github.com/highlander-io/highlander/test/harness"
)

// The leader dies together with the current server, as on one machine; later just before the change that the next death
// calls for. What was kept is still there, on another node.
func TestLeaderAndSource(t *testing.T) {
	r := startRig(t, rigOptions{nodes: 3, leaders: true})
	leader, other := r.node(0), r.node(1)
	a := r.server("a", 1, leader, serverOptions{})
	b := r.server("b", 2, other, serverOptions{shut: true})
	r.current("a")
	r.join(b)

	r.act("leader and current source killed together", 1)
	r.lead(leader)
	a.process.Kill()
	leader.Kill()
	r.restart(a)
	r.takeover(b)
	leader.Start().WaitReady()
	r.join(a)

	r.act("leader killed between the source's death and the change", 1)
	b.process.Kill()
	r.scrapes(a, 3)
	r.lead(other) // the death of the first one would cut off a
	other.Kill()
	r.takeover(a)
	other.Start().WaitReady()
	r.finish(a)
}

// lead sees to it that a node leads.
func (r *rig) lead(n *harness.Node) {
	r.t.Helper()
	harness.Eventually(r.t, n.ID+" leads", func() error {
		leader := r.cluster.Leader()
		if leader == n {
			return nil
		}
		result := leader.Command("cluster", "transfer-leadership", n.ID)
		return fmt.Errorf("%s leads; transfer of leadership: %+v", leader.ID, result)
	})
}
