package ingest

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/prometheus/prometheus/prompb"
)

// One series that is always far ahead keeps neither the rest of its group from failing over nor what is kept from going.
func TestWildTimesInEveryBody(t *testing.T) {
	c := newColony(t, 1)
	a, b := newProm("a", 0), newProm("b", 2*time.Second)
	a.wild, b.wild = 365*24*time.Hour, 365*24*time.Hour
	c.undisturbed(a, b)
}

// One sample with a time that no clock shows says nothing about its source's clock: what is kept stays as long as it is
// needed, and no longer.
func TestWildTimes(t *testing.T) {
	year := 365 * 24 * time.Hour
	start := newClock().Now()
	for _, at := range []int64{math.MaxInt64, math.MinInt64, start.Add(year).UnixMilli(), start.UnixMicro()} {
		for _, by := range []string{"a", "b", "ab"} {
			t.Run(fmt.Sprint(at, by), func(t *testing.T) {
				c := newColony(t, 1)
				a, b := newProm("a", 0), newProm("b", 2*time.Second)
				c.run(2*time.Minute, a, b)
				for _, name := range by {
					newProm(string(name), 0).send(c, []prompb.TimeSeries{{
						Labels:  []prompb.Label{{Name: "__name__", Value: "m"}, {Name: "s", Value: "wild"}},
						Samples: []prompb.Sample{{Timestamp: at}},
					}})
				}
				c.undisturbed(a, b)
			})
		}
	}
}

// undisturbed requires that a's standby b has no more kept of it than it may need, and takes over without a gap.
func (c *colony) undisturbed(a, b *prom) {
	c.Helper()
	c.run(6*time.Minute, a, b)
	if items, most := int(c.state().Standby.Kept), 2*140/5; items == 0 || items > most {
		c.Errorf("%d kept, want at most %d", items, most)
	}
	a.kill()
	c.run(time.Minute, a, b)
	c.current("b")
	if gap := c.check(a.interval+guard, a, b); gap > a.interval+guard {
		c.Errorf("largest gap %v", gap)
	}
}
