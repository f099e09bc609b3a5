package ingest

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/highlander-io/highlander/fsm"
)

// Two or three sources over one truth, through everything that can happen to them and to the leader.
func TestHandoverProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		members := rapid.SampledFrom([]int{1, 3}).Draw(rt, "members")
		c := newColony(drawn{t, rt}, members)
		proms := drawProms(rt, members)
		c.run(time.Duration(rapid.IntRange(20, 150).Draw(rt, "warm"))*time.Second, proms...)
		for range rapid.IntRange(1, 8).Draw(rt, "events") {
			c.befall(rt, proms)
			c.run(time.Duration(rapid.IntRange(250, 45_000).Draw(rt, "then"))*time.Millisecond, proms...)
		}
		c.run(time.Minute, proms...)
		c.check(proms[0].interval+guard, proms...)
	})
}

// drawn fails the drawn case and not the whole test, so that it is made smaller.
type drawn struct {
	testing.TB
	rt *rapid.T
}

func (d drawn) Helper()                        {}
func (d drawn) Fatal(args ...any)              { d.rt.Fatal(args...) }
func (d drawn) Fatalf(format string, a ...any) { d.rt.Fatalf(format, a...) }
func (d drawn) Errorf(format string, a ...any) { d.rt.Fatalf(format, a...) }

func drawProms(rt *rapid.T, members int) []*prom {
	interval := time.Duration(rapid.SampledFrom([]int{1, 5, 10}).Draw(rt, "interval")) * time.Second
	var proms []*prom
	for _, name := range []string{"a", "b", "c"}[:rapid.IntRange(2, 3).Draw(rt, "sources")] {
		p := newProm(name, time.Duration(rapid.Int64Range(0, interval.Milliseconds()-1).Draw(rt, name+" phase"))*time.Millisecond)
		p.interval, p.shards = interval, rapid.IntRange(1, 3).Draw(rt, name+" shards")
		p.clock = time.Duration(rapid.Int64Range(-guard.Milliseconds()/2, guard.Milliseconds()/2).Draw(rt, name+" clock")) * time.Millisecond
		for range p.shards {
			p.lags = append(p.lags, time.Duration(rapid.IntRange(0, 8000).Draw(rt, name+" lag"))*time.Millisecond)
		}
		p.via = rapid.IntRange(0, members-1).Draw(rt, name+" via")
		proms = append(proms, p)
	}
	return proms
}

// befall lets one thing happen.
func (c *colony) befall(rt *rapid.T, proms []*prom) {
	p := rapid.SampledFrom(proms).Draw(rt, "source")
	d := &desk{TB: c.TB, node: c.log, clock: c.clock}
	op := fsm.SourceOp{Group: fsm.GroupID{Name: "g"}, Source: p.name}
	switch rapid.SampledFrom([]string{"crash", "cut", "mend", "lead", "lose leader", "promote", "weight", "both"}).Draw(rt, "what") {
	case "crash":
		p.kill()
	case "cut":
		p.cut = true
	case "mend":
		p.cut, p.dead = false, false
	case "lead":
		c.elect((c.leader + 1) % len(c.members))
	case "lose leader":
		if len(c.members) > 1 {
			c.crash((c.leader + 1) % len(c.members))
		}
	case "both":
		p.kill()
		if len(c.members) > 1 {
			c.crash((c.leader + 2) % len(c.members))
		}
	case "promote":
		if c.knows(p.name) {
			op.Op = "promote"
			d.operate(op)
		}
	case "weight":
		if c.knows(p.name) {
			op.Op, op.Weight = "weight", uint64(rapid.IntRange(0, 3).Draw(rt, "weight"))
			d.operate(op)
		}
	}
}

// knows says whether the state has heard of a source.
func (c *colony) knows(source string) bool {
	g, _ := c.log.fsm.Group(fsm.GroupID{Name: "g"})
	for _, s := range g.Sources {
		if s.Name == source {
			return true
		}
	}
	return false
}
