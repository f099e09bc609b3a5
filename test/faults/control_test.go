//go:build linux

package faults

import (
	"bytes"
	"fmt"
	"os"
	"testing"

	"github.com/highlander-io/highlander/test/harness"
	"github.com/highlander-io/highlander/test/history"
)

// The scenarios here run twice: with the shipped binary, which must lose nothing, and with a build for tests in which
// what prevents the loss is switched off. If that one loses nothing, the scenario or the checker proves nothing.

// once is what a scenario without changes of source must keep.
var once = history.Rules{Repeats: true, Counters: true}

// The LTS is down, snapshots are taken, a node is replaced and then leads: it has every batch that the LTS has not.
func TestReplacedBehindSnapshots(t *testing.T) {
	replacedBehindSnapshots(t, nil).settle(once)
}

func TestControlReplacedBehindSnapshots(t *testing.T) {
	replacedBehindSnapshots(t, []string{"stock-stores"}).mustLose()
}

func replacedBehindSnapshots(t *testing.T, seams []string) *rig {
	r := newRig(t)
	r.cluster.Set("storage", "max_bytes", "64MiB") // a snapshot after every 2 MiB
	r.seams(seams).Start().WaitReady()
	r.lts.Down()
	a := r.source("a", 1)
	a.Series, a.Shards = 1000, 1
	a.Burst(t, 300)
	for _, n := range r.cluster.Nodes {
		harness.Eventually(t, "snapshots on "+n.ID, func() error {
			taken, err := n.Metric(`highlander_raft_snapshots_taken_total{outcome="taken"}`)
			return unless(err == nil && taken >= 1, func() string { return fmt.Sprintf("%v taken, %v", taken, err) })
		})
	}
	lost := r.cluster.Followers()[0]
	lost.Kill()
	lost.Wipe()
	lost.Start().WaitReady()
	r.cluster.Voters(3)
	for _, n := range r.others(lost) { // nobody else can deliver, should another one lead for a moment
		r.wire.Each([]string{n.ID}, []string{"lts"}, Link{Cut: true})
	}
	r.lts.Up()
	r.rest(lost)
	r.wire.Heal()
	return r
}

// A and B acknowledge while C is away, B loses its disk, A is away, C comes back and asks B for its vote: it must not get
// it, as it would lead without what was acknowledged.
func TestWipedVoter(t *testing.T) {
	r, elected := wipedVoter(t, nil)
	if elected {
		t.Error("a node that lacks acknowledged batches was elected")
	}
	r.settle(once)
}

func TestControlWipedVoter(t *testing.T) {
	r, elected := wipedVoter(t, []string{"any-identity"})
	if !elected {
		t.Fatal("C was not elected")
	}
	r.mustLose()
}

func wipedVoter(t *testing.T, seams []string) (r *rig, elected bool) {
	r = newRig(t)
	r.seams(seams).Start().WaitReady()
	a := r.cluster.Leader()
	b, c := r.others(a)[0], r.others(a)[1]
	r.lts.Down()
	r.wire.Split(c.ID)
	r.source("a", 1, a, b).Burst(t, 200)
	b.Kill()
	b.Wipe()
	r.wire.Split(a.ID)
	r.wire.Each([]string{c.ID}, []string{b.ID, "lts", "a", "b"}, Link{}) // A and C never see each other meanwhile
	b.Start().WaitUp()
	harness.Eventually(t, "C to lead, or to be refused again and again", func() error {
		s, err := c.Status()
		if err != nil {
			return err
		}
		if elected = s.Node.Role == "leader"; elected {
			return c.Ready() // before that it has committed nothing, and A could still take its place
		}
		refused, err := b.Metric(`highlander_cluster_connections_refused_total{reason="identity"}`)
		return unless(err == nil && refused >= 20, func() string { return fmt.Sprintf("%s is %s, %v refused, %v", c.ID, s.Node.Role, refused, err) })
	})
	r.wire.Heal()
	r.lts.Up()
	harness.Eventually(t, "the end of the backlog", func() error { return r.delivered(r.cluster.Leader()) })
	return r, elected
}

// seams lets all nodes run the build for tests; nil is the shipped binary.
func (r *rig) seams(seams []string) *harness.Cluster {
	for _, n := range r.cluster.Nodes {
		n.Seams = seams
	}
	return r.cluster
}

// rest waits until a node leads and has delivered what it can.
func (r *rig) rest(n *harness.Node) {
	r.t.Helper()
	harness.Eventually(r.t, n.ID+" to lead, and the end of the backlog", func() error {
		if err := r.tryLead(n); err != nil {
			return err
		}
		return r.delivered(n)
	})
}

// delivered returns nil if a node shows no backlog, or delivers nothing more.
func (r *rig) delivered(n *harness.Node) error {
	d, err := r.destination(n)
	if err != nil {
		return err
	}
	return unless(d.Backlog.Samples == 0 || d.State == "held", func() string { return fmt.Sprintf("%+v", d) })
}

// mustLose asks the checker, which must find that acknowledged samples are gone.
func (r *rig) mustLose() {
	r.t.Helper()
	lost := 0
	h := r.log.History()
	for _, v := range history.Check(h, once) {
		if v.Kind == history.Lost {
			lost++
		}
	}
	r.t.Logf("%d of %d acknowledged samples lost", lost, h.AcceptedCount())
	if lost == 0 {
		r.t.Error("nothing was lost: the scenario proves nothing")
	}
}

// The shipped binary has nothing that its environment could switch.
func TestShippedBinaryHasNoSeams(t *testing.T) {
	for path, want := range map[string]bool{harness.Binary(t): false, harness.SeamsBinary(t): true} {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range []string{"HIGHLANDER_SEAMS", "this is a build for tests"} {
			if bytes.Contains(data, []byte(word)) != want {
				t.Errorf("%s: contains %q is %v, want %v", path, word, !want, want)
			}
		}
	}
}
