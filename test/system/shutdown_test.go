package system

import (
	"syscall"
	"testing"

	"github.com/highlander-io/highlander/test/harness"
	"github.com/highlander-io/highlander/test/history"
)

// stopBound is far above the 3 s of the contract, for a machine that is busy with others; what counts is that a
// hanging LTS does not hold a node until its remote_timeout, which these tests set to ten minutes.
const stopBound = harness.Patience

// SIGTERM ends every node with status 0 while the LTS hangs, and what was acknowledged arrives later.
func TestTerminateWhileLTSHangs(t *testing.T) {
	r := newRig(t, 3)
	to := r.lts.Destination()
	to["remote_timeout"] = "10m"
	for _, n := range r.cluster.Nodes {
		n.SetDestinations(to)
	}
	r.cluster.Start().WaitReady()
	a, _ := r.pair()
	r.lts.Hang()
	r.backlog(100)
	r.flowing(a)
	for _, s := range r.sources {
		s.Stop()
	}
	for _, n := range r.cluster.Nodes {
		if err := n.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if code, err := n.Process.Exit(stopBound); err != nil || code != 0 {
			t.Fatalf("SIGTERM to %s: exit status %d, %v", n.ID, code, err)
		}
	}
	for _, n := range r.cluster.Nodes {
		n.Must("wal", "verify")
	}
	r.lts.Release()
	r.cluster.Start().WaitReady()
	r.settle(history.Rules{Repeats: true, Counters: true})
}

// A second signal ends a node at once, whatever it is waiting for.
func TestSecondSignal(t *testing.T) {
	r := startRig(t, 1)
	n := r.cluster.Nodes[0]
	_ = n.Process.Signal(syscall.SIGTERM)
	_ = n.Process.Signal(syscall.SIGTERM)
	if _, err := n.Process.Exit(stopBound); err != nil {
		t.Fatal(err)
	}
}
