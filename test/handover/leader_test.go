package handover

import "testing"

// The leader dies together with the current server, as on one machine; later just before the change that the next death
// calls for. What was kept is still there, on another node.
func TestLeaderAndSource(t *testing.T) {
	r := startRig(t, rigOptions{nodes: 3, leaders: true})
	leader := r.cluster.Leader()
	other := r.cluster.Followers()[0]
	a := r.server("a", 1, leader, serverOptions{})
	r.current("a")
	b := r.server("b", 2, other, serverOptions{})
	r.standby("b")
	r.scrapes(b, 3)

	r.act("leader and current source killed together", 1)
	a.process.Kill()
	leader.Kill()
	r.turn(b)
	leader.Start().WaitReady()
	r.back(a)

	r.act("leader killed between the source's death and the change", 1)
	b.process.Kill()
	r.scrapes(a, 3)
	second := r.cluster.Leader()
	if second == leader {
		t.Fatal("the node that was killed leads again: a would lose its way to the cluster")
	}
	second.Kill()
	r.turn(a)
	second.Start().WaitReady()
	r.finish(a)
}
