//go:build linux

package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/highlander-io/highlander/test/harness"
)

// hour is by how much clocks are set ahead and back, in seconds.
const hour = 3600

// clocks are what the nodes take for the time, in a build for tests.
type clocks struct {
	*rig
	dir string
}

// clockRig is three nodes whose clocks can be set while they run.
func clockRig(t *testing.T, failover string) *clocks {
	c := &clocks{newRig(t), t.TempDir()}
	for _, n := range c.cluster.Nodes {
		n.Seams = []string{"clock=" + c.file(n)}
	}
	c.cluster.Set("sources", "failover_timeout", failover)
	c.cluster.Set("handover", "margin", "10s") // longer than a request of a source may hang
	c.cluster.Start().WaitReady()
	return c
}

func (c *clocks) file(n *harness.Node) string { return filepath.Join(c.dir, n.ID) }

// set sets the clocks of some nodes to so many seconds ahead of this machine's, all at once.
func (c *clocks) set(seconds int, nodes ...*harness.Node) {
	c.t.Helper()
	for _, n := range nodes {
		next := c.file(n) + ".next"
		if err := os.WriteFile(next, []byte(fmt.Sprint(seconds)), 0o644); err != nil {
			c.t.Fatal(err)
		}
		if err := os.Rename(next, c.file(n)); err != nil { // a node reads the old text or the new one
			c.t.Fatal(err)
		}
	}
}

// long is how many requests a source sends in a little more than two seconds.
const long = 90

// unheard is a failover_timeout that no source is silent for because a request of it hangs, and that a clock which is set
// by an hour exceeds at once.
const unheard = "15s"

// unlikely is a failover_timeout after which a source that has ended is soon silent, and that a machine hardly ever stands still for.
const unlikely = "4s"

// Clocks of the leader and then, while the LTS is down, of a follower and of all nodes are set an hour ahead, two hours back,
// and right again: nobody notices.
func TestClockSteps(t *testing.T) {
	c := clockRig(t, unheard)
	a, b := c.pair()
	leader := c.cluster.Leader()
	for _, nodes := range [][]*harness.Node{{leader}, {c.others(leader)[0]}} {
		for _, seconds := range []int{hour, -hour} {
			c.set(seconds, nodes...)
			c.more(long, a, b)
		}
		c.lts.Down()
	}
	c.set(0, c.cluster.Nodes...)
	c.more(long, a, b)
	c.lts.Up()
	c.finish(once)
	c.changes("a")
}

// The current source ends and the leader's clock is set at the same moment: its standby takes over without a gap, whether
// the clock makes all samples look an hour old or an hour ahead.
func TestClockStepsWhileTheSourceChanges(t *testing.T) {
	c := clockRig(t, unlikely)
	a, b := c.pair()
	c.taught(b)
	c.more(long, a, b)
	leader := c.cluster.Leader()
	c.set(hour, leader)
	a.Kill()
	c.current("b")
	c.flowing(b)
	back := c.source("a", 3).Start(t)
	c.more(long, back)
	c.set(-hour, leader)
	b.Kill()
	c.current("a")
	c.flowing(back)
	c.set(0, leader)
	c.more(long, back)
	back.Stop()
	c.settle(afterwards)
	c.changes("a", "b", "a")
	c.noGap()
}

// A standby whose clock is an hour ahead takes over from nobody, and holds nothing up.
func TestSourceAnHourAhead(t *testing.T) {
	c := clockRig(t, unlikely)
	a := c.source("a", 1).Start(t)
	c.taught(a)
	b := c.source("b", 2)
	b.Ahead, b.Weight = time.Hour, 5
	b.Start(t)
	c.more(long, a, b)
	a.Kill()
	c.more(3*long, b)
	back := c.source("a", 3).Start(t)
	c.flowing(back)
	b.Kill()
	back.Stop()
	c.settle(once)
	c.changes("a")
}

// more waits until so many more requests of each source have been answered for good.
func (r *rig) more(requests int64, sources ...*harness.Source) {
	r.t.Helper()
	answered := func(s *harness.Source) int64 { return s.Accepted.Load() + s.Standby.Load() }
	from := map[*harness.Source]int64{}
	for _, s := range sources {
		from[s] = answered(s)
	}
	for _, s := range sources {
		harness.Eventually(r.t, "answers to "+s.Name, func() error { return unless(answered(s) >= from[s]+requests, s.Summary) })
	}
}

// current waits until group "g" has a current source.
func (r *rig) current(name string) {
	r.t.Helper()
	harness.Eventually(r.t, "current source "+name, func() error {
		g, _ := r.status().Group("g")
		return unless(g.Current == name, func() string { return fmt.Sprintf("%+v", g) })
	})
}

// changes requires that these were the current sources, one after another, and no others.
func (r *rig) changes(want ...string) {
	r.t.Helper()
	g, _ := r.status().Group("g")
	var have []string
	for _, change := range g.History {
		have = append(have, change.To)
	}
	if !slices.Equal(have, want) {
		r.t.Errorf("the current sources were %v, want %v: %+v", have, want, g.History)
	}
}

// noGap requires that each series arrived without a hole but for the guard: after a change, what is not at least
// handover.clock_skew_guard newer than the last sample is not passed.
func (r *rig) noGap() {
	r.t.Helper()
	const guard = 500 * time.Millisecond
	times := map[string][]int64{}
	for _, s := range r.log.History().Received {
		times[s.Series] = append(times[s.Series], s.Time)
	}
	var largest int64
	for series, list := range times {
		slices.Sort(list)
		for i := 1; i < len(list); i++ {
			gap := list[i] - list[i-1]
			if largest = max(largest, gap); gap > (guard + r.sources[0].Step).Milliseconds() {
				r.t.Errorf("%s: nothing between %d and %d", series, list[i-1], list[i])
				return
			}
		}
	}
	r.t.Logf("largest gap %d ms", largest)
}
