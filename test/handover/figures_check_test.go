package handover

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/highlander-io/highlander/test/history"
)

// Each flaw is planted in a clean sequence and must be counted, and nothing else.
func TestCount(t *testing.T) {
	const name = counterPrefix + `series="0"`
	epoch := time.UnixMilli(0)
	at := func(ms int64, value float64) history.Sample {
		return history.Sample{Series: name, Time: ms, Value: value}
	}
	clean := []history.Sample{at(1000, 16001), at(2000, 32001), at(3500, 56002), at(4500, 72002)}
	with := func(more ...history.Sample) []history.Sample {
		return append(append([]history.Sample(nil), clean...), more...)
	}
	tests := []struct {
		name     string
		received []history.Sample
		want     figures
	}{
		{"clean", clean, figures{samples: 4, live: 4, gap: 1500 * time.Millisecond}},
		{"repeated", with(clean[3]), figures{samples: 4, live: 4, gap: 1500 * time.Millisecond, repeated: 1}},
		{"two values", with(at(4500, 72003)), figures{samples: 4, live: 4, gap: 1500 * time.Millisecond, clashes: 1}},
		{"hole", with(at(9500, 152002)), figures{samples: 5, live: 5, gap: 5 * time.Second}},
		{"reset", with(at(5500, 71986)), figures{samples: 5, live: 5, gap: 1500 * time.Millisecond, resets: 1}},
		{"answered late, then another server", with(at(5500, 16*6300+2), at(6100, 16*6150+1)),
			figures{samples: 6, live: 6, gap: 1500 * time.Millisecond, changes: 2}},
		{"another server within the guard", with(at(5000, 80001)),
			figures{samples: 5, live: 5, gap: 1500 * time.Millisecond, changes: 2, close: 1}},
		{"late", with(at(3000, 80002)), figures{samples: 5, live: 5, gap: time.Second, unordered: 1}},
		{"stale marker", with(at(5500, math.NaN())), figures{samples: 5, live: 4, gap: 1500 * time.Millisecond}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := count(tt.received, 0, epoch)
			want := tt.want
			want.series, want.changes, want.changeGap = 1, max(1, want.changes), 1500*time.Millisecond
			if got != want {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
	t.Run("what was before is not counted", func(t *testing.T) {
		got := count(with(clean[0], at(5500, 88002)), len(clean)+1, epoch)
		if want := (figures{series: 1, samples: 1, live: 1, gap: time.Second}); got != want {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	})
}

// What the servers have scraped is the measure of what has to arrive.
func TestHear(t *testing.T) {
	const name = "counter"
	server := func(number int, times ...int64) witness {
		w := witness{name: string(rune('a' + number - 1)), series: map[string]scraped{}}
		for _, at := range times {
			w.add(history.Sample{Series: name, Time: at, Value: float64(16*at) + float64(number)})
		}
		return w
	}
	a, b := server(1, 1000, 2000, 3000, 4000, 5000, 6000), server(2, 1300, 2300, 3300, 4300, 9300, 10300)
	tests := []struct {
		name   string
		by     string // the servers of
		times  []int64
		gaps   []int64
		wrong  string
		pauses int
	}{
		{name: "nothing but the guard is missing", by: "aaab", times: []int64{1000, 2000, 3000, 4300}, gaps: []int64{1300}},
		{name: "there and back", by: "abba", times: []int64{2000, 3300, 4300, 5000}, gaps: []int64{1300, 700}},
		{name: "within a turn", by: "aab", times: []int64{1000, 3000, 4300}, gaps: []int64{1300}, wrong: "a has scraped it at 2000"},
		{name: "at a change", by: "aab", times: []int64{1000, 2000, 4300}, gaps: []int64{2300}, wrong: "b has scraped it at 3300"},
		{name: "invented", by: "aaaa", times: []int64{1000, 2000, 2500, 3000}, wrong: "invented"},
		{name: "the server stood still", by: "bbb", times: []int64{3300, 4300, 9300}, pauses: 1},
		{name: "the next one stood still", by: "aab", times: []int64{5000, 6000, 9300}, gaps: []int64{3300}, pauses: 1},
		{name: "the next one was not there yet", by: "ab", times: []int64{-2000, 1300}, gaps: []int64{3300}, wrong: "b has nothing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			first := server(1, append([]int64{-2000}, a.series[name].times...)...)
			var received []history.Sample
			for i, at := range tt.times {
				received = append(received, history.Sample{Series: name, Time: at, Value: float64(16*at) + float64(tt.by[i]-'a'+1)})
			}
			if tt.name != "the next one was not there yet" {
				first = a
			}
			v := hear(received, []witness{first, b})
			if wrong := strings.Join(v.wrong, "\n"); (wrong != "") != (tt.wrong != "") || !strings.Contains(wrong, tt.wrong) {
				t.Errorf("wrong: %q, want %q", wrong, tt.wrong)
			}
			if !slices.Equal(v.gaps, tt.gaps) || len(v.pauses) != tt.pauses {
				t.Errorf("gaps %v, pauses %q; want %v and %d", v.gaps, v.pauses, tt.gaps, tt.pauses)
			}
		})
	}
	t.Run("a series ends early", func(t *testing.T) {
		received := []history.Sample{{Series: name, Time: 4000, Value: 64001}, {Series: "other", Time: 6000}}
		other := witness{name: "c", series: map[string]scraped{"other": {[]int64{6000}, map[int64]float64{6000: 0}}}}
		if v := hear(received, []witness{a, other}); len(v.wrong) != 1 || !strings.Contains(v.wrong[0], "2 scrapes of a before others") {
			t.Errorf("wrong: %q", v.wrong)
		}
	})
	t.Run("a line of a dump", func(t *testing.T) {
		s, err := parseDump(`{__name__="clock_total", instance="127.0.0.1:1", job="clock", series="7"} 16001 1795287813224` + "\n")
		want := history.Sample{Series: `__name__="clock_total",cluster="prod",instance="127.0.0.1:1",job="clock",series="7"`, Time: 1795287813224, Value: 16001}
		if err != nil || s != want {
			t.Errorf("%+v, %v; want %+v", s, err, want)
		}
	})
}
