package wire

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
)

// noisyV1 is a request that hardly compresses: one series with many samples, then many with one.
func noisyV1(samples, series int) *prompb.WriteRequest {
	rnd := rand.New(rand.NewPCG(1, 2))
	req := &prompb.WriteRequest{Metadata: []prompb.MetricMetadata{{MetricFamilyName: "up", Help: "Help."}}}
	long := prompb.TimeSeries{Labels: []prompb.Label{{Name: "__name__", Value: "long"}, {Name: "__replica__", Value: "a"}}}
	for i := range samples {
		long.Samples = append(long.Samples, prompb.Sample{Value: rnd.Float64(), Timestamp: testTime + int64(i)})
	}
	for i := range 3 {
		long.Exemplars = append(long.Exemplars, prompb.Exemplar{Value: float64(i), Timestamp: testTime})
	}
	req.Timeseries = append(req.Timeseries, long)
	for range series {
		req.Timeseries = append(req.Timeseries, prompb.TimeSeries{
			Labels:  []prompb.Label{{Name: "__name__", Value: fmt.Sprintf("m%x", rnd.Uint64())}, {Name: "__replica__", Value: "a"}},
			Samples: []prompb.Sample{{Value: rnd.Float64(), Timestamp: testTime}},
		})
	}
	return req
}

func TestPartsOfLargeRequestV1(t *testing.T) {
	raw := []byte(encoded(noisyV1(40_000, 30_000)))
	var r Request
	if err := r.Scan(raw, V1, pairs); err != nil {
		t.Fatal(err)
	}
	checkParts(t, &r, raw, true, DefaultMaxStored)
	parts, err := r.Parts(nil, true, true, 0)
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for i, p := range parts {
		total += len(p.Body)
		if p.Counts.Metadata > 0 != (i == 0) {
			t.Errorf("part %d holds metadata: %v", i, p.Counts.Metadata)
		}
	}
	if least := total/DefaultMaxStored + 1; len(parts) > 2*least {
		t.Errorf("%d parts for %d bytes, %d would do", len(parts), total, least)
	}
	// Samples keep their order over all parts.
	var times []int64
	for _, p := range parts {
		decoded, _ := Decompress(nil, p.Body, 1<<30)
		_, req, _ := decodeV1(decoded)
		for _, ts := range req.Timeseries {
			if ts.Labels[0].Value == "long" {
				for _, s := range ts.Samples {
					times = append(times, s.Timestamp)
				}
			}
		}
	}
	if len(times) != 40_000 || !slices.IsSorted(times) {
		t.Errorf("%d samples of the long series, in order: %v", len(times), slices.IsSorted(times))
	}
}

func TestPartsOfLargeRequestV2(t *testing.T) {
	symbols := writev2.NewSymbolTable()
	var req writev2.Request
	for _, in := range noisyV1(20_000, 15_000).Timeseries {
		ts := writev2.TimeSeries{Metadata: writev2.Metadata{Type: 1, HelpRef: symbols.Symbolize("Help.")}}
		for _, l := range in.Labels {
			ts.LabelsRefs = append(ts.LabelsRefs, symbols.Symbolize(l.Name), symbols.Symbolize(l.Value))
		}
		for _, s := range in.Samples {
			ts.Samples = append(ts.Samples, writev2.Sample{Value: s.Value, Timestamp: s.Timestamp})
		}
		for _, e := range in.Exemplars {
			ts.Exemplars = append(ts.Exemplars, writev2.Exemplar{Value: e.Value, Timestamp: e.Timestamp})
		}
		ts.Histograms = []writev2.Histogram{{Count: &writev2.Histogram_CountInt{}, Timestamp: testTime}}
		req.Timeseries = append(req.Timeseries, ts)
	}
	req.Symbols = symbols.Symbols()
	raw := []byte(encoded(&req))
	var r Request
	if err := r.Scan(raw, V2, pairs); err != nil {
		t.Fatal(err)
	}
	checkParts(t, &r, raw, true, DefaultMaxStored)
	parts, err := r.Parts(nil, true, true, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range parts {
		decoded, _ := Decompress(nil, p.Body, 1<<30)
		_, out, _ := decodeV2(decoded)
		for _, ts := range out.Timeseries {
			if len(ts.Samples)+len(ts.Histograms) == 0 {
				t.Fatalf("part %d has a series without samples: receivers refuse it", i)
			}
		}
	}
}

func TestPartsByPick(t *testing.T) {
	raw := requestV1([]string{"__name__", "a"}, []string{"x", "nameless"}, []string{"__name__", "c"}, []string{"__name__", "d"})
	raw = append(raw, requestMetadata<<3|typeBytes, 0)
	for _, p := range []Protocol{V1, V2} {
		if p == V2 {
			raw = requestV2([]string{"__name__", "a"}, []string{"x", "nameless"}, []string{"__name__", "c"}, []string{"__name__", "d"})
		}
		var r Request
		if err := r.Scan(raw, p, pairs); err != nil {
			t.Fatal(err)
		}
		parts, err := r.Parts([]int32{3, 1, 0}, false, false, 0)
		if err != nil || len(parts) != 1 {
			t.Fatalf("%d parts, %v", len(parts), err)
		}
		var again Request
		decoded, _ := Decompress(nil, parts[0].Body, 1<<20)
		if err := again.Scan(decoded, p, pairs); err != nil {
			t.Fatal(err)
		}
		got := fmt.Sprint(again.Labels(0, nil), again.Labels(1, nil), len(again.Series), again.Counts.Metadata)
		if want := "[{__name__ d}] [{__name__ a}] 2 0"; got != want {
			t.Errorf("%s: %s, expected %s", p, got, want)
		}
		if parts, err := r.Parts([]int32{}, false, false, 0); err != nil || len(parts) != 0 {
			t.Errorf("%s: nothing picked gives %d parts, %v", p, len(parts), err)
		}
	}
}

// Parts fails only for a smaller size than Scan was told.
func TestUncuttable(t *testing.T) {
	var r Request
	if err := r.Scan(requestV1([]string{"__name__", "a"}), V1, pairs); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Parts(nil, false, true, 10); !errors.Is(err, ErrUncuttable) {
		t.Fatal(err)
	}
	if err := r.Scan([]byte{requestMetadata<<3 | typeBytes, 4, 0x12, 2, 'u', 'p'}, V1, pairs); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Parts(nil, false, true, 3); !errors.Is(err, ErrUncuttable) {
		t.Fatal(err)
	}
}

// Parts that were returned stay as they are when the Request is used again.
func TestPartsAreTheCallers(t *testing.T) {
	var r Request
	raw := typicalV1(t, 50)
	if err := r.Scan(raw, V1, pairs); err != nil {
		t.Fatal(err)
	}
	first, err := r.Parts([]int32{1, 2, 3}, true, true, 0)
	if err != nil {
		t.Fatal(err)
	}
	before := string(first[0].Body)
	if _, err := r.Parts([]int32{4, 5, 6, 7}, true, true, 0); err != nil {
		t.Fatal(err)
	}
	if before != string(first[0].Body) {
		t.Fatal("an earlier part changed")
	}
}

// Receivers refuse a 2.0 series without a sample, so exemplars are never alone where samples are left.
func TestExemplarsAreNotAlone(t *testing.T) {
	ts := writev2.TimeSeries{LabelsRefs: []uint32{1, 2}}
	rnd := rand.New(rand.NewPCG(3, 4))
	for i := range 50 {
		ts.Samples = append(ts.Samples, writev2.Sample{Value: rnd.Float64(), Timestamp: testTime + int64(i)})
		ts.Exemplars = append(ts.Exemplars, writev2.Exemplar{LabelsRefs: []uint32{3, 4}, Value: rnd.Float64(), Timestamp: testTime + int64(i)})
	}
	raw := []byte(encoded(&writev2.Request{Symbols: []string{"", "__name__", "up", "trace_id", "x"}, Timeseries: []writev2.TimeSeries{ts}}))
	r := Request{MaxStored: 300}
	if err := r.Scan(raw, V2, pairs); err != nil {
		t.Fatal(err)
	}
	checkParts(t, &r, raw, false, 300)
	parts, err := r.Parts(nil, false, true, 0)
	if err != nil || len(parts) < 5 {
		t.Fatal(len(parts), err)
	}
	for i, p := range parts {
		if p.Counts.Samples() == 0 || p.Counts.Exemplars == 0 {
			t.Errorf("part %d: %+v", i, p.Counts)
		}
	}
}
