package ingest

import (
	"math/rand/v2"
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

// Any of the kept requests that are on their way at once may fail, for certain or not, while those behind them commit; then
// they are tried again, by this leader or by the next one. Nothing may be missing, come twice or out of order for that.
func TestPassageProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := newColony(drawn{t, rt}, 3)
		proms := drawProms(rt, 3)
		c.run(time.Duration(rapid.IntRange(40, 100).Draw(rt, "warm"))*time.Second, proms...)
		ho := c.depose(proms)
		fails := rapid.IntRange(1, 4).Draw(rt, "fails")
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
		c.log.before = func(entry []byte) error {
			if !isKept(entry) || fails == 0 || random.IntN(4) > 0 {
				return nil
			}
			fails--
			return []error{errNotCommitted, errUnheard}[random.IntN(2)]
		}
		p := c.leading().h.newPassage(ho)
		for range rapid.IntRange(1, 4).Draw(rt, "tries") {
			if p.pass(t.Context()) == nil {
				break
			}
		}
		if rapid.Bool().Draw(rt, "next leader") {
			c.crash((c.leader + 1) % 3)
		} else {
			c.leading().h.passKept(t.Context(), ho)
		}
		c.run(time.Minute, proms...)
		c.check(proms[0].interval+guard, proms...)
	})
}

// depose kills the current source and builds the fence of its successor, but passes nothing on.
func (c *colony) depose(proms []*prom) *handover {
	c.Helper()
	g := c.state()
	for _, p := range proms {
		if p.name == g.Current {
			p.kill()
		}
	}
	l := c.leading()
	for range 1000 {
		if c.state().Epoch > g.Epoch {
			break
		}
		c.clock.advance(500 * time.Millisecond)
		for _, p := range proms {
			p.step(c)
		}
		l.h.tick(c.Context(), l.lead)
	}
	ho := l.h.due(l.lead.known(fsm.GroupID{Name: "g"}))
	if ho == nil {
		c.Fatal("nobody took over")
	}
	if err := l.h.build(c.Context(), []*handover{ho}); err != nil {
		c.Fatal(err)
	}
	return ho
}

// isKept says whether an entry is a batch of what was kept.
func isKept(entry []byte) bool {
	if kind, err := fsm.PeekKind(entry); err != nil || kind != fsm.KindBatch {
		return false
	}
	batch, err := fsm.DecodeBatch(entry)
	return err == nil && batch.Flags&fsm.FlagKept != 0
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
