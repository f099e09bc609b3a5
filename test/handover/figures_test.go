package handover

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/highlander-io/highlander/test/history"
)

// figures are what was counted of one case.
type figures struct {
	series, samples int // distinct samples
	live            int // of them those that are no stale markers
	gap             time.Duration
	gapAt           string
	changeGap       time.Duration // largest gap of a counter where the server changed
	changes         int           // times that a counter's server changed, at most
	repeated        int           // timestamps that came again with the same value
	clashes         int           // and with another one
	unordered       int           // first deliveries older than what was there
	resets          int           // decreases of a counter at first delivery
}

const counterPrefix = `__name__="clock_total",`

// track is what has arrived of one series.
type track struct {
	values map[int64]uint64 // time → bits of the value
	when   map[int64]int    // time → place in the order of arrival
	newest int64
	last   float64 // newest value that was no stale marker
	lastAt int64
}

// count reads samples in the order in which they arrived; what is wrong with the first of them, up to from, is not counted.
func count(received []history.Sample, from int) figures {
	var f figures
	tracks := map[string]*track{}
	for i, s := range received {
		tr := tracks[s.Series]
		if tr == nil {
			tr = &track{values: map[int64]uint64{}, when: map[int64]int{}, newest: math.MinInt64, last: math.NaN()}
			tracks[s.Series] = tr
		}
		one := tr.note(s, i)
		if i >= from {
			f.add(one)
		}
	}
	for name, tr := range tracks {
		f.series++
		times := slices.Sorted(maps.Keys(tr.when))
		for i := 1; i < len(times); i++ {
			if tr.when[times[i]] < from {
				continue
			}
			if gap := time.Duration(times[i]-times[i-1]) * time.Millisecond; gap > f.gap {
				f.gap, f.gapAt = gap, fmt.Sprintf("%s between %d and %d", name, times[i-1], times[i])
			}
		}
	}
	f.changes = changes(tracks, from)
	return f
}

// changes is how often the scraper of a counter has changed since from, at most.
func changes(tracks map[string]*track, from int) int {
	most := 0
	for name, tr := range tracks {
		if !strings.HasPrefix(name, counterPrefix) {
			continue
		}
		n, last := 0, 0
		for _, at := range slices.Sorted(maps.Keys(tr.when)) {
			v := math.Float64frombits(tr.values[at])
			if math.IsNaN(v) {
				continue
			}
			if last != 0 && last != scraper(v) && tr.when[at] >= from {
				n++
			}
			last = scraper(v)
		}
		most = max(most, n)
	}
	return most
}

// note takes the next sample, the i-th of all, and returns its part of the figures.
func (tr *track) note(s history.Sample, i int) figures {
	bits := math.Float64bits(s.Value)
	if before, seen := tr.values[s.Time]; seen {
		if before == bits {
			return figures{repeated: 1}
		}
		return figures{clashes: 1}
	}
	f := figures{samples: 1}
	tr.values[s.Time], tr.when[s.Time] = bits, i
	if s.Time < tr.newest {
		f.unordered = 1
	}
	tr.newest = max(tr.newest, s.Time)
	if math.IsNaN(s.Value) {
		return f
	}
	f.live = 1
	if !strings.HasPrefix(s.Series, counterPrefix) {
		return f
	}
	if s.Value < tr.last {
		f.resets = 1
	}
	if !math.IsNaN(tr.last) && scraper(tr.last) != scraper(s.Value) {
		f.changeGap = time.Duration(s.Time-tr.lastAt) * time.Millisecond
	}
	tr.last, tr.lastAt = s.Value, s.Time
	return f
}

func (f *figures) add(one figures) {
	f.samples += one.samples
	f.live += one.live
	f.repeated += one.repeated
	f.clashes += one.clashes
	f.unordered += one.unordered
	f.resets += one.resets
	f.changeGap = max(f.changeGap, one.changeGap)
}

// end is how long before the newest sample of all a series ended, at most: a hole that has no other side.
func end(received []history.Sample) time.Duration {
	last := map[string]int64{}
	newest := int64(math.MinInt64)
	for _, s := range received {
		last[s.Series] = max(last[s.Series], s.Time)
		newest = max(newest, s.Time)
	}
	gap := int64(0)
	for _, at := range last {
		gap = max(gap, newest-at)
	}
	return time.Duration(gap) * time.Millisecond
}

// scraper is the number of the server that scraped a counter.
func scraper(value float64) int { return int(int64(value) % 16) }

// seconds prints a duration as people compare them.
func seconds(d time.Duration) string { return fmt.Sprintf("%.3f s", d.Seconds()) }
