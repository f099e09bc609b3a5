package handover

import (
	"fmt"
	"maps"
	"math"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/highlander-io/highlander/test/harness"
	"github.com/highlander-io/highlander/test/history"
)

// witness is what a server has scraped, as its own database says. A machine that stands still keeps servers from scraping; what
// one of them has and the LTS has not is highlander's fault, however slow the machine is.
type witness struct {
	name   string
	series map[string]scraped
}

type scraped struct {
	times  []int64 // in order
	values map[int64]float64
}

// witness reads the database of a server that has ended.
func (s *server) witness(t testing.TB) witness {
	t.Helper()
	out, err := exec.Command(harness.Debian(t, "promtool", "prometheus"), "tsdb", "dump", s.data).Output()
	if err != nil {
		t.Fatalf("promtool tsdb dump of %s: %v", s.name, err)
	}
	w := witness{name: s.name, series: map[string]scraped{}}
	for line := range strings.Lines(string(out)) {
		sample, err := parseDump(line)
		if err != nil {
			t.Fatalf("promtool tsdb dump of %s: %q: %v", s.name, line, err)
		}
		w.add(sample)
	}
	for _, own := range w.series {
		slices.Sort(own.times)
	}
	return w
}

func (w *witness) add(s history.Sample) {
	own := w.series[s.Series]
	if own.values == nil {
		own.values = map[int64]float64{}
	}
	own.times = append(own.times, s.Time)
	own.values[s.Time] = s.Value
	w.series[s.Series] = own
}

// parseDump reads a line like `{__name__="up", instance="x", job="clock"} 1 1700000000000`. The series gets the external label
// that it is sent with.
func parseDump(line string) (s history.Sample, err error) {
	labels, rest, ok := strings.Cut(strings.TrimPrefix(line, "{"), "} ")
	fields := strings.Fields(rest)
	if !ok || len(fields) != 2 {
		return s, fmt.Errorf("not labels, value and time")
	}
	pairs := append(strings.Split(labels, ", "), fmt.Sprintf("cluster=%q", group))
	slices.Sort(pairs)
	s.Series = strings.Join(pairs, ",")
	if s.Value, err = strconv.ParseFloat(fields[0], 64); err != nil {
		return s, err
	}
	s.Time, err = strconv.ParseInt(fields[1], 10, 64)
	return s, err
}

// has says whether the server has scraped a sample. Dumped stale markers are NaN of any kind.
func (w *witness) has(s history.Sample) bool {
	v, ok := w.series[s.Series].values[s.Time]
	return ok && (v == s.Value || math.IsNaN(v) && math.IsNaN(s.Value))
}

// verdict is what the servers' own databases say of what has arrived.
type verdict struct {
	wrong  []string
	pauses []string // holes that no server could fill, as it did not scrape
	gaps   []int64  // largest gap of a series at each change, milliseconds
}

// hear holds what has arrived against what the servers have scraped.
func hear(received []history.Sample, witnesses []witness) verdict {
	arrived := map[string]scraped{}
	newest := int64(math.MinInt64)
	for _, s := range received {
		all := arrived[s.Series]
		if all.values == nil {
			all.values = map[int64]float64{}
		}
		if _, again := all.values[s.Time]; !again {
			all.times, all.values[s.Time] = append(all.times, s.Time), s.Value
		}
		arrived[s.Series] = all
		newest = max(newest, s.Time)
	}
	var v verdict
	for _, name := range slices.Sorted(maps.Keys(arrived)) {
		all := arrived[name]
		slices.Sort(all.times)
		v.follow(name, all, newest, witnesses)
	}
	return v
}

// follow goes along a series: who has scraped each sample, and what of that server is missing before it. Where the server
// changes, only what is above the guard has to be there.
func (v *verdict) follow(name string, all scraped, newest int64, witnesses []witness) {
	var last *witness
	var before int64
	turn := 0
	for _, at := range all.times {
		w := whose(history.Sample{Series: name, Time: at, Value: all.values[at]}, last, witnesses)
		if w == nil {
			v.blame("invented: %s at %d = %v, which no server has scraped", name, at, all.values[at])
			continue
		}
		switch {
		case last == w:
			v.between(name, w, before, before, at)
		case last != nil:
			v.between(name, w, before, before+guard.Milliseconds(), at)
			v.change(turn, at-before)
			turn++
		}
		last, before = w, at
	}
	if last == nil {
		return
	}
	// A server that ends stops sending in the middle of its last scrape.
	own := last.series[name].times
	from, _ := slices.BinarySearch(own, before+1)
	if to, _ := slices.BinarySearch(own, newest+1); to-from > 1 {
		v.blame("V1: %s ends at %d, %d scrapes of %s before others", name, before, to-from, last.name)
	}
}

// whose is the server that has scraped a sample, the last one if there are several.
func whose(s history.Sample, last *witness, witnesses []witness) *witness {
	if last != nil && last.has(s) {
		return last
	}
	for i := range witnesses {
		if witnesses[i].has(s) {
			return &witnesses[i]
		}
	}
	return nil
}

// between looks at the hole between two samples of a series: nothing that the server of the second one has scraped after a time
// may be missing.
func (v *verdict) between(name string, w *witness, before, after, at int64) {
	own := w.series[name].times
	i, _ := slices.BinarySearch(own, at)
	if i > 0 && own[i-1] > after {
		v.blame("V1: %s: %s has scraped it at %d, and the next that arrived after %d is of %d", name, w.name, own[i-1], before, at)
		return
	}
	gap := time.Duration(at-before) * time.Millisecond
	switch {
	case gap <= gapMax:
	case i == 0:
		v.blame("V1: %s: a gap of %s from %d to %d, before which %s has nothing", name, seconds(gap), before, at, w.name)
	default:
		v.pauses = append(v.pauses, fmt.Sprintf("%s: a gap of %s from %d to %d: %s itself has not scraped for %s",
			name, seconds(gap), before, at, w.name, seconds(time.Duration(at-own[i-1])*time.Millisecond)))
	}
}

func (v *verdict) blame(format string, args ...any) {
	v.wrong = append(v.wrong, fmt.Sprintf(format, args...))
}

// change notes the gap of a series at the n-th change of its server.
func (v *verdict) change(n int, gap int64) {
	if n == len(v.gaps) {
		v.gaps = append(v.gaps, 0)
	}
	v.gaps[n] = max(v.gaps[n], gap)
}
