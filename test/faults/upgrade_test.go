//go:build linux

package faults

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/highlander-io/highlander/test/harness"
)

// The nodes are replaced one by one by a later version, which supports one feature level more, while sources write. The
// level rises when the last one is there, what it adds to the log is written only then, and a node of the old version that
// comes back afterwards ends and says why.
func TestRollingUpgrade(t *testing.T) {
	r := newRig(t)
	r.cluster.Set("sources", "failover_timeout", "10m") // nothing of the other source may arrive, however long a node takes
	r.cluster.Start().WaitReady()
	a, b := r.pair()
	r.level(1)
	var before uint64
	for i, n := range r.cluster.Nodes {
		before = r.status().Storage.LastIndex
		n.Stop()
		n.Seams = []string{"next-level"}
		n.Start().WaitReady()
		if i == 0 { // it leads: of all nodes it must not write yet what only it knows
			r.lead(n)
			r.booked(b)
		}
		r.flowing(a)
	}
	r.level(2)
	r.laterThan(before)

	old := r.cluster.Followers()[0]
	old.Stop()
	for _, wiped := range []bool{false, true} {
		if wiped {
			old.Wipe()
		}
		old.Seams = nil
		r.tooOld(old)
		r.flowing(a)
	}
	old.Seams = []string{"next-level"}
	old.Start().WaitReady()
	r.cluster.Voters(3)
	r.flowing(a)
	r.finish(once)
}

// level waits until the members have agreed on a feature level.
func (r *rig) level(want uint64) {
	r.t.Helper()
	harness.Eventually(r.t, fmt.Sprintf("feature level %d", want), func() error {
		for _, n := range r.cluster.Nodes {
			s, err := n.Status()
			if err != nil {
				return err
			}
			if s.Cluster.FeatureLevel != want {
				return fmt.Errorf("%s is at %d", n.ID, s.Cluster.FeatureLevel)
			}
		}
		return nil
	})
}

// booked waits until the leader has committed two more deltas of a standby's books, between which it has looked at the
// other members at least once.
func (r *rig) booked(standby *harness.Source) {
	r.t.Helper()
	var before uint64
	for range 3 {
		harness.Eventually(r.t, "books of a standby", func() error {
			s, err := r.cluster.Leader().Status()
			if err != nil {
				return err
			}
			g, _ := s.Group(standby.Group)
			if g.Standby.Requests == before {
				return fmt.Errorf("%d requests", before)
			}
			before = g.Standby.Requests
			return nil
		})
	}
}

// laterThan waits until an entry of the new kind is in the logs, and looks that none is there before the level rose, nor
// that before an index.
func (r *rig) laterThan(index uint64) {
	r.t.Helper()
	for _, n := range r.cluster.Nodes {
		harness.Eventually(r.t, "an entry of the new kind on "+n.ID, func() error {
			raised, added := r.added(n)
			if raised <= index || added != 0 && added <= raised {
				r.t.Fatalf("%s: the last old node was there until entry %d, the level rose with entry %d, the new kind begins at %d", n.ID, index, raised, added)
			}
			return unless(added != 0, func() string { return "there is none" })
		})
	}
}

// added reads from a node's log with which entry the feature level rose to 2, and which is the first that the shipped
// binary does not know; 0 is none.
func (r *rig) added(n *harness.Node) (raised, added uint64) {
	r.t.Helper()
	for line := range strings.Lines(n.Must("wal", "dump", "--output", "json")) {
		var entry struct {
			Index       uint64
			Kind, Error string
			Detail      json.RawMessage
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			r.t.Fatalf("%v: %s", err, line)
		}
		switch {
		case entry.Kind == "cluster" && strings.Contains(string(entry.Detail), `"feature_level":2`):
			raised = entry.Index
		case entry.Kind == "unknown" && added == 0:
			added = entry.Index
		}
	}
	return raised, added
}

// tooOld starts a node that must end by itself and say that it is too old.
func (r *rig) tooOld(n *harness.Node) {
	r.t.Helper()
	before := len(n.Process.Output())
	n.Start()
	code, err := n.Process.Exit(harness.Patience)
	if err != nil || code != 1 {
		r.t.Fatalf("the old version in the new cluster: exit status %d, %v; want 1", code, err)
	}
	out := n.Process.Output()[before:]
	for _, words := range []string{"feature level 2", "this build supports 1", "start a newer version"} {
		if !strings.Contains(out, words) {
			r.t.Errorf("%q is not in\n%s", words, out)
		}
	}
	if strings.Contains(out, "goroutine ") {
		r.t.Errorf("a stack trace is no message for people:\n%s", out)
	}
}
