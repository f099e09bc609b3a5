package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/prompb"
)

func decode(t *testing.T, body []byte) prompb.WriteRequest {
	t.Helper()
	raw, err := snappy.Decode(nil, body)
	if err != nil {
		t.Fatal(err)
	}
	var req prompb.WriteRequest
	if err := req.Unmarshal(raw); err != nil {
		t.Fatal(err)
	}
	return req
}

// The template is patched in place, so each body must still be a request with the same series and other samples.
func TestBodies(t *testing.T) {
	for _, replica := range []string{"", replicaName} {
		traffic := newTraffic(replica, 1)
		first, second := decode(t, traffic.body(0)), decode(t, traffic.body(1))
		if len(first.Timeseries) != seriesPerRequest || len(second.Timeseries) != seriesPerRequest {
			t.Fatalf("%d and %d series, want %d", len(first.Timeseries), len(second.Timeseries), seriesPerRequest)
		}
		for i := range first.Timeseries {
			a, b := first.Timeseries[i], second.Timeseries[i]
			if fmt.Sprint(a.Labels) != fmt.Sprint(b.Labels) {
				t.Fatalf("series %d: labels %v and %v", i, a.Labels, b.Labels)
			}
			if b.Samples[0].Timestamp != a.Samples[0].Timestamp+1 || b.Samples[0].Value >= 1e300 {
				t.Fatalf("series %d: samples %v and %v", i, a.Samples, b.Samples)
			}
			if strings.Contains(fmt.Sprint(a.Labels), "__replica__") != (replica != "") {
				t.Fatalf("series %d: replica label, want %q: %v", i, replica, a.Labels)
			}
		}
		if !bytes.Equal(traffic.body(5), newTrafficAt(traffic).body(5)) {
			t.Error("the same request differs between two contestants")
		}
	}
}

func newTrafficAt(t *traffic) *traffic {
	again := *t
	return &again
}

func TestPairedRatio(t *testing.T) {
	a := []figure{{cpu: 1}, {cpu: 2}, {cpu: 30}}
	b := []figure{{cpu: 2}, {cpu: 4}, {cpu: 10}}
	if got := paired(a, b); got != 0.5 {
		t.Errorf("median of the ratios is %v, want 0.5", got)
	}
}
