//go:build linux

package faults

import "testing"

// Every disk is replaced under load, one after another, each time by kill -9, a new file system and a start with the same
// configuration. The LTS is down throughout: what it gets at the end has gone from disk to disk.
func TestReplaceEveryDisk(t *testing.T) {
	r, disks := diskRig(t)
	a, b := r.pair()
	r.lts.Down()
	r.backlog(200)
	old := map[string]bool{}
	for _, member := range r.status().Cluster.Nodes {
		old[member.UUID] = true
	}
	for _, n := range r.cluster.Nodes {
		n.Kill()
		if err := disks[n.ID].Replace(); err != nil {
			t.Fatal(err)
		}
		r.flowing(a)
		n.Start().WaitReady()
		r.cluster.Voters(3)
		r.flowing(a)
	}
	for _, member := range r.status().Cluster.Nodes {
		if old[member.UUID] {
			t.Errorf("node %s is still the one of the old disk", member.ID)
		}
	}
	r.lts.Up()
	r.answered(a)
	r.answered(b)
	r.alive()
	r.finish(afterwards)
}
