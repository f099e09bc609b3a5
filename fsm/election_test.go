package fsm

import (
	"testing"
	"time"
)

// Scripts run on a clock in seconds. The current source "a" took over at 0 and this node has led since -1000; sources send
// every second and their newest sample is from now, unless a script says otherwise.

func second(s float64) time.Time {
	return time.UnixMilli(1_700_000_000_000 + int64(s*1000))
}

func sampleAt(s float64) int64 { return second(s).UnixMilli() }

var policy = Policy{FailoverTimeout: 15 * time.Second, PreemptAfter: 10 * time.Second, MaxLag: time.Minute, RequestWeight: true}

func arrivalAt(s float64, change ...func(*Arrival)) Arrival {
	a := Arrival{Last: second(s), Newest: sampleAt(s), Interval: time.Second, SteadySince: second(-500), FreshSince: second(-500), KeptFrom: NoneKept}
	for _, c := range change {
		c(&a)
	}
	return a
}

func weight(n uint64) func(*Arrival)           { return func(a *Arrival) { a.Weight = n } }
func interval(d time.Duration) func(*Arrival)  { return func(a *Arrival) { a.Interval = d } }
func newest(s float64) func(*Arrival)          { return func(a *Arrival) { a.Newest = sampleAt(s) } }
func steadySince(s float64) func(*Arrival)     { return func(a *Arrival) { a.SteadySince = second(s) } }
func freshSince(t time.Time) func(*Arrival)    { return func(a *Arrival) { a.FreshSince = t } }
func keptFrom(s float64) func(*Arrival)        { return func(a *Arrival) { a.KeptFrom = sampleAt(s) } }
func gainedAt(s float64) func(*Arrival)        { return func(a *Arrival) { a.GainedAt = second(s) } }
func rate(r float64) func(*Arrival)            { return func(a *Arrival) { a.Rate = r } }
func fullerSince(s float64) func(*Arrival)     { return func(a *Arrival) { a.FullerSince = second(s) } }
func adminWeight(name string, n uint64) Source { return Source{Name: name, AdminWeight: &n} }

func inGroup(watermark float64, change ...func(*Group)) Group {
	g := Group{
		ID: GroupID{Name: "prod"}, Current: "a", Epoch: 3, Since: sampleAt(0), Watermark: sampleAt(watermark),
		Sources: []Source{{Name: "a"}, {Name: "b"}, {Name: "c"}},
	}
	for _, c := range change {
		c(&g)
	}
	return g
}

type script struct {
	name     string
	group    Group
	arrivals map[string]Arrival
	now      float64
	led      float64 // leader since; 0 means -1000
	policy   func(*Policy)
	want     string // "" is no change
	reason   string
}

func (s script) run(t *testing.T) {
	p := policy
	if s.policy != nil {
		s.policy(&p)
	}
	led := s.led
	if led == 0 {
		led = -1000
	}
	elect, change := Decide(s.group, s.arrivals, second(s.now), second(led), p)
	if change != (s.want != "") || elect.To != s.want || elect.Reason != s.reason {
		t.Fatalf("got %q for %q (change: %v), want %q for %q", elect.To, elect.Reason, change, s.want, s.reason)
	}
	if change && (elect.FromEpoch != s.group.Epoch || elect.Boundary != s.group.Watermark || elect.Group != s.group.ID || elect.Time != sampleAt(s.now)) {
		t.Fatalf("election says %+v of group %+v", elect, s.group)
	}
}

func runScripts(t *testing.T, scripts []script) {
	for _, s := range scripts {
		t.Run(s.name, s.run)
	}
}

func TestSilence(t *testing.T) {
	runScripts(t, []script{
		{name: "14 s no", group: inGroup(86), now: 114, arrivals: map[string]Arrival{"a": arrivalAt(100), "b": arrivalAt(114)}},
		{name: "15 s yes", group: inGroup(86), now: 115, arrivals: map[string]Arrival{"a": arrivalAt(100), "b": arrivalAt(115)}, want: "b", reason: ReasonSilence},
		{name: "1 m scrapes: 119 s no", group: inGroup(100), now: 219,
			arrivals: map[string]Arrival{"a": arrivalAt(100, interval(time.Minute)), "b": arrivalAt(210, interval(time.Minute))}},
		{name: "1 m scrapes: 120 s yes", group: inGroup(100), now: 220,
			arrivals: map[string]Arrival{"a": arrivalAt(100, interval(time.Minute)), "b": arrivalAt(210, interval(time.Minute))}, want: "b", reason: ReasonSilence},
		{name: "nothing newer", group: inGroup(100), now: 200, arrivals: map[string]Arrival{"a": arrivalAt(100), "b": arrivalAt(200, newest(100))}},
		{name: "a little newer", group: inGroup(100), now: 200,
			arrivals: map[string]Arrival{"a": arrivalAt(100), "b": arrivalAt(200, newest(100.001))}, want: "b", reason: ReasonSilence},
		{name: "the standby is silent too", group: inGroup(100), now: 200, arrivals: map[string]Arrival{"a": arrivalAt(100), "b": arrivalAt(185)}},
		{name: "the standby is not silent yet", group: inGroup(100), now: 200,
			arrivals: map[string]Arrival{"a": arrivalAt(100), "b": arrivalAt(185.001)}, want: "b", reason: ReasonSilence},
		{name: "new leader, 14 s of grace", group: inGroup(100), led: 200, now: 214, arrivals: map[string]Arrival{"b": arrivalAt(214)}},
		{name: "new leader, 15 s of grace", group: inGroup(100), led: 200, now: 215,
			arrivals: map[string]Arrival{"b": arrivalAt(215)}, want: "b", reason: ReasonSilence},
		{name: "nobody there", group: inGroup(100), now: 200},
		{name: "third source: the heavier one", group: inGroup(100), now: 200,
			arrivals: map[string]Arrival{"b": arrivalAt(200), "c": arrivalAt(199, weight(1), freshSince(time.Time{}))}, want: "c", reason: ReasonSilence},
		{name: "third source: the fresher one", group: inGroup(100), now: 200,
			arrivals: map[string]Arrival{"b": arrivalAt(199), "c": arrivalAt(200)}, want: "c", reason: ReasonSilence},
		{name: "third source: equals go by name", group: inGroup(100), now: 200,
			arrivals: map[string]Arrival{"c": arrivalAt(200), "b": arrivalAt(200)}, want: "b", reason: ReasonSilence},
		{name: "both gone for an hour, one is back", group: inGroup(100), now: 3700,
			arrivals: map[string]Arrival{"a": arrivalAt(100), "b": arrivalAt(3700, steadySince(3700), freshSince(time.Time{}))}, want: "b", reason: ReasonSilence},
		{name: "silence needs no kept samples", group: inGroup(100), now: 200, policy: func(p *Policy) { p.RequireKept = true },
			arrivals: map[string]Arrival{"b": arrivalAt(200)}, want: "b", reason: ReasonSilence},
	})
}

func TestWeight(t *testing.T) {
	both := func(b ...func(*Arrival)) map[string]Arrival {
		return map[string]Arrival{"a": arrivalAt(100, weight(5)), "b": arrivalAt(100, b...)}
	}
	runScripts(t, []script{
		{name: "bigger", group: inGroup(100), now: 100, arrivals: both(weight(6)), want: "b", reason: ReasonWeight},
		{name: "equal", group: inGroup(100), now: 100, arrivals: both(weight(5))},
		{name: "steady for 9.999 s", group: inGroup(100), now: 100, arrivals: both(weight(6), steadySince(90.001))},
		{name: "steady for 10 s", group: inGroup(100), now: 100, arrivals: both(weight(6), steadySince(90)), want: "b", reason: ReasonWeight},
		{name: "not fresh", group: inGroup(100), now: 100, arrivals: both(weight(6), freshSince(time.Time{}))},
		{name: "request weights ignored", group: inGroup(100), now: 100, arrivals: both(weight(6)), policy: func(p *Policy) { p.RequestWeight = false }},
		{name: "an admin's weight is not ignored", group: inGroup(100, func(g *Group) { g.Sources[1] = adminWeight("b", 1) }), now: 100,
			arrivals: both(), policy: func(p *Policy) { p.RequestWeight = false }, want: "b", reason: ReasonWeight},
		{name: "an admin's weight beats the request's", group: inGroup(100, func(g *Group) { g.Sources[1] = adminWeight("b", 1) }), now: 100, arrivals: both(weight(9))},
		{name: "also the current source's", group: inGroup(100, func(g *Group) { g.Sources[0] = adminWeight("a", 0) }), now: 100,
			arrivals: both(weight(1)), want: "b", reason: ReasonWeight},
		{name: "one change per 15 s: 14.999 s no", group: inGroup(14.999), now: 14.999,
			arrivals: map[string]Arrival{"a": arrivalAt(14.999), "b": arrivalAt(14.999, weight(1))}},
		{name: "one change per 15 s: 15 s yes", group: inGroup(15), now: 15,
			arrivals: map[string]Arrival{"a": arrivalAt(15), "b": arrivalAt(15, weight(1))}, want: "b", reason: ReasonWeight},
		{name: "last change ahead of our clock", group: inGroup(100, func(g *Group) { g.Since = sampleAt(3600) }), led: 85, now: 100,
			arrivals: both(weight(6)), want: "b", reason: ReasonWeight},
		{name: "last change ahead of our clock, just led", group: inGroup(100, func(g *Group) { g.Since = sampleAt(3600) }), led: 85.001, now: 100, arrivals: both(weight(6))},
		{name: "kept samples do not reach back", group: inGroup(100), now: 100, arrivals: both(weight(6), keptFrom(100.001)), policy: func(p *Policy) { p.RequireKept = true }},
		{name: "none are kept", group: inGroup(100), now: 100, arrivals: both(weight(6)), policy: func(p *Policy) { p.RequireKept = true }},
		{name: "kept samples reach back", group: inGroup(100), now: 100, arrivals: both(weight(6), keptFrom(100)),
			policy: func(p *Policy) { p.RequireKept = true }, want: "b", reason: ReasonWeight},
		{name: "the heaviest is waited for", group: inGroup(100), now: 100, policy: func(p *Policy) { p.RequireKept = true },
			arrivals: map[string]Arrival{"a": arrivalAt(100), "b": arrivalAt(100, weight(1), keptFrom(50)), "c": arrivalAt(100, weight(2), keptFrom(101))}},
		{name: "but not if nothing is kept of it", group: inGroup(100), now: 100, policy: func(p *Policy) { p.RequireKept = true },
			arrivals: map[string]Arrival{"a": arrivalAt(100), "b": arrivalAt(100, weight(1), keptFrom(50)), "c": arrivalAt(100, weight(2))},
			want:     "b", reason: ReasonWeight},
		{name: "before silence", group: inGroup(80), now: 100,
			arrivals: map[string]Arrival{"a": arrivalAt(80), "b": arrivalAt(100), "c": arrivalAt(99, weight(1))}, want: "c", reason: ReasonWeight},
	})
}

func TestLag(t *testing.T) {
	with := func(current ...func(*Arrival)) map[string]Arrival {
		return map[string]Arrival{"a": arrivalAt(200, current...), "b": arrivalAt(200)}
	}
	runScripts(t, []script{
		{name: "59.999 s", group: inGroup(140.001), now: 200, arrivals: with(newest(140.001))},
		{name: "60 s", group: inGroup(140), now: 200, arrivals: with(newest(140)), want: "b", reason: ReasonLag},
		{name: "1 m scrapes: 119.999 s", group: inGroup(80.001), now: 200, arrivals: map[string]Arrival{"a": arrivalAt(200, interval(time.Minute)), "b": arrivalAt(200)}},
		{name: "1 m scrapes: 120 s", group: inGroup(80), now: 200,
			arrivals: map[string]Arrival{"a": arrivalAt(200), "b": arrivalAt(200, interval(time.Minute))}, want: "b", reason: ReasonLag},
		{name: "replaying an outage", group: inGroup(10), now: 200, arrivals: with(newest(10), gainedAt(199))},
		{name: "stopped gaining 14.999 s ago", group: inGroup(10), now: 200, arrivals: with(newest(10), gainedAt(185.001))},
		{name: "stopped gaining 15 s ago", group: inGroup(10), now: 200, arrivals: with(newest(10), gainedAt(185)), want: "b", reason: ReasonLag},
		{name: "new leader does not know yet", group: inGroup(10), led: 185.001, now: 200, arrivals: with(newest(10))},
		{name: "new leader knows", group: inGroup(10), led: 185, now: 200, arrivals: with(newest(10)), want: "b", reason: ReasonLag},
		{name: "kept samples do not reach back", group: inGroup(10), now: 200, arrivals: with(newest(10)), policy: func(p *Policy) { p.RequireKept = true }},
	})
}

func TestCoverage(t *testing.T) {
	const hold = 300 // CoverageHold
	pair := func(a float64, b ...func(*Arrival)) map[string]Arrival {
		return map[string]Arrival{"a": arrivalAt(hold, rate(a)), "b": arrivalAt(hold, append([]func(*Arrival){rate(100), fullerSince(0)}, b...)...)}
	}
	on := func(p *Policy) { p.MinCoverage = 0.9 }
	strict := func(p *Policy) { p.MinCoverage, p.RequireKept = 0.9, true }
	heavy := pair(100, rate(50), weight(9))
	runScripts(t, []script{
		{name: "off", group: inGroup(hold), now: hold, arrivals: pair(10)},
		{name: "less than the part", group: inGroup(hold), now: hold, arrivals: pair(89), policy: on, want: "b", reason: ReasonCover},
		{name: "the part", group: inGroup(hold), now: hold, arrivals: pair(90), policy: on},
		{name: "not for long enough", group: inGroup(hold), now: hold, arrivals: pair(10, fullerSince(0.001)), policy: on},
		{name: "not fuller any more", group: inGroup(hold), now: hold, arrivals: pair(10, func(a *Arrival) { a.FullerSince = time.Time{} }), policy: on},
		{name: "not fresh", group: inGroup(hold), now: hold, arrivals: pair(10, freshSince(time.Time{})), policy: on},
		{name: "its rate is not known", group: inGroup(hold), now: hold, arrivals: pair(10, rate(0)), policy: on},
		{name: "the current one's rate is not known", group: inGroup(hold), now: hold, arrivals: pair(0), policy: on},
		{name: "kept samples do not reach back", group: inGroup(hold), now: hold, arrivals: pair(10), policy: strict},
		{name: "kept samples reach back", group: inGroup(hold), now: hold, arrivals: pair(10, keptFrom(hold)), policy: strict, want: "b", reason: ReasonCover},
		{name: "promoted", group: inGroup(hold, func(g *Group) { g.Promoted = "a" }), now: hold, arrivals: pair(10), policy: on},
		{name: "pinned", group: inGroup(hold, func(g *Group) { g.Pinned = "a" }), now: hold, arrivals: pair(10), policy: on},
		{name: "a heavier one that is partial", group: inGroup(hold), now: hold, arrivals: heavy, policy: on},
		{name: "a heavier one that is partial, off", group: inGroup(hold), now: hold, arrivals: heavy, want: "b", reason: ReasonWeight},
	})
}

func TestWishes(t *testing.T) {
	all := map[string]Arrival{"a": arrivalAt(100), "b": arrivalAt(100, weight(9)), "c": arrivalAt(100)}
	wish := func(pin, promote string) Group {
		return inGroup(100, func(g *Group) { g.Pinned, g.Promoted = pin, promote })
	}
	quiet := map[string]Arrival{"a": arrivalAt(50), "b": arrivalAt(100), "c": arrivalAt(50)}
	runScripts(t, []script{
		{name: "pin beats promote and weight", group: wish("c", "b"), now: 100, arrivals: all, want: "c", reason: ReasonPin},
		{name: "pin at once after a change", group: wish("c", ""), now: 0.5, arrivals: all, want: "c", reason: ReasonPin},
		{name: "pin never fails over", group: wish("a", ""), now: 100, arrivals: quiet},
		{name: "pin of a silent source", group: wish("c", ""), now: 100, arrivals: quiet, want: "c", reason: ReasonPin},
		{name: "promote beats weight", group: wish("", "c"), now: 100, arrivals: all, want: "c", reason: ReasonPromote},
		{name: "promote at once after a change", group: wish("", "c"), now: 0.5, arrivals: all, want: "c", reason: ReasonPromote},
		{name: "promoted stays against weight", group: wish("", "a"), now: 100, arrivals: all},
		{name: "promoted and silent", group: inGroup(50, func(g *Group) { g.Promoted = "a" }), now: 100, arrivals: quiet, want: "b", reason: ReasonSilence},
		{name: "promoted, silent, and a heavier one", group: inGroup(50, func(g *Group) { g.Promoted = "a" }), now: 100,
			arrivals: map[string]Arrival{"a": arrivalAt(50), "b": arrivalAt(100, weight(9))}, want: "b", reason: ReasonSilence},
		{name: "promoted, not seen by a new leader", group: wish("", "c"), led: 99, now: 100, arrivals: map[string]Arrival{"a": arrivalAt(100)}},
		{name: "promoted and current, not seen by a new leader", group: wish("", "a"), led: 99, now: 100, arrivals: map[string]Arrival{"b": arrivalAt(100, weight(9))}},
		{name: "promotion of a silent one", group: wish("", "c"), now: 100, arrivals: map[string]Arrival{"a": arrivalAt(100), "c": arrivalAt(50)}},
	})
}

func TestFirst(t *testing.T) {
	none := Group{ID: GroupID{Name: "prod"}}
	runScripts(t, []script{
		{name: "nobody", group: none, now: 100},
		{name: "one", group: none, now: 100, arrivals: map[string]Arrival{"b": arrivalAt(100)}, want: "b", reason: ReasonFirst},
		{name: "who came first", group: none, now: 100,
			arrivals: map[string]Arrival{"a": arrivalAt(100, weight(9), steadySince(99)), "b": arrivalAt(100, steadySince(98))}, want: "b", reason: ReasonFirst},
		{name: "at the same time: weight", group: none, now: 100, arrivals: map[string]Arrival{"a": arrivalAt(100), "b": arrivalAt(100, weight(9))}, want: "b", reason: ReasonFirst},
		{name: "a clock that is ahead comes last", group: none, now: 100,
			arrivals: map[string]Arrival{"a": arrivalAt(100, newest(3700)), "b": arrivalAt(100, steadySince(99))}, want: "b", reason: ReasonFirst},
		{name: "but alone it does", group: none, now: 100, arrivals: map[string]Arrival{"a": arrivalAt(100, newest(3700))}, want: "a", reason: ReasonFirst},
		{name: "in a new leader's first moment", group: none, led: 100, now: 100, arrivals: map[string]Arrival{"a": arrivalAt(100)}, want: "a", reason: ReasonFirst},
	})
}

func TestFutureClock(t *testing.T) {
	runScripts(t, []script{
		{name: "silence: 60 s ahead is believed", group: inGroup(50), now: 100,
			arrivals: map[string]Arrival{"a": arrivalAt(50), "b": arrivalAt(100, newest(160))}, want: "b", reason: ReasonSilence},
		{name: "silence: 60.001 s ahead is not", group: inGroup(50), now: 100, arrivals: map[string]Arrival{"a": arrivalAt(50), "b": arrivalAt(100, newest(160.001))}},
		{name: "weight", group: inGroup(100), now: 100, arrivals: map[string]Arrival{"a": arrivalAt(100), "b": arrivalAt(100, newest(3700), weight(9))}},
		{name: "lag", group: inGroup(100), now: 100, arrivals: map[string]Arrival{"a": arrivalAt(100), "b": arrivalAt(100, newest(3700))}},
		{name: "a current one does not lock the group", group: inGroup(0, func(g *Group) { g.Watermark = 0 }), now: 100,
			arrivals: map[string]Arrival{"a": arrivalAt(100, newest(3700)), "b": arrivalAt(100)}, want: "b", reason: ReasonLag},
	})
}
