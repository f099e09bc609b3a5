package handover

import (
	"math"
	"testing"
	"time"

	"github.com/highlander-io/highlander/test/history"
)

// Each flaw is planted in a clean sequence and must be counted, and nothing else.
func TestCount(t *testing.T) {
	const name = counterPrefix + `series="0"`
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
		{"late", with(at(3000, 80002)), figures{samples: 5, live: 5, gap: time.Second, unordered: 1}},
		{"stale marker", with(at(5500, math.NaN())), figures{samples: 5, live: 4, gap: 1500 * time.Millisecond}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := count(tt.received, 0)
			got.gapAt = ""
			want := tt.want
			want.series, want.changes, want.changeGap = 1, 1, 1500*time.Millisecond
			if got != want {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
	t.Run("a series ends early", func(t *testing.T) {
		received := with(history.Sample{Series: "other", Time: 30_000})
		if got, want := end(received), 25500*time.Millisecond; got != want {
			t.Errorf("ended %v early, want %v", got, want)
		}
	})
	t.Run("what was before is not counted", func(t *testing.T) {
		got := count(with(clean[0], at(5500, 88002)), len(clean)+1)
		got.gapAt = ""
		if want := (figures{series: 1, samples: 1, live: 1, gap: time.Second}); got != want {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	})
}
