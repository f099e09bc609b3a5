package server

import (
	"math"
	"slices"
	"time"
)

const (
	// growthWindow is how far back growth is measured.
	growthWindow = time.Minute
	// growthSettle is how long a backlog must stay above an earlier low to have grown: what a request leaves there for a
	// moment is no growth.
	growthSettle = time.Second
)

// growth measures how fast the backlog grows: from its low in growthWindow to its low in the last growthSettle. Where it
// grows at a steady rate that is right from the first seconds on, which an average that remembers what was before is not;
// and it is nothing as soon as the backlog shrinks.
type growth struct {
	lows []low // each lower than all that follow; the last one is the latest look
}

// low is the backlog as one look found it.
type low struct {
	at    time.Time
	bytes uint64
}

// note adds a look. Looks come in the order of time.
func (g *growth) note(bytes uint64, at time.Time) {
	for len(g.lows) > 0 && g.lows[len(g.lows)-1].bytes >= bytes {
		g.lows = g.lows[:len(g.lows)-1]
	}
	g.lows = append(g.lows, low{at, bytes})
	old := 0
	for at.Sub(g.lows[old].at) > growthWindow {
		old++ // the latest look is not old
	}
	g.lows = slices.Delete(g.lows, 0, old)
}

// rate returns bytes per second as of the latest look; 0 if the backlog does not grow.
func (g *growth) rate() float64 {
	if len(g.lows) == 0 {
		return 0
	}
	now := g.lows[len(g.lows)-1].at
	recent := slices.IndexFunc(g.lows, func(l low) bool { return now.Sub(l.at) <= growthSettle })
	from, to := g.lows[0], g.lows[recent]
	elapsed := to.at.Sub(from.at)
	if elapsed < growthSettle {
		return 0
	}
	return float64(to.bytes-from.bytes) / elapsed.Seconds()
}

// secondsUntil is how long a room lasts; +Inf if nothing grows.
func (g *growth) secondsUntil(room int64) float64 {
	rate := g.rate()
	if rate < 1 {
		return math.Inf(1)
	}
	return math.Max(float64(room), 0) / rate
}
