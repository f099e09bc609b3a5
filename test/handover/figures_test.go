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
	changeGap       time.Duration // largest gap of a counter where the server changed
	changes         int           // times that a counter's server changed, at most
	repeated        int           // timestamps that came again with the same value
	clashes         int           // and with another one
	unordered       int           // first deliveries older than what was there
	resets          int           // decreases of a counter at first delivery
	close           int           // first deliveries of a counter that another server has scraped, and not above the guard
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

// count reads samples in the order in which they arrived; what is wrong with the first of them, up to from, is not counted. The
// target has shown the time since start.
func count(received []history.Sample, from int, start time.Time) figures {
	var f figures
	tracks := map[string]*track{}
	for i, s := range received {
		tr := tracks[s.Series]
		if tr == nil {
			tr = &track{values: map[int64]uint64{}, when: map[int64]int{}, newest: math.MinInt64, last: math.NaN()}
			tracks[s.Series] = tr
		}
		one := tr.note(s, i, start)
		if i >= from {
			f.add(one)
		}
	}
	for _, tr := range tracks {
		f.series++
		times := slices.Sorted(maps.Keys(tr.when))
		for i := 1; i < len(times); i++ {
			if tr.when[times[i]] < from {
				continue
			}
			if gap := time.Duration(times[i]-times[i-1]) * time.Millisecond; gap > f.gap {
				f.gap = gap
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
func (tr *track) note(s history.Sample, i int, start time.Time) figures {
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
	if s.Value < tr.last && tr.late(start) <= guard {
		f.resets = 1
	}
	if !math.IsNaN(tr.last) && scraper(tr.last) != scraper(s.Value) {
		f.changeGap = time.Duration(s.Time-tr.lastAt) * time.Millisecond
		if f.changeGap <= guard {
			f.close = 1
		}
	}
	tr.last, tr.lastAt = s.Value, s.Time
	return f
}

// late is by how much the target's answer came after the time that the server gave the newest sample. On a machine that is slow
// enough for that to be more than the guard, another server's next sample may be of an earlier answer.
func (tr *track) late(start time.Time) time.Duration {
	answered := start.UnixMilli() + int64(tr.last)/16
	return time.Duration(answered-tr.lastAt) * time.Millisecond
}

func (f *figures) add(one figures) {
	f.samples += one.samples
	f.live += one.live
	f.repeated += one.repeated
	f.clashes += one.clashes
	f.unordered += one.unordered
	f.resets += one.resets
	f.close += one.close
	f.changeGap = max(f.changeGap, one.changeGap)
}

// scraper is the number of the server that scraped a counter.
func scraper(value float64) int { return int(int64(value) % 16) }

// seconds prints a duration as people compare them.
func seconds(d time.Duration) string { return fmt.Sprintf("%.3f s", d.Seconds()) }
