//go:build linux

package faults

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/highlander-io/highlander/test/harness"
	"github.com/highlander-io/highlander/test/history"
)

// How long the nemesis goes on before everything must come to rest and fit together.
const (
	roundTime = 10 * time.Second
	soakTime  = 60 * time.Second
)

// temper is what the nemesis keeps to in a round, and what must hold for that.
type temper struct {
	name     string
	failover string // failover_timeout
	rules    history.Rules
	// whole spares the last copy of what is kept: no node loses its memory before the other one's holds everything
	// again. Then no series may have a gap.
	whole bool
	// orders lets operators promote, pin and weigh sources meanwhile.
	orders bool
}

var tempers = []temper{
	{name: "whole", failover: "2s", rules: afterwards, whole: true, orders: true},
	{name: "wild", failover: "2s", rules: afterwards, orders: true},
	// One source stays current, and nothing of the other may arrive.
	{name: "still", failover: "10m", rules: history.Rules{Repeats: true, Counters: true}},
}

// TestNemesis breaks things in random order, one to three at a time, under load, and mends them again.
func TestNemesis(t *testing.T) {
	if text := os.Getenv("HIGHLANDER_SOAK"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Fatalf("HIGHLANDER_SOAK: %v", err)
		}
		until := time.Now().Add(d)
		for round := 0; round == 0 || time.Now().Before(until); round++ {
			kind := tempers[round%len(tempers)]
			if !t.Run(fmt.Sprintf("%d %s", round, kind.name), func(t *testing.T) { nemesisRound(t, soakTime, kind) }) {
				return
			}
		}
		return
	}
	for _, kind := range tempers[:2] {
		t.Run(kind.name, func(t *testing.T) { nemesisRound(t, roundTime, kind) })
	}
}

func nemesisRound(t *testing.T, length time.Duration, kind temper) {
	r := newRig(t)
	n := &nemesis{rig: r, kind: kind, rand: rand.New(rand.NewPCG(r.seed, 0x666)), counts: map[string]int{}}
	r.cluster.Set("sources", "failover_timeout", kind.failover).Set("sources", "preempt_after", "1s")
	r.cluster.Set("handover", "margin", margin.String()).Set("handover", "clock_skew_guard", guard.String())
	r.cluster.Start().WaitReady()
	n.pair()
	n.people = n.operators()
	n.began = time.Now()
	for time.Since(n.began) < length {
		n.strike()
	}
	n.mend()
	n.people.stop()
	for _, s := range r.sources {
		r.answered(s)
	}
	r.cluster.WaitReady().Voters(len(r.cluster.Nodes))
	r.finish(kind.rules)
	n.judge(n.people)
	for _, line := range n.trace {
		t.Log(line)
	}
	t.Logf("%d faults: %v", n.total(), n.counts)
}

// nemesis does harm.
type nemesis struct {
	*rig
	kind   temper
	rand   *rand.Rand
	began  time.Time
	trace  []string
	counts map[string]int
	memory memory
	people *operators
}

// pair starts two sources of one truth, each of which scrapes at moments of its own in two of three runs.
func (n *nemesis) pair() {
	n.t.Helper()
	a := n.source("a", 1).Start(n.t)
	n.flowing(a)
	b := n.source("b", 2)
	b.Base = base.Add(time.Duration(n.rand.IntN(3)) * step / 3)
	b.Start(n.t)
	n.rivals(a, b)
	n.overlap(b.Point(n.t, 0, b.Next()).Time, b.Series)
}

// overlap waits until every series has arrived up to a time, from which on both sources have it: what only the first one had
// could not be told by the other.
func (n *nemesis) overlap(from int64, series int) {
	n.t.Helper()
	harness.Eventually(n.t, "samples of both sources", func() error {
		reached := map[string]bool{}
		for _, s := range n.log.History().Received {
			if s.Time >= from {
				reached[s.Series] = true
			}
		}
		return unless(len(reached) == series, func() string { return fmt.Sprintf("%d of %d series", len(reached), series) })
	})
}

func (n *nemesis) pick() *harness.Node { return n.cluster.Nodes[n.rand.IntN(len(n.cluster.Nodes))] }

// victim is a random node, in half of the cases the leader: that is the better one.
func (n *nemesis) victim() *harness.Node {
	if n.rand.IntN(2) == 0 {
		if leader := n.leads(); leader != nil {
			return leader
		}
	}
	return n.pick()
}

// leads is the leader as some node sees it, nil if that one sees none.
func (n *nemesis) leads() *harness.Node {
	s, err := soon(n.pick())
	if err != nil {
		return nil
	}
	i := slices.IndexFunc(n.cluster.Nodes, func(v *harness.Node) bool { return v.ID == s.Cluster.Leader })
	if i < 0 {
		return nil
	}
	return n.cluster.Nodes[i]
}

// strike does one to three harms at once, lets them last, and mends them all; or one that is of its own kind.
func (n *nemesis) strike() {
	n.share()
	if n.rand.IntN(3) == 0 {
		f := alone[n.rand.IntN(len(alone))]
		n.note(f.name, "")
		f.do(n)
	} else {
		for range 1 + n.rand.IntN(3) {
			f, victim := faults[n.rand.IntN(len(faults))], n.victim()
			n.note(f.name, victim.ID)
			f.do(n, victim)
			n.last(0, 500)
		}
		n.last(100, 4000)
	}
	n.mend()
	n.last(0, 2000)
}

func (n *nemesis) note(name, victim string) {
	n.counts[name]++
	n.trace = append(n.trace, fmt.Sprintf("%v %s %s", time.Since(n.began).Round(time.Millisecond), name, victim))
}

func (n *nemesis) total() (total int) {
	for _, count := range n.counts {
		total += count
	}
	return total
}

// last waits for a random time: how long a fault lasts is no condition that could be polled for.
func (n *nemesis) last(from, to int) {
	timer := time.NewTimer(time.Duration(from+n.rand.IntN(to-from)) * time.Millisecond)
	<-timer.C
}

// mend ends every fault but those the nodes must get over by themselves.
func (n *nemesis) mend() {
	n.wire.Heal()
	for _, v := range n.cluster.Nodes {
		if !v.Process.Running() {
			if code, err := v.Process.Exit(time.Second); err != nil || code != -1 {
				n.t.Errorf("node %s ended by itself: status %d, %v", v.ID, code, err)
			}
			v.Start()
		}
		v.Resume()
	}
	n.lts.Release()
	n.lts.Refuse(nil)
	n.lts.Down()
	n.lts.Up()
	n.trace = append(n.trace, fmt.Sprintf("%v mended", time.Since(n.began).Round(time.Millisecond)))
}
