//go:build linux

package faults

import (
	"fmt"
	"strings"
	"testing"

	"github.com/highlander-io/highlander/test/harness"
)

// Somebody else's file takes the space of one node. With drop_oldest the cluster gives up its oldest batches, counted, until
// the disk has its reserve again; it does not give up more, and new samples go on while the file is still there.
func TestDropOldestForFreeSpace(t *testing.T) {
	r, disks := diskRig(t, "n2")
	r.cluster.Set("storage", "when_full", "drop_oldest").Set("storage", "min_free_bytes", "8MiB").Set("handover", "window_bytes", "1MiB")
	r.restart()
	a := r.bulk("a", 1)
	r.lts.Down()
	for logged := int64(0); logged < 7<<20; logged = r.walBytes(r.cluster.Nodes[1]) {
		a.Burst(t, 8)
	}
	if err := disks["n2"].Fill(7<<20 + 512<<10); err != nil { // a little less than storage.min_free_bytes
		t.Fatal(err)
	}
	harness.Eventually(t, "batches to be dropped", func() error { return unless(r.dropped() > 0, a.Summary) })
	r.saysFull(r.cluster.Nodes[1], false)
	a.Burst(t, 3)
	harness.Eventually(t, "the reserve of n2", func() error { // what was just written may have cost more
		free := disks["n2"].Free()
		return unless(free >= 8<<20, func() string { return fmt.Sprintf("%d bytes are free", free) })
	})
	dropped := r.dropped()
	if total := a.Accepted.Load() * int64(a.Series/a.Shards); dropped > uint64(total)*3/4 {
		t.Errorf("%d of %d samples were dropped for a little space", dropped, total)
	}
	if err := disks["n2"].Empty(); err != nil {
		t.Fatal(err)
	}
	r.lts.Up()
	r.alive()
	r.settle(afterwards)
	dropped = r.dropped() // until the file was gone there may have been more
	if missing := lost(r.log.History()); missing == 0 || missing > int(dropped) {
		t.Errorf("%d samples are missing, %d were counted as dropped", missing, dropped)
	}
}

// restart gives all nodes the configuration as it is now.
func (r *rig) restart() {
	r.t.Helper()
	for _, n := range r.cluster.Nodes {
		n.Stop()
	}
	r.cluster.Start().WaitReady()
}

func (r *rig) walBytes(n *harness.Node) int64 {
	s, err := n.Status()
	if err != nil {
		return 0
	}
	return s.Storage.WALBytes
}

// While a node without a byte left is down, the others go on. When it comes back it has no room for what it missed: it says
// so, follows and votes, and gets everything by itself once there is space.
func TestFullNodeComesBack(t *testing.T) {
	r, disks := diskRig(t, "n2")
	full, disk := r.cluster.Nodes[1], disks["n2"]
	a := r.bulk("a", 1)
	a.Burst(t, 2)
	r.lts.Hang()
	zero(t, full, disk)
	full.Kill()
	others := r.others(full)
	r.leader(others...)
	for range 8 {
		a.Burst(t, 5)
	}
	full.Start().WaitUp()
	zero(t, full, disk)
	said := "turned away until the disk has room"
	harness.Eventually(t, "a full node to say so", func() error {
		return unless(strings.Contains(full.Process.Output(), said), full.Process.Output)
	})
	if err := full.Ready(); err == nil {
		t.Error("it is ready, and has not caught up")
	}
	r.saysFull(full, true)

	// The leader dies: it takes this node's vote to elect the last one, which can commit nothing until the third is back.
	old := r.leader(others...)
	before := r.term(full)
	old.Kill()
	harness.Eventually(t, "a full node to elect another", func() error {
		s, err := full.Status()
		if err != nil {
			return err
		}
		return unless(s.Cluster.Term > before && s.Node.Role == "follower", func() string { return fmt.Sprintf("%+v", s) })
	})
	old.Start().WaitUp()
	r.cluster.Leader()
	r.alive()

	if err := disk.Empty(); err != nil {
		t.Fatal(err)
	}
	full.WaitReady()
	r.lts.Release()
	a.Burst(t, 2)
	r.alive()
	r.settle(afterwards)
}

// term is the term that a node is in.
func (r *rig) term(n *harness.Node) (term uint64) {
	r.t.Helper()
	harness.Eventually(r.t, "the term of "+n.ID, func() error {
		s, err := n.Status()
		term = s.Cluster.Term
		return err
	})
	return term
}
