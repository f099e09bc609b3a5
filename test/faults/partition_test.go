//go:build linux

package faults

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/highlander-io/highlander/test/harness"
	"github.com/highlander-io/highlander/test/history"
)

// afterwards is what must hold after any number of changes of leader and of source: a bounded tail may be repeated, and
// kept samples fill gaps.
var afterwards = history.Rules{Repeats: true, Kept: true, Counters: true}

// A leader that only its sources still reach gives no 2xx of any kind: the other side would not know of it. Nor does it
// show its state as the present one.
func TestDeposedLeaderAnswersNothing(t *testing.T) {
	r := startRig(t)
	r.deposed(r.cluster.Leader())
	r.finish(afterwards)
}

// The same with a node that still follows and has no vote: two of four nodes, whose answers do not make a majority of three.
func TestDeposedLeaderWithNonvoter(t *testing.T) {
	r := newRig(t, "n1", "n2", "n3", "n4")
	fourth := r.cluster.Nodes[3]
	r.cluster = harness.ClusterOf(t, r.cluster.Nodes[:3]...)
	r.cluster.Start().WaitReady()
	leader := r.cluster.Leader()

	for tries := 1; !r.nonvoter(leader, fourth); tries++ {
		if tries == 5 {
			t.Fatal("n4 always has a vote before it can be stopped")
		}
		t.Log("n4 had a vote before it was stopped: again, without it")
		fourth.Kill()
		fourth.Wipe()
		harness.Eventually(t, "the end of n4", func() error {
			told := leader.Command("cluster", "remove", "n4", "--force")
			s := r.status()
			return unless(len(s.Cluster.Nodes) == 3, func() string { return fmt.Sprintf("%+v; %+v", s.Cluster.Nodes, told) })
		})
	}
	r.deposed(leader, fourth)
	r.cluster.Nodes = append(r.cluster.Nodes, fourth)
	r.cluster.Voters(4)
	r.finish(afterwards)
}

// member waits until a node sees another one as a member.
func (r *rig) member(v *harness.Node, id string) (m harness.Member) {
	r.t.Helper()
	harness.Eventually(r.t, "member "+id, func() error {
		s, err := v.Status()
		if err != nil {
			return err
		}
		i := slices.IndexFunc(s.Cluster.Nodes, func(m harness.Member) bool { return m.ID == id })
		if i < 0 {
			return fmt.Errorf("members %+v", s.Cluster.Nodes)
		}
		m = s.Cluster.Nodes[i]
		return nil
	})
	return m
}

// nonvoter starts a node and stops it when it has become a member. It gets a vote when it says that it has caught up: this
// tells whether it was stopped before it could.
func (r *rig) nonvoter(leader, n *harness.Node) bool {
	r.t.Helper()
	r.wire.Each([]string{n.ID}, r.wire.rest(nil), Link{Delay: 260 * time.Millisecond})
	n.Start()
	r.member(leader, n.ID)
	n.Pause()
	r.wire.Split(n.ID) // also from what it has just said
	var m harness.Member
	harness.Eventually(r.t, n.ID+" out of reach", func() error {
		m = r.member(leader, n.ID)
		return unless(!m.Reachable, func() string { return fmt.Sprintf("%+v", m) })
	})
	return !m.Voter
}

// deposed cuts a leader, its sources and its companions off from the other voters, watches, and heals.
func (r *rig) deposed(old *harness.Node, companions ...*harness.Node) {
	r.t.Helper()
	a, b := r.pair()
	rest := r.others(old)
	side, here := []string{old.ID}, append([]*harness.Node{old}, companions...)
	for _, v := range companions {
		side = append(side, v.ID)
	}
	// The probes' group has a current source and a standby, known to everybody before the cut.
	current, standby := r.probe("pa", 3, "a", here...), r.probe("pb", 4, "b", here...)
	elsewhere := r.probe("pb", 5, "b", rest...)
	current.Burst(r.t, 1)
	standby.Base = base.Add(standby.Step / 2) // so that what pb sends here and there has different times
	standby.Burst(r.t, 1)
	if current.Accepted.Load() == 0 || standby.Standby.Load() == 0 {
		r.t.Fatalf("want 204 and 202: %s; %s", current.Summary(), standby.Summary())
	}
	before := current.Accepted.Load() + standby.Standby.Load() + standby.Accepted.Load()

	r.lead(old) // perhaps it does not any more
	r.wire.Each(side, []string{rest[0].ID, rest[1].ID, "lts"}, Link{Cut: true})
	r.wire.Each(side, append([]string{"a", "b"}, side...), Link{})
	for _, v := range companions { // not before: it could get a vote
		v.Resume()
	}
	current.Start(r.t)
	standby.Start(r.t)
	elsewhere.Start(r.t)
	var shown harness.Status
	harness.Eventually(r.t, "the status of "+old.ID, func() (err error) {
		shown, err = old.Status()
		return err
	})
	if !shown.Stale {
		r.t.Error("a leader that nobody confirms shows its state as the present one")
	}
	r.leader(rest...)
	r.answered(a)
	r.answered(b)
	r.taught(elsewhere)
	r.flowing(elsewhere) // the other side has elected pb, so a 202 to it would lose samples
	for _, s := range []*harness.Source{current, standby} {
		harness.Eventually(r.t, "an answer to a probe", func() error { return unless(s.Failed.Load() > 0, s.Summary) })
		s.Kill()
	}
	if after := current.Accepted.Load() + standby.Standby.Load() + standby.Accepted.Load(); after != before {
		r.t.Errorf("a leader without a majority answered 2xx: %s; %s", current.Summary(), standby.Summary())
	}
	r.wire.Heal()
	r.answered(a)
}

// probe adds a source of a group of its own that writes to some nodes only.
func (r *rig) probe(name string, number int, space string, nodes ...*harness.Node) *harness.Source {
	s := &harness.Source{
		Group: "p", Name: name, Number: number, Log: r.log, Dial: r.wire.Space(space).Dial,
		Series: 5, Step: 100 * time.Millisecond, Base: base,
	}
	for _, n := range nodes {
		s.URLs = append(s.URLs, n.WriteURL())
	}
	r.sources = append(r.sources, s)
	return s
}

// What a leader acknowledged just before it was cut off for ever is known to the others.
func TestLeaderLostWithItsSource(t *testing.T) {
	r := startRig(t)
	old := r.cluster.Leader()
	a := r.source("a", 1, old)
	a.Start(t)
	r.flowing(a)
	r.lts.Hang() // so that the others have something to deliver
	r.flowing(a)
	r.wire.Split(old.ID, "a")
	a.Kill()
	old.Kill()
	r.lts.Release()
	r.leader(r.others(old)...)
	b := r.source("b", 2, r.others(old)...).Start(t)
	r.taught(b)
	r.flowing(b)
	b.Stop()
	old.Wipe()
	r.wire.Heal()
	old.Start()
	r.settle(afterwards)
}

// One direction between the leader and the others is lost: whoever can still be followed leads, and all goes on.
func TestOneWayLoss(t *testing.T) {
	r := startRig(t)
	a, b := r.pair()
	for _, outward := range []bool{true, false} {
		old := r.cluster.Leader()
		for _, n := range r.others(old) {
			if outward {
				r.wire.Set(old.ID, n.ID, Link{Cut: true})
			} else {
				r.wire.Set(n.ID, old.ID, Link{Cut: true})
			}
		}
		r.leader(r.others(old)...)
		r.answered(a)
		r.answered(b)
		r.wire.Heal()
		r.cluster.WaitReady()
		r.answered(a)
	}
	r.finish(afterwards)
}

// Links with delay and loss cost time, not samples, and no node.
func TestSlowLossyLinks(t *testing.T) {
	r := startRig(t)
	a, b := r.pair()
	nodes := []string{"n1", "n2", "n3"}
	for _, link := range []Link{
		{Delay: 20 * time.Millisecond, Jitter: 20 * time.Millisecond},
		{Delay: 5 * time.Millisecond, Loss: 0.05},
		{Loss: 0.2},
	} {
		r.wire.Each(nodes, nodes, link)
		r.wire.Each(nodes, []string{"lts", "a", "b"}, link)
		r.answered(a)
		r.answered(b)
	}
	r.wire.Heal()
	r.finish(afterwards)
}

// A leader that is cut off together with the LTS delivers nothing that the others do not know, and little twice.
func TestLeaderIsolatedWithLTS(t *testing.T) {
	r := startRig(t)
	a, b := r.pair()
	old := r.cluster.Leader()
	r.wire.Split(old.ID, "lts")
	r.leader(r.others(old)...)
	r.answered(a)
	r.answered(b)
	r.wire.Heal()
	r.finish(afterwards)
	d, _ := r.destination(r.cluster.Leader())
	t.Logf("redelivered and refused as such: %d", d.Samples.Redelivered)
}
