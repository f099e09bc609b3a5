package wire

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/prometheus/prometheus/prompb"
)

func TestLimits(t *testing.T) {
	sources := make([][]string, identitiesMax+1)
	for i := range sources {
		sources[i] = []string{"__name__", "up", "__replica__", fmt.Sprint(i)}
	}
	for _, c := range []struct {
		what string
		raw  []byte
		p    Protocol
	}{
		{"series", bytes.Repeat([]byte{0x0a, 0}, seriesMax+1), V1},
		{"series", bytes.Repeat([]byte{0x2a, 0}, seriesMax+1), V2},
		{"symbols", bytes.Repeat([]byte{0x22, 0}, symbolsMax+1), V2},
		{"metadata entries and unknown fields", bytes.Repeat([]byte{0x1a, 0}, extraMax+1), V1},
		{"metadata entries and unknown fields", bytes.Repeat([]byte{0x50, 0}, extraMax+1), V2},
		{"different groups and sources in labels", requestV1(sources...), V1},
		{"different groups and sources in labels", requestV2(sources...), V2},
	} {
		var r Request
		var limit *LimitError
		if err := r.Scan(c.raw, c.p, pairs); !errors.As(err, &limit) || limit.What != c.what {
			t.Errorf("%s, %s: %v", c.p, c.what, err)
		}
	}
}

// Refused series cost little: not all of them are described.
func TestDetailsAreBounded(t *testing.T) {
	var r Request
	if err := r.Scan(bytes.Repeat([]byte{0x0a, 0}, 1000), V1, pairs); err != nil {
		t.Fatal(err)
	}
	var details []string
	for _, s := range r.Series {
		if s.Reason != ReasonMissingName || s.Detail == "" {
			t.Fatalf("%+v", s)
		}
		details = append(details, s.Detail)
	}
	if n := len(slices.Compact(details)); n != detailsMax+1 {
		t.Fatalf("%d different details", n)
	}
}

// A histogram larger than an entry is refused for that, and its buckets are not held in memory.
func TestHugeHistogram(t *testing.T) {
	h := prompb.Histogram{Count: &prompb.Histogram_CountInt{}, PositiveDeltas: make([]int64, 4*bucketsMax), PositiveSpans: []prompb.BucketSpan{{Length: 4 * bucketsMax}}}
	raw := []byte(encoded(&prompb.WriteRequest{Timeseries: []prompb.TimeSeries{{
		Labels: []prompb.Label{{Name: "__name__", Value: "up"}}, Histograms: []prompb.Histogram{h},
	}}}))
	var r Request
	if err := r.Scan(raw, V1, pairs); err != nil {
		t.Fatal(err)
	}
	if r.Series[0].Reason != ReasonSampleTooLong {
		t.Fatalf("%+v", r.Series[0])
	}
	if n := cap(r.scratch.positive.deltas); n > 2*bucketsMax {
		t.Fatalf("room for %d buckets", n)
	}
}
