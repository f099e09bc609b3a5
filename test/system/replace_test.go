package system

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/highlander-io/highlander/test/harness"
	"github.com/highlander-io/highlander/test/history"
)

// Each node in turn loses its disk while the LTS is down; at the end no node is left that was there when the
// first sample was acknowledged, and every sample arrives.
func TestReplaceEachNodeWhileLTSIsDown(t *testing.T) {
	r := startRig(t, 3)
	a, _ := r.pair()
	r.lts.Down()
	r.backlog(500)
	for _, n := range r.cluster.Nodes {
		before := uuid(t, n)
		n.Kill()
		n.Wipe()
		r.flowing(a)
		n.Start().WaitReady()
		r.cluster.Voters(3)
		if uuid(t, n) == before {
			t.Errorf("node %s has its old UUID on a new disk", n.ID)
		}
		r.flowing(a)
	}
	r.lts.Up()
	r.flowing(a)
	r.finish(history.Rules{Repeats: true, Counters: true})
	verifyStopped(t, r.cluster)
}

func uuid(t *testing.T, n *harness.Node) string {
	t.Helper()
	s, err := n.Status()
	if err != nil {
		t.Fatal(err)
	}
	return s.Node.UUID
}

// verifyStopped stops every node and lets `wal verify` read its log.
func verifyStopped(t *testing.T, c *harness.Cluster) {
	t.Helper()
	for _, n := range c.Running() {
		n.Stop()
		n.Must("wal", "verify")
		n.Must("wal", "info")
	}
}

// After two of three nodes are gone for good, recover makes the last one a cluster of one that has everything;
// the old members are refused until they come back empty.
func TestRecover(t *testing.T) {
	r := startRig(t, 3)
	a, _ := r.pair()
	r.lts.Down()
	r.backlog(500)
	for _, s := range r.sources {
		s.Stop()
	}
	// What the last node holds is what it acknowledged itself; let it have everything.
	sameIndex(t, r.cluster)
	last, lost, returns := r.cluster.Nodes[0], r.cluster.Nodes[1], r.cluster.Nodes[2]
	for _, n := range r.cluster.Nodes {
		n.Kill()
	}
	lost.Wipe()
	if out := last.Must("cluster", "recover"); out == "" {
		t.Error("recover says nothing")
	}
	last.Start().WaitReady()
	r.cluster.Voters(1)

	returns.Start()
	harness.Eventually(t, "the old member to be refused", func() error {
		out := returns.Process.Output()
		return unless(!returns.Process.Running() || strings.Contains(out, "another cluster") || strings.Contains(out, "cluster UUID") || strings.Contains(out, "refused"), func() string { return out })
	})
	if returns.Process.Running() && returns.Ready() == nil {
		t.Errorf("an old member is ready after recover")
	}
	returns.Kill()
	r.cluster.Voters(1)
	returns.Wipe()
	r.cluster.Start().WaitReady().Voters(3)
	oneCluster(t, r.cluster)

	r.lts.Up()
	r.sources = nil
	c := r.source("a", 1)
	c.Base, c.Shards = a.Base, 2
	c.Skip(a.Next())
	c.Burst(t, 20)
	r.settle(history.Rules{Repeats: true, Counters: true})
	verifyStopped(t, r.cluster)
}

func sameIndex(t *testing.T, c *harness.Cluster) {
	t.Helper()
	harness.Eventually(t, "the same log on every node", func() error {
		indexes := map[uint64]bool{}
		for _, n := range c.Running() {
			s, err := n.Status()
			if err != nil {
				return err
			}
			indexes[s.Storage.LastIndex] = true
		}
		return unless(len(indexes) == 1, func() string { return fmt.Sprint(indexes) })
	})
}

// A standalone node grows to three under load; then its leader leaves, and cannot come back by a restart.
func TestJoinAndLeaveUnderLoad(t *testing.T) {
	r := newRig(t, 3)
	r.cluster.Set("cluster", "join", []string{})
	first := r.cluster.Nodes[0]
	first.Start().WaitReady()
	a := r.source("a", 1)
	a.URLs = []string{first.WriteURL()}
	a.Start(t)
	r.flowing(a)
	for _, n := range r.cluster.Nodes[1:] {
		n.Start().WaitReady()
		n.Must("cluster", "join", first.ClusterAddr)
		n.WaitReady()
		r.flowing(a)
	}
	r.cluster.Voters(3)
	oneCluster(t, r.cluster)

	// From now on everybody has the list, as the loud warning asks for.
	b := r.source("b", 2)
	b.URLs = []string{r.cluster.Nodes[1].WriteURL(), r.cluster.Nodes[2].WriteURL()}
	b.Base = a.Base
	r.lead(first)
	r.flowing(a)
	a.Stop()
	b.Skip(a.Next())
	first.Must("cluster", "leave")
	harness.Eventually(t, "two members", func() error {
		s, err := r.cluster.Nodes[1].Status()
		if err != nil {
			return err
		}
		return unless(len(s.Cluster.Nodes) == 2 && s.Cluster.Leader != "n1", func() string { return fmt.Sprintf("%+v", s.Cluster) })
	})
	// The process has nothing left to do.
	if code, err := first.Process.Exit(harness.Patience); err != nil || code != 0 {
		t.Errorf("the node that left ended with status %d, %v", code, err)
	}
	first.Start()
	code, err := first.Process.Exit(harness.Patience)
	if err != nil || code != 1 || !strings.Contains(first.Process.Output(), "rejoin") {
		t.Errorf("run after leave: status %d, %v; want 1 and a hint at --cluster.rejoin in\n%s", code, err, first.Process.Output())
	}
	b.Start(t)
	harness.Eventually(t, "202 for the standby", func() error { return unless(b.Standby.Load() > 0, b.Summary) })
	r.cluster.Nodes[1].Must("source", "promote", "g", "b")
	r.flowing(b)
	b.Stop()
	r.cluster.WaitDrained(r.lts.Name)
	r.cluster.WaitBooks()
	r.check(r.lts, history.Rules{Repeats: true, Counters: true, PerSource: true, Kept: true})
}

// A new destination starts where it is registered; a renamed one starts anew while the old name is held and
// shown, until it is forgotten; a new URL under an old name keeps the cursor.
func TestReloadDestinations(t *testing.T) {
	r := startRig(t, 3)
	a, _ := r.pair()
	second := harness.NewLTS(t, "second", &history.Log{})
	r.reload(r.lts.Destination(), second.Destination())
	r.destinations("lts", "second")
	r.flowing(a)

	// A rename: "second" is gone from the files, "third" has its URL.
	third := harness.NewLTS(t, "third", &history.Log{})
	r.reload(r.lts.Destination(), harness.To("third", third.URL()))
	r.destinations("lts", "second", "third")
	second.Down()
	r.flowing(a)
	r.state("second", "held", "")
	r.flowing(a) // and so what was on its way is committed
	cursor := r.destination("second").Cursor
	r.flowing(a)
	if d := r.destination("second"); d.Cursor != cursor || d.Backlog.Samples == 0 {
		t.Errorf("held destination moved from %d to %+v", cursor, d)
	}
	if out := r.cluster.Nodes[1].Ask("destination", "forget", "secnd"); out.Code != 1 || !strings.Contains(out.Stderr, "second") {
		t.Errorf("forget of a wrong name: %+v, want status 1 and the right names", out)
	}
	r.cluster.Nodes[1].Must("destination", "forget", "second")
	r.destinations("lts", "third")

	// A new URL under the old name: nothing is lost or repeated by it.
	moved := harness.NewLTS(t, "lts", r.log)
	r.lts.Down()
	r.backlog(200)
	r.reload(harness.To("lts", moved.URL()), harness.To("third", third.URL()))
	r.flowing(a)
	r.transfer()
	r.flowing(a)
	for _, n := range r.cluster.Nodes {
		n.Kill()
	}
	r.cluster.Start().WaitReady()
	r.flowing(a)
	if d := r.destination("lts"); d.URL != moved.URL() {
		t.Errorf("after a restart destination lts is at %s, want the new URL", d.URL)
	}
	r.finish(history.Rules{Repeats: true, Counters: true})
	r.cluster.WaitDrained("third")
	if moved.Taken() == 0 || third.Taken() == 0 {
		t.Errorf("taken at the new URL %d, at the new name %d", moved.Taken(), third.Taken())
	}
	r.continuous(third)
}

// reload gives every node the destinations, half of them by SIGHUP, half over HTTP.
func (r *rig) reload(destinations ...harness.Map) {
	r.t.Helper()
	const when = "highlander_config_last_reload_success_timestamp_seconds"
	for i, n := range r.cluster.Nodes {
		n.SetDestinations(destinations...)
		if i%2 == 0 {
			n.Reload()
			continue
		}
		before := 0.0
		harness.Eventually(r.t, when+" of "+n.ID, func() error {
			m, err := n.Metrics()
			before = m.Sum(when)
			return err
		})
		n.HangUp()
		harness.Eventually(r.t, "the reload of "+n.ID, func() error {
			m, err := n.Metrics()
			return errors.Join(err, unless(m.Sum(when) > before, func() string { return "not yet" }))
		})
	}
}

func (r *rig) destinations(names ...string) {
	r.t.Helper()
	harness.Eventually(r.t, fmt.Sprintf("destinations %v", names), func() error {
		for _, n := range r.cluster.Running() {
			s, err := n.Status()
			if err != nil {
				return err
			}
			var have []string
			for _, d := range s.Destinations {
				have = append(have, d.Name)
			}
			if fmt.Sprint(have) != fmt.Sprint(names) {
				return fmt.Errorf("node %s shows %v", n.ID, have)
			}
		}
		return nil
	})
}

// destination is what the leader shows of one.
func (r *rig) destination(name string) (d harness.Destination) {
	r.t.Helper()
	harness.Eventually(r.t, "destination "+name, func() error {
		s, err := r.cluster.Leader().Status()
		found := false
		d, found = s.Destination(name)
		return errors.Join(err, unless(found && !s.Stale, func() string { return fmt.Sprintf("stale %v, %+v", s.Stale, s.Destinations) }))
	})
	return d
}

// continuous requires that an LTS which joined late has every accepted sample from its first one on.
func (r *rig) continuous(lts *harness.LTS) {
	r.t.Helper()
	h := r.log.History()
	h.Received = lts.Log.History().Received
	if len(h.Received) == 0 {
		return
	}
	first := map[string]int64{}
	for _, s := range h.Received {
		if t, ok := first[s.Series]; !ok || s.Time < t {
			first[s.Series] = s.Time
		}
	}
	early := func(s history.Sample) bool { return s.Time < first[s.Series] }
	for _, v := range history.Check(h, history.Rules{Repeats: true, Counters: true, Missing: early}) {
		r.t.Errorf("LTS %s: %v", lts.Name, v)
	}
}

// Sources write through HAProxy with the file that the project ships, while nodes stop and die behind it.
func TestHAProxy(t *testing.T) {
	r := startRig(t, 3)
	proxy, address := harness.StartHAProxy(t, r.cluster.Nodes)
	a, b := r.source("a", 1), r.source("b", 2)
	for _, s := range r.sources {
		s.URLs = []string{"http://" + address + "/api/v1/write"}
	}
	a.Start(t)
	r.flowing(a)
	b.Base = a.Base
	b.Start(t)
	r.flowing(a)
	leader := r.cluster.Leader()
	leader.Stop()
	r.flowing(a)
	leader.Start().WaitReady()
	follower := r.cluster.Followers()[0]
	follower.Kill()
	r.flowing(a)
	follower.Start().WaitReady()
	r.flowing(a)
	if !proxy.Running() {
		t.Errorf("haproxy has ended:\n%s", proxy.Output())
	}
	r.finish(history.Rules{Repeats: true, Counters: true})
	if b.Accepted.Load() != 0 {
		t.Errorf("the standby was accepted %d times", b.Accepted.Load())
	}
}
