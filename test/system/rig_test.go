package system

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/highlander-io/highlander/test/harness"
	"github.com/highlander-io/highlander/test/history"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// rig is an LTS, a cluster that writes to it, and the history of what goes through.
type rig struct {
	t       testing.TB
	log     *history.Log
	lts     *harness.LTS
	cluster *harness.Cluster
	sources []*harness.Source
}

// newRig prepares n nodes; n = 1 is a standalone node without a join list. Nothing is started but the LTS.
func newRig(t testing.TB, n int) *rig {
	t.Helper()
	log := &history.Log{}
	lts := newLTS(t, "lts", log)
	r := &rig{t: t, log: log, lts: lts, cluster: harness.NewCluster(t, n, lts.Destination())}
	if n == 1 {
		r.cluster.Set("cluster", "join", []string{})
	}
	// Where a source is to fall silent a scenario sets less: on a slow machine others may take longer than the default of 15 s
	// between two bursts.
	r.cluster.Set("sources", "failover_timeout", "10m")
	return r
}

// newLTS is an LTS that is given its time: what is given up is sent again, and comes twice.
func newLTS(t testing.TB, name string, log *history.Log) *harness.LTS {
	t.Helper()
	lts := harness.NewLTS(t, name, log)
	lts.Timeout = harness.Patience.String()
	return lts
}

// startRig is newRig with all nodes ready.
func startRig(t testing.TB, n int) *rig {
	t.Helper()
	r := newRig(t, n)
	r.cluster.Start().WaitReady()
	return r
}

// source adds a source of group "g" that writes to every node in turn.
func (r *rig) source(name string, number int) *harness.Source {
	s := &harness.Source{Group: "g", Name: name, Number: number, URLs: r.cluster.WriteURLs(), Log: r.log}
	r.sources = append(r.sources, s)
	return s
}

// pair starts a current source and, once that is elected, a standby that sends the same series and times.
func (r *rig) pair() (current, standby *harness.Source) {
	r.t.Helper()
	current, standby = r.source("a", 1), r.source("b", 2)
	current.Shards, standby.Shards = 2, 2
	current.Start(r.t)
	r.flowing(current)
	standby.Base = current.Base
	standby.Start(r.t)
	harness.Eventually(r.t, "202 for the standby", func() error { return unless(standby.Standby.Load() > 0, standby.Summary) })
	return current, standby
}

// flowing waits until ten more requests of a source have been accepted.
func (r *rig) flowing(s *harness.Source) {
	r.t.Helper()
	from := s.Accepted.Load()
	harness.Eventually(r.t, "accepted requests of "+s.Name, func() error {
		return unless(s.Accepted.Load() >= from+10, s.Summary)
	})
}

// backlog waits until at least that many samples wait for the LTS.
func (r *rig) backlog(samples uint64) {
	r.t.Helper()
	harness.Eventually(r.t, fmt.Sprintf("a backlog of %d samples", samples), func() error {
		s, err := r.cluster.Running()[0].Status()
		if err != nil {
			return err
		}
		d, _ := s.Destination(r.lts.Name)
		return unless(d.Backlog.Samples >= samples, func() string { return fmt.Sprintf("%+v", d) })
	})
}

// finish stops the sources, waits until everything has arrived, and checks history and books.
func (r *rig) finish(rules history.Rules) {
	r.t.Helper()
	for _, s := range r.sources {
		s.Stop()
	}
	r.settle(rules)
}

// settle is finish for sources that have stopped already.
func (r *rig) settle(rules history.Rules) {
	r.t.Helper()
	r.cluster.WaitDrained(r.lts.Name)
	r.cluster.WaitBooks()
	r.check(r.lts, rules)
}

// check compares what the sources were answered with what an LTS has.
func (r *rig) check(lts *harness.LTS, rules history.Rules) {
	r.t.Helper()
	h := r.log.History()
	if lts.Log != r.log {
		h.Received = lts.Log.History().Received
	}
	if led := r.leaderships(); led > 1 && !rules.Repeats {
		r.t.Logf("the leader has changed %d times by itself: a tail may have been sent again", led-1)
		rules.Repeats = true
	}
	violations := history.Check(h, rules)
	for i, v := range violations {
		if i == 10 {
			r.t.Errorf("and %d more", len(violations)-i)
			break
		}
		r.t.Error(v)
	}
	accepted := h.AcceptedCount()
	if accepted == 0 {
		r.t.Error("nothing was accepted: the scenario proves nothing")
	}
	for _, problem := range lts.Problems() {
		r.t.Errorf("LTS %s: %s", lts.Name, problem)
	}
	for _, s := range r.sources {
		for _, problem := range s.Problems() {
			r.t.Errorf("source %s: %s", s.Name, problem)
		}
		r.t.Log(s.Summary())
	}
	r.t.Logf("%d samples accepted, %d received at %s", accepted, len(h.Received), lts.Name)
}

// leaderships counts how often a node has become leader since it was started.
func (r *rig) leaderships() (sum int) {
	r.t.Helper()
	for _, n := range r.cluster.Running() {
		harness.Eventually(r.t, "leaderships of "+n.ID, func() error {
			m, err := n.Metrics()
			if err == nil {
				sum += int(m.Sum("highlander_raft_leaderships_total"))
			}
			return err
		})
	}
	return sum
}

// term is what the nodes agree on.
func (r *rig) term() (term uint64) {
	r.t.Helper()
	harness.Eventually(r.t, "the term", func() error {
		s, err := r.cluster.Leader().Status()
		term = s.Cluster.Term
		return err
	})
	return term
}

// sameTerm requires that no leader was elected since, unless the machine was too busy for any to last.
func (r *rig) sameTerm(since uint64, late *harness.Lateness, what string) {
	r.t.Helper()
	switch now := r.term(); {
	case now == since:
	case late.Worst() > harness.StarvedAfter:
		r.t.Logf("term %d, it was %d before %s; but this machine is busy: processes are run up to %v late", now, since, what, late.Worst())
	default:
		r.t.Errorf("term %d, it was %d before %s: that has cost a leader", now, since, what)
	}
}

// lead makes a node the leader, again if it does not stay.
func (r *rig) lead(n *harness.Node) {
	r.t.Helper()
	harness.Eventually(r.t, n.ID+" to lead", func() error {
		if r.cluster.Leader() == n {
			return nil
		}
		got := n.Command("cluster", "transfer-leadership", n.ID)
		return fmt.Errorf("another leads still: %+v", got)
	})
}

func unless(ok bool, otherwise func() string) error {
	if ok {
		return nil
	}
	return fmt.Errorf("%s", otherwise())
}

// current waits until a group has that current source.
func (r *rig) current(group, source string) {
	r.t.Helper()
	harness.EventuallyWithin(r.t, 90*time.Second, "current source "+source, func() error {
		s, err := r.cluster.Running()[0].Status()
		if err != nil {
			return err
		}
		g, _ := s.Group(group)
		return unless(g.Current == source, func() string { return fmt.Sprintf("%+v", g) })
	})
}
