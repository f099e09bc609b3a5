//go:build linux

package faults

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/highlander-io/highlander/test/harness"
	"github.com/highlander-io/highlander/test/history"
)

// How long the nemesis goes on before everything must come to rest and fit together.
const (
	roundTime = 20 * time.Second
	soakTime  = 60 * time.Second
)

// TestNemesis breaks things in random order, one to three at a time, under load, and mends them again.
func TestNemesis(t *testing.T) {
	until, length := time.Now(), roundTime
	if text := os.Getenv("HIGHLANDER_SOAK"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Fatalf("HIGHLANDER_SOAK: %v", err)
		}
		until, length = until.Add(d), soakTime
	}
	for round := 0; round == 0 || time.Now().Before(until); round++ {
		ok := t.Run(fmt.Sprint("round", round), func(t *testing.T) { nemesisRound(t, length, round%2 == 0) })
		if !ok {
			return
		}
	}
}

// nemesisRound lets sources take over from each other in the first round and every second after it; in the others one source stays current,
// and nothing of the other may arrive.
func nemesisRound(t *testing.T, length time.Duration, handovers bool) {
	r := newRig(t)
	rules := history.Rules{Repeats: true, Counters: true}
	r.cluster.Set("sources", "failover_timeout", "10m")
	if handovers {
		r.cluster.Set("sources", "failover_timeout", "2s")
		rules = afterwards
	}
	r.cluster.Start().WaitReady()
	a, b := r.pair()
	n := &nemesis{rig: r, rand: rand.New(rand.NewPCG(r.seed, 0x666)), began: time.Now()}
	for time.Since(n.began) < length {
		n.strike()
	}
	n.mend()
	r.answered(a)
	r.answered(b)
	r.cluster.WaitReady()
	r.finish(rules)
	if t.Failed() {
		for _, line := range n.trace {
			t.Log(line)
		}
	}
	t.Logf("%d faults: %v", len(n.trace), n.counts)
}

// nemesis does harm.
type nemesis struct {
	*rig
	rand   *rand.Rand
	began  time.Time
	trace  []string
	counts map[string]int
}

// faults are what the nemesis picks from.
var faults = []struct {
	name string
	do   func(*nemesis, *harness.Node)
}{
	{"kill", func(_ *nemesis, v *harness.Node) { v.Kill() }},
	{"stop", func(_ *nemesis, v *harness.Node) { v.Pause() }},
	{"isolate", func(n *nemesis, v *harness.Node) { n.wire.Split(v.ID) }},
	{"isolate with a", func(n *nemesis, v *harness.Node) { n.wire.Split(v.ID, "a") }},
	{"isolate with b and LTS", func(n *nemesis, v *harness.Node) { n.wire.Split(v.ID, "b", "lts") }},
	{"deaf", func(n *nemesis, v *harness.Node) {
		n.direct(n.wire.rest([]string{v.ID}), []string{v.ID}, Link{Cut: true})
	}},
	{"mute", func(n *nemesis, v *harness.Node) {
		n.direct([]string{v.ID}, n.wire.rest([]string{v.ID}), Link{Cut: true})
	}},
	{"one link", func(n *nemesis, v *harness.Node) { n.wire.Each([]string{v.ID}, []string{n.pick().ID}, Link{Cut: true}) }},
	{"loss", func(n *nemesis, v *harness.Node) { n.wire.Each([]string{v.ID}, n.wire.rest(nil), Link{Loss: 0.3}) }},
	{"delay", func(n *nemesis, v *harness.Node) {
		n.wire.Each([]string{v.ID}, n.wire.rest(nil), Link{Delay: 100 * time.Millisecond, Jitter: 200 * time.Millisecond})
	}},
	{"a away", func(n *nemesis, _ *harness.Node) { n.wire.Split("a") }},
	{"b away", func(n *nemesis, _ *harness.Node) { n.wire.Split("b") }},
	{"kill all", func(n *nemesis, _ *harness.Node) {
		for _, v := range n.cluster.Nodes {
			v.Kill()
		}
	}},
	{"LTS down", func(n *nemesis, _ *harness.Node) { n.lts.Down() }},
	{"LTS hangs", func(n *nemesis, _ *harness.Node) { n.lts.Hang() }},
	{"LTS refuses", func(n *nemesis, _ *harness.Node) {
		status := []int{429, 500, 503, 401, 404}[n.rand.IntN(5)]
		n.lts.Refuse(func(*harness.Received) *harness.Reply { return &harness.Reply{Status: status} })
	}},
	{"LTS dies after committing", func(n *nemesis, _ *harness.Node) {
		n.lts.Refuse(func(*harness.Received) *harness.Reply {
			return &harness.Reply{Status: http.StatusOK, Commit: true, Drop: true}
		})
	}},
}

func (n *nemesis) pick() *harness.Node { return n.cluster.Nodes[n.rand.IntN(len(n.cluster.Nodes))] }

// direct sets one direction only.
func (n *nemesis) direct(from, to []string, link Link) {
	for _, a := range from {
		for _, b := range to {
			if a != b {
				n.wire.Set(a, b, link)
			}
		}
	}
}

// strike does one to three harms at once, lets them last, and mends them all.
func (n *nemesis) strike() {
	for range 1 + n.rand.IntN(3) {
		f, victim := faults[n.rand.IntN(len(faults))], n.pick()
		if n.rand.IntN(2) == 0 { // the leader is the better victim
			if s, err := n.pick().Status(); err == nil {
				if i := slices.IndexFunc(n.cluster.Nodes, func(v *harness.Node) bool { return v.ID == s.Cluster.Leader }); i >= 0 {
					victim = n.cluster.Nodes[i]
				}
			}
		}
		n.note(f.name, victim.ID)
		f.do(n, victim)
		n.last(0, 500)
	}
	n.last(100, 4000)
	n.mend()
	n.last(0, 3000)
}

func (n *nemesis) note(name, victim string) {
	if n.counts == nil {
		n.counts = map[string]int{}
	}
	n.counts[name]++
	n.trace = append(n.trace, fmt.Sprintf("%v %s %s", time.Since(n.began).Round(time.Millisecond), name, victim))
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
