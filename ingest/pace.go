package ingest

import (
	"math"
	"time"
)

const (
	// presumedInterval stands for the usual interval of sources of which nobody knows better: Prometheus' default.
	presumedInterval = time.Minute
	// burstGap separates requests that belong to one scrape: shards send side by side.
	burstGap = 500 * time.Millisecond
	// paceKnown is how long requests in quick succession must go on until that is taken for the usual pace.
	paceKnown = 10 * time.Second
	// paceHorizon is the memory of the usual interval: after an outage it takes about three of these to forget it.
	paceHorizon = time.Minute
	// gapMax bounds what one gap can teach.
	gapMax = 10 * time.Minute
)

// pace learns the usual interval between a source's requests: the gap in which a random instant falls. Gaps are
// weighed by their own length, so ten shards that send at once and then rest for a minute have an interval of a
// minute; the plain mean would say six seconds, and twice that is no time to wait before calling it silent.
type pace struct {
	first, last time.Time
	interval    time.Duration // 0: not known yet
	lull        time.Duration // the longest gap so far, while the interval is not known
}

// beat notes a request.
func (p *pace) beat(now time.Time) {
	if p.first.IsZero() {
		p.first, p.last = now, now
		return
	}
	gap := now.Sub(p.last)
	if gap <= 0 {
		return // the clock stood still or was set back
	}
	p.last = now
	gap = min(gap, gapMax)
	if p.interval == 0 {
		p.learn(gap)
		return
	}
	weight := float64(gap) / float64(gap+paceHorizon)
	p.interval += time.Duration(weight * float64(gap-p.interval))
	p.interval = max(p.interval, time.Nanosecond) // 0 would mean unknown
}

func (p *pace) learn(gap time.Duration) {
	p.lull = max(p.lull, gap)
	if gap >= burstGap || p.last.Sub(p.first) >= paceKnown {
		p.interval = p.lull
	}
}

// flow estimates bytes per second over about the last minute; with the samples per byte of those bodies that were
// opened it gives a source's samples per second without opening the others.
type flow struct {
	sum     float64 // bytes, decayed
	at      time.Time
	since   time.Time
	density float64 // samples per byte; 0: not known yet
}

func (f *flow) add(now time.Time, bytes int) {
	f.decay(now)
	f.sum += float64(bytes)
}

func (f *flow) decay(now time.Time) {
	if f.since.IsZero() {
		f.since, f.at = now, now
	}
	if d := now.Sub(f.at); d > 0 {
		f.sum *= math.Exp(-d.Seconds() / paceHorizon.Seconds())
		f.at = now
	}
}

// restart forgets how much came, not how dense it was.
func (f *flow) restart(now time.Time) { f.sum, f.since, f.at = 0, now, now }

// sample notes what an opened body held.
func (f *flow) sample(samples uint64, bytes int) {
	if bytes == 0 {
		return
	}
	seen := float64(samples) / float64(bytes)
	if f.density == 0 {
		f.density = seen
		return
	}
	f.density += 0.2 * (seen - f.density)
}

// rate is samples per second; false while too little was seen.
func (f *flow) rate(now time.Time) (float64, bool) {
	if f.density == 0 || now.Sub(f.since) < paceKnown {
		return 0, false
	}
	f.decay(now)
	// An exponential window that has been open for t holds 1-e^(-t/horizon) of what it will hold.
	open := paceHorizon.Seconds() * (1 - math.Exp(-now.Sub(f.since).Seconds()/paceHorizon.Seconds()))
	return f.sum * f.density / open, true
}

// gainSlack is by how much a lag must have shrunk to be more than jitter.
const gainSlack = time.Second

// gain notices when a source gains on real time. Samples come in steps, so the lag of the newest one swings by about the
// usual interval even if nothing is gained. Two signs count: it falls by more than it swings, which a quick
// replay shows at once; or its smallest value in one stretch of time is smaller than that in the stretch before, which
// shows a slow one.
type gain struct {
	peak     time.Duration // the largest lag since the last gain
	start    time.Time
	min      time.Duration // of the stretch that began at start
	before   time.Duration // of the stretch before; only if compared
	compared bool
	at       time.Time // when it last gained
}

// note takes the lag of the newest sample at a time; swing is by how much lags differ when nothing is gained. A
// stretch must be longer.
func (g *gain) note(lag time.Duration, now time.Time, swing, stretch time.Duration) {
	passed := now.Sub(g.start)
	switch {
	case g.start.IsZero() || passed >= 2*stretch:
		g.start, g.min, g.compared = now, lag, false
	case passed >= stretch:
		g.before, g.compared = g.min, true
		g.start, g.min = now, lag
	default:
		g.min = min(g.min, lag)
	}
	g.peak = max(g.peak, lag)
	if g.peak-lag > swing+gainSlack || g.compared && g.min < g.before-gainSlack {
		g.at, g.peak = now, lag
	}
}
