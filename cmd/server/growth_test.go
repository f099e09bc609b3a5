package server

import (
	"math"
	"testing"
	"time"
)

// At a steady rate the estimate is right from the first seconds on, whatever was before; the backlog may grow in steps.
func TestGrowthAtSteadyRate(t *testing.T) {
	const perSecond = 1 << 20
	for name, step := range map[string]time.Duration{"each look": storageInterval, "each half second": 500 * time.Millisecond} {
		for _, rest := range []time.Duration{0, time.Hour} {
			var g growth
			start := time.Unix(1000, 0)
			g.note(0, start.Add(-rest))
			for after := time.Duration(0); after <= 3*time.Minute; after += storageInterval {
				g.note(uint64(after/step)*uint64(step/time.Millisecond)*perSecond/1000, start.Add(after))
				got := g.rate()
				if after >= 6*time.Second && math.Abs(got-perSecond) > perSecond*0.15 {
					t.Fatalf("%s, after %v of rest and %v of growth: %.0f bytes/s, want %d", name, rest, after, got, perSecond)
				}
			}
		}
	}
}

// What is in the backlog for a moment, at whatever size, is no growth; nor is a backlog that is large and stays or shrinks.
func TestGrowthAtRest(t *testing.T) {
	shapes := map[string]func(look int) uint64{
		"empty":     func(int) uint64 { return 0 },
		"constant":  func(int) uint64 { return 1 << 30 },
		"fluttery":  func(look int) uint64 { return []uint64{0, 1 << 20, 5 << 20, 1 << 10}[look%4] },
		"shrinking": func(look int) uint64 { return 1<<30 - uint64(look)<<10 },
	}
	for name, shape := range shapes {
		var g growth
		for look := range 2000 {
			g.note(shape(look), time.Unix(1000, 0).Add(time.Duration(look)*storageInterval))
			if got := g.secondsUntil(1 << 40); !math.IsInf(got, 1) {
				t.Fatalf("%s backlog, look %d: full in %v s, want +Inf", name, look, got)
			}
		}
		if len(g.lows) > int(growthWindow/storageInterval)+1 {
			t.Errorf("%s backlog: %d looks are remembered", name, len(g.lows))
		}
	}
}

// The estimate ends when the backlog does.
func TestGrowthEnds(t *testing.T) {
	var g growth
	at := time.Unix(1000, 0)
	note := func(bytes uint64) { g.note(bytes, at); at = at.Add(storageInterval) }
	for i := range uint64(300) {
		note(i << 20)
	}
	if got, want := g.secondsUntil(100<<20), 10.0; math.Abs(got-want) > 0.5 {
		t.Fatalf("100 MiB last %v s at 10 MiB/s, want %v", got, want)
	}
	if got := g.secondsUntil(-1); got != 0 {
		t.Errorf("no room lasts %v s, want 0", got)
	}
	note(0)
	if got := g.secondsUntil(100 << 20); !math.IsInf(got, 1) {
		t.Errorf("full in %v s though the backlog is empty", got)
	}
}
