package handover

import "testing"

// The leader dies together with the current server, as on one machine; later just before the change that the next death
// calls for. What was kept is still there, on another node.
func TestLeaderAndSource(t *testing.T) {
	r := startRig(t, rigOptions{nodes: 3, leaders: true})
	leader := r.cluster.Leader()
	other := r.cluster.Followers()[0]
	a := r.server("a", 1, leader, serverOptions{})
	b := r.server("b", 2, other, serverOptions{shut: true})
	r.current("a")
	r.join(b)

	r.act("leader and current source killed together", 1)
	a.process.Kill()
	leader.Kill()
	r.restart(a)
	r.turn(b)
	leader.Start().WaitReady()
	r.join(a)

	r.act("leader killed between the source's death and the change", 1)
	b.process.Kill()
	r.scrapes(a, 3)
	second := r.cluster.Leader() // one of those that have not been killed: the first one has only just come back
	if second == leader {
		t.Fatal("the first leader leads again: its death would cut off a")
	}
	second.Kill()
	r.turn(a)
	second.Start().WaitReady()
	r.finish(a)
}
