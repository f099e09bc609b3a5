//go:build linux

package faults

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/highlander-io/highlander/test/harness"
)

// diskRig is a rig with small disks under some nodes, or all if none is named.
func diskRig(t testing.TB, names ...string) (*rig, map[string]*Disk) {
	t.Helper()
	r := newRig(t)
	disks := map[string]*Disk{}
	r.cluster.Set("storage", "max_bytes", "64MiB").Set("storage", "min_free_bytes", "16MiB")
	for _, n := range r.cluster.Nodes {
		if len(names) > 0 && n.ID != names[0] {
			continue
		}
		disks[n.ID] = NewDisk(t, n.Dir, 96)
	}
	r.cluster.Start().WaitReady()
	return r, disks
}

const fullIn = "highlander_storage_full_in_seconds"

// zero fills a node's disk until not even the room that the node gives back in need is left.
func zero(t testing.TB, n *harness.Node, d *Disk) {
	t.Helper()
	harness.Eventually(t, "a full disk of "+n.ID, func() error {
		if err := d.Fill(0); err != nil {
			t.Fatal(err)
		}
		spare, err := os.Stat(filepath.Join(n.Dir, "spare"))
		if err != nil {
			return err
		}
		return unless(spare.Size() == 0 && d.Free() < 4096, func() string {
			return fmt.Sprintf("%d bytes are free, the spare has %d", d.Free(), spare.Size())
		})
	})
}

// refused waits until a source is told that storage is full.
func (r *rig) refused(s *harness.Source) {
	r.t.Helper()
	from := s.Failed.Load()
	harness.Eventually(r.t, "503 for "+s.Name, func() error {
		return unless(s.Failed.Load() > from && strings.Contains(s.Summary(), "storage is full"), s.Summary)
	})
}

// held demands that a leader which knows that a node is full accepts nothing, but what was on its way by then: one request
// of each shard. It does not know of a node that it cannot reach, nor may it have led before. So a time in which that
// changed, or in which this program did not get to look, proves nothing, and there must be another one.
func (r *rig) held(full *harness.Node, sources ...*harness.Source) {
	r.t.Helper()
	answers := func() (good, refused, shards int64) {
		for _, s := range sources {
			good += s.Accepted.Load() + s.Standby.Load()
			refused += s.Failed.Load()
			shards += int64(s.Shards)
		}
		return good, refused, shards
	}
	harness.Eventually(r.t, "one leader that reaches "+full.ID+" all the time", func() error {
		term, err := r.reached(full)
		if err != nil {
			return err
		}
		_, from, _ := answers()
		var before int64
		var changed error
		looked := time.Now()
		err = harness.Poll(harness.Patience, func() error {
			now, err := r.reached(full)
			if late := time.Since(looked); err != nil || now != term || late > time.Second {
				changed = fmt.Errorf("term %d, then %d, after %v: %v", term, now, late, err)
				return nil
			}
			looked = time.Now()
			good, refused, shards := answers()
			switch {
			case refused < from+5: // what the leader saw a moment ago is not what it decides by yet
				before = good
			case good > before+shards:
				r.t.Fatalf("%d requests were answered 2xx while the disk of a node was full", good-before)
			}
			return unless(refused >= from+25, r.sources[0].Summary)
		})
		return errors.Join(err, changed)
	})
}

// reached returns the leader's term, and an error unless it reaches a node.
func (r *rig) reached(n *harness.Node) (term uint64, err error) {
	s, err := r.leader(r.cluster.Nodes...).Status()
	if err != nil {
		return 0, err
	}
	i := slices.IndexFunc(s.Cluster.Nodes, func(m harness.Member) bool { return m.ID == n.ID })
	if i < 0 || !s.Cluster.Nodes[i].Reachable || s.Stale {
		return 0, fmt.Errorf("%s is out of reach of %s", n.ID, s.Node.ID)
	}
	return s.Cluster.Term, nil
}

// saysFull waits until a node says that it is full, or that it is not.
func (r *rig) saysFull(n *harness.Node, full bool) {
	r.t.Helper()
	harness.Eventually(r.t, fmt.Sprintf("full %v of %s", full, n.ID), func() error {
		s, err := n.Status()
		if err != nil {
			return err
		}
		seconds, err := n.Metric(fullIn)
		if err != nil {
			return err
		}
		return unless(s.Storage.Full == full && (seconds == 0) == full, func() string {
			return fmt.Sprintf("full %v, %s %v", s.Storage.Full, fullIn, seconds)
		})
	})
}

// alive fails when a process has ended that nobody killed.
func (r *rig) alive() {
	r.t.Helper()
	for _, n := range r.cluster.Nodes {
		if !n.Process.Running() {
			r.t.Fatalf("node %s has ended", n.ID)
		}
	}
}

// With zero bytes left on one node the sources hold, the backlog drains, that node votes, leads and starts again, and
// after the disk was freed all goes on.
func TestDiskOfOneNodeFull(t *testing.T) {
	r, disks := diskRig(t, "n2")
	full, disk := r.cluster.Nodes[1], disks["n2"]
	a, b := r.pair()
	r.lts.Hang()
	r.backlog(400)
	zero(t, full, disk)
	r.refused(a)
	r.refused(b)
	r.saysFull(full, true)
	r.held(full, a, b)

	// While that node is down, the others may go on. Its vote is needed, and its own candidacy possible.
	for range 3 {
		old := r.cluster.Leader()
		old.Kill()
		r.leader(r.others(old)...)
		old.Start().WaitReady()
		zero(t, full, disk)
	}
	full.Must("cluster", "status")
	r.lead(full)
	r.lts.Release()
	r.cluster.WaitDrained("lts") // by a leader without a byte
	full.Kill()
	full.Start().WaitReady()
	r.alive()

	if err := disk.Empty(); err != nil {
		t.Fatal(err)
	}
	r.saysFull(full, false)
	r.answered(a)
	r.answered(b)
	r.alive()
	r.finish(afterwards)
}

// backlog waits until at least that many samples wait for the LTS.
func (r *rig) backlog(samples uint64) {
	r.t.Helper()
	harness.Eventually(r.t, fmt.Sprintf("a backlog of %d samples", samples), func() error {
		d, err := r.destination(r.cluster.Leader())
		if err != nil {
			return err
		}
		return unless(d.Backlog.Samples >= samples, func() string { return fmt.Sprintf("%+v", d) })
	})
}

// The same with no byte left anywhere, also when all nodes are killed and start on full disks.
func TestDisksOfAllNodesFull(t *testing.T) {
	r, disks := diskRig(t)
	a, b := r.pair()
	r.lts.Hang()
	r.backlog(400)
	for _, n := range r.cluster.Nodes {
		zero(t, n, disks[n.ID])
	}
	r.refused(a)
	for _, n := range r.cluster.Nodes {
		n.Kill()
	}
	r.cluster.Start().WaitReady()
	for _, n := range r.cluster.Nodes {
		zero(t, n, disks[n.ID])
		r.saysFull(n, true)
	}
	r.lts.Release()
	r.cluster.WaitDrained("lts")
	r.alive()
	for _, n := range r.cluster.Nodes {
		if err := disks[n.ID].Empty(); err != nil {
			t.Fatal(err)
		}
	}
	r.answered(a)
	r.answered(b)
	r.alive()
	r.finish(afterwards)
}

// bulk adds a source whose requests fill a log quickly.
func (r *rig) bulk(name string, number int) *harness.Source {
	s := r.source(name, number)
	s.Series, s.Shards, s.Step = 20000, 4, 50*time.Millisecond
	return s
}

// A log that reaches max_bytes: with drop_oldest what is dropped is counted, is the oldest, and new samples go on;
// before that the metric says how long it will take.
func TestDropOldest(t *testing.T) {
	r := newRig(t)
	r.cluster.Set("storage", "max_bytes", "6MiB").Set("storage", "when_full", "drop_oldest")
	r.cluster.Start().WaitReady()
	a := r.bulk("a", 1)
	a.Burst(t, 2)
	leader := r.cluster.Leader()
	var seconds float64
	harness.Eventually(t, fullIn, func() (err error) {
		seconds, err = leader.Metric(fullIn)
		return err
	})
	if seconds < 1 {
		t.Errorf("%s is %v before anything happened", fullIn, seconds)
	}
	r.lts.Down()
	a.Burst(t, 1)
	harness.Eventually(t, fullIn+" foretells", func() error {
		seconds, err := leader.Metric(fullIn)
		return errors.Join(err, unless(seconds > 0 && !math.IsInf(seconds, 1), func() string { return fmt.Sprint(seconds) }))
	})
	for i := 0; i < 400 && r.dropped() == 0; i++ {
		a.Burst(t, 1)
	}
	if r.dropped() == 0 {
		t.Fatal("nothing was dropped")
	}
	a.Burst(t, 3)
	r.lts.Up()
	r.cluster.WaitDrained("lts")
	a.Burst(t, 3)
	r.alive()
	r.cluster.WaitDrained("lts")

	missing, dropped := lost(r.log.History()), r.dropped()
	t.Logf("%d samples dropped, %d missing at the LTS", dropped, missing)
	if missing > int(dropped) || missing == 0 {
		t.Errorf("%d samples are missing, %d were counted as dropped", missing, dropped)
	}
	r.settle(afterwards)
}

// dropped is what the books say was dropped, 0 if they cannot be read at the moment.
func (r *rig) dropped() (n uint64) {
	for _, node := range r.cluster.Nodes {
		if d, err := r.destination(node); err == nil {
			sum := uint64(0)
			for _, count := range d.Samples.Dropped {
				sum += count
			}
			n = max(n, sum)
		}
	}
	return n
}
