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
	lts := harness.NewLTS(t, "lts", log)
	r := &rig{t: t, log: log, lts: lts, cluster: harness.NewCluster(t, n, lts.Destination())}
	if n == 1 {
		r.cluster.Set("cluster", "join", []string{})
	}
	return r
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
