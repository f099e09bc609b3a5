//go:build linux

package faults

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/highlander-io/highlander/test/harness"
)

// freeze hangs a node's disk until the returned function is called, or the test ends.
func (r *rig) freeze(d *Disk) (thaw func()) {
	r.t.Helper()
	release, err := d.Freeze()
	if err != nil {
		r.t.Skipf("NOT TESTED: no frozen file systems here: %v", err)
	}
	frozen := true
	thaw = func() {
		r.t.Helper()
		if !frozen {
			return
		}
		frozen = false
		if err := release(); err != nil {
			r.t.Error(err)
		}
	}
	r.t.Cleanup(thaw)
	return thaw
}

// freezeLeader hangs the disk of a node that leads when that happens.
func (r *rig) freezeLeader(n *harness.Node, d *Disk) (thaw func()) {
	r.t.Helper()
	harness.Eventually(r.t, n.ID+" to lead when its disk hangs", func() error {
		if err := r.tryLead(n); err != nil {
			return err
		}
		thaw = r.freeze(d)
		s, err := n.Status()
		if err == nil && s.Node.Role != "leader" {
			err = fmt.Errorf("it is %s", s.Node.Role)
		}
		if err != nil {
			thaw()
		}
		return err
	})
	return thaw
}

// gaveUp waits until a node has said that its disk hangs, and ends it. The kernel lets it go only when the disk is back.
func (r *rig) gaveUp(n *harness.Node, thaw func()) {
	r.t.Helper()
	harness.Eventually(r.t, n.ID+" to give up", func() error {
		return unless(strings.Contains(n.Process.Output(), "the disk hangs"), n.Process.Output)
	})
	thaw()
	if code, err := n.Process.Exit(harness.Patience); err != nil || code != 1 {
		r.t.Errorf("node %s with a hanging disk: status %d, %v; want 1", n.ID, code, err)
	}
}

// A disk hangs under the leader, then under a follower. The others go on without it, the node acknowledges nothing while
// its disk hangs, ends for its supervisor to start it again, and nothing is lost.
func TestHangingDisk(t *testing.T) {
	r, disks := diskRig(t)
	a, b := r.pair()
	var before *harness.Node // what it has said must not be taken for the next one's
	for _, role := range []string{"leader", "follower"} {
		victim := r.cluster.Leader()
		if role == "follower" {
			victim = r.cluster.Followers()[0]
			if victim == before {
				victim = r.cluster.Followers()[1]
			}
		}
		before = victim
		c := r.only(victim)
		var thaw func()
		if role == "leader" { // a follower passes on what others acknowledge
			thaw = r.freezeLeader(victim, disks[victim.ID])
			r.unacknowledged(c, c.Accepted.Load(), c.Failed.Load())
		} else {
			thaw = r.freeze(disks[victim.ID])
		}
		r.leader(r.others(victim)...)
		r.flowing(a)
		r.gaveUp(victim, thaw)
		victim.Start().WaitReady()
		r.flowing(a)
	}
	r.answered(b)
	r.alive()
	r.finish(afterwards)
}

// A hang that is shorter than the watchdogs' patience, but longer than an election: nobody ends, nothing is lost.
func TestDiskHangsForAMoment(t *testing.T) {
	r, disks := diskRig(t)
	a, _ := r.pair()
	began := time.Now()
	for {
		leader := r.cluster.Leader()
		hung := r.moment(disks[leader.ID])
		r.flowing(a)
		if hung < stall {
			break
		}
		if time.Since(began) > harness.Patience {
			t.Fatalf("this machine never lets a disk hang for less than %v", stall)
		}
		t.Logf("this machine was held up: the disk of %s hung for %v, which may end it; again", leader.ID, hung)
		leader.Kill()
		leader.Start().WaitReady()
	}
	r.alive()
	r.finish(afterwards)
}

// stall is less than how long a node bears a disk that hangs.
const stall = 4 * time.Second

// moment hangs a disk for two seconds, and says how long it really was at most.
func (r *rig) moment(d *Disk) time.Duration {
	r.t.Helper()
	began := time.Now()
	thaw := r.freeze(d)
	timer := time.NewTimer(2 * time.Second) // how long a fault lasts is no condition
	<-timer.C
	thaw()
	return time.Since(began)
}

// only starts a source that sends to one node alone, whose answers are thereby that node's own.
func (r *rig) only(n *harness.Node) *harness.Source {
	r.t.Helper()
	s := &harness.Source{
		Group: fmt.Sprint("only", len(r.sources)), Name: "c", Number: 3, URLs: []string{n.WriteURL()}, Log: r.log, Dial: r.wire.Space("a").Dial, Shards: 2, Base: base,
	}
	r.sources = append(r.sources, s)
	s.Start(r.t)
	r.flowing(s)
	return s
}

// unacknowledged waits until a node has not answered a request of a source, and demands that it has acknowledged none
// since its disk hangs but what it had on its disk by then: one of each shard.
func (r *rig) unacknowledged(s *harness.Source, accepted, failed int64) {
	r.t.Helper()
	harness.Eventually(r.t, "unanswered requests of "+s.Name, func() error { return unless(s.Failed.Load() > failed, s.Summary) })
	if now := s.Accepted.Load(); now > accepted+int64(s.Shards) {
		r.t.Errorf("with a hanging disk %d requests were acknowledged", now-accepted)
	}
}

// The disk of a single node hangs: nothing is acknowledged meanwhile, and nothing is lost.
func TestHangingDiskOfASingleNode(t *testing.T) {
	r, n := soloRig(t)
	disk := NewDisk(t, n.Dir, 96)
	r.cluster.Set("storage", "min_free_bytes", "16MiB")
	n.Start().WaitReady()
	a := r.source("a", 1).Start(t)
	r.flowing(a)
	thaw := r.freeze(disk)
	r.unacknowledged(a, a.Accepted.Load(), a.Failed.Load())
	r.gaveUp(n, thaw)
	n.Start().WaitReady()
	r.flowing(a)
	r.alive()
	r.finish(afterwards)
}
