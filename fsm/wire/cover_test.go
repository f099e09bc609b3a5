package wire

import (
	"fmt"
	"testing"

	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
)

// Two replicas of one server send the same series, whatever the protocol, the order of labels and empty ones.
func TestSeriesHashOfReplicas(t *testing.T) {
	series := [][]string{
		{"__name__", "up", "__replica__", "a", "cluster", "x", "job", "j"},
		{"__name__", "up", "__replica__", "b", "cluster", "x", "job", "j"},
		{"__name__", "up", "cluster", "x", "job", "j"},
		{"job", "j", "__name__", "up", "prometheus_replica", "r", "cluster", "x"},
		{"__name__", "up", "cluster", "x", "empty", "", "job", "j"},
	}
	different := [][]string{
		{"__name__", "up", "cluster", "x"},
		{"__name__", "up", "cluster", "j", "job", "x"},
		{"__name__", "up", "cluster", "x", "j", "job"},
		{"__name__", "up", "cluster", "xj", "job", ""},
		{"__name__", "up", "replica", "a", "cluster", "x", "job", "j"},
	}
	hashes := map[uint64]bool{}
	for p, raw := range map[Protocol][]byte{V1: requestV1(append(series, different...)...), V2: requestV2(append(series, different...)...)} {
		var r Request
		if err := r.Scan(raw, p, pairs); err != nil {
			t.Fatal(err)
		}
		for i := range r.Series {
			if h := r.SeriesHash(i, pairs); (h == r.SeriesHash(0, pairs)) != (i < len(series)) {
				t.Errorf("%s: series %d has %x, the first one %x", p, i, h, r.SeriesHash(0, pairs))
			} else {
				hashes[h] = true
			}
		}
		if r.SeriesHash(0, Labels{}) == r.SeriesHash(1, Labels{}) {
			t.Errorf("%s: without pairs a replica label counts", p)
		}
	}
	if len(hashes) != 1+len(different) {
		t.Errorf("%d hashes of both protocols, expected %d", len(hashes), 1+len(different))
	}
}

// A map of a million series must not lose one to another.
func TestSeriesHashesDiffer(t *testing.T) {
	seen := map[uint64]int{}
	var r Request
	for i := range 50 {
		var series [][]string
		for j := range 1000 {
			series = append(series, []string{"__name__", fmt.Sprintf("m%d", j%10), "a", fmt.Sprint(i), "b", fmt.Sprint(j)})
		}
		if err := r.Scan(requestV2(series...), V2, pairs); err != nil {
			t.Fatal(err)
		}
		for j := range r.Series {
			h := r.SeriesHash(j, pairs)
			if before, ok := seen[h]; ok {
				t.Fatalf("series %d and %d have one hash", before, i*1000+j)
			}
			seen[h] = i*1000 + j
		}
	}
}

// Encoders leave an empty value out; one that is written says the same.
func TestSeriesHashOfAWrittenEmptyValue(t *testing.T) {
	const name = "\x0a\x0e\x0a\x08__name__\x12\x02up" // a label
	var r Request
	if err := r.Scan([]byte("\x0a\x10"+name+"\x0a\x17"+name+"\x0a\x05\x0a\x01a\x12\x00"), V1, pairs); err != nil {
		t.Fatal(err)
	}
	if len(r.Series) != 2 || len(r.Labels(1, nil)) != 2 || r.SeriesHash(0, pairs) != r.SeriesHash(1, pairs) {
		t.Errorf("%x and %x", r.SeriesHash(0, pairs), r.SeriesHash(1, pairs))
	}
}

// Nothing that was hashed of one body is taken for a part of the next one.
func TestSeriesHashOfTheNextBody(t *testing.T) {
	bodies := [][]string{{"__name__", "up", "aaa", "1"}, {"__name__", "up", "bbb", "1"}, {"__name__", "no", "aaa", "2"}}
	for p, request := range map[Protocol]func(...[]string) []byte{V1: requestV1, V2: requestV2} {
		var reused Request
		for _, labels := range bodies {
			var fresh Request
			for _, r := range []*Request{&reused, &fresh} {
				if err := r.Scan(request(labels), p, pairs); err != nil {
					t.Fatal(err)
				}
			}
			if g, w := reused.SeriesHash(0, pairs), fresh.SeriesHash(0, pairs); g != w {
				t.Errorf("%s: %q has %x, expected %x", p, labels, g, w)
			}
		}
	}
}

// A 2.0 series with samples and histograms, exemplars and metadata, at each line.
func TestCoverMixedSeries(t *testing.T) {
	req := &writev2.Request{Symbols: []string{"", "__name__", "up", "trace_id", "abc", "Help."}, Timeseries: []writev2.TimeSeries{{
		LabelsRefs: []uint32{1, 2},
		Samples:    []writev2.Sample{{Value: 1, Timestamp: 10}, {Value: 2, Timestamp: 20}},
		Histograms: []writev2.Histogram{{Timestamp: 15}, {Timestamp: 30}},
		Exemplars:  []writev2.Exemplar{{LabelsRefs: []uint32{3, 4}, Timestamp: 10}},
		Metadata:   writev2.Metadata{HelpRef: 5},
	}}}
	raw := []byte(encoded(req))
	for _, c := range []struct {
		line      int64
		covered   uint64
		first     int64
		series    int
		exemplars int
	}{
		{9, 0, 10, 1, 1},
		{10, 1, 15, 2, 1},
		{19, 2, 20, 2, 1},
		{20, 3, 30, 1, 1}, // no samples left: the histograms take the exemplar
		{29, 3, 30, 1, 1},
		{30, 4, 0, 0, 0},
	} {
		var r Request
		if err := r.Scan(raw, V2, pairs); err != nil {
			t.Fatal(err)
		}
		first := int64(0)
		out, covered, err := r.Cover(nil, pairs, func(uint64) (int64, bool) { return c.line, true }, func(_ uint64, ms int64) { first = ms })
		if err != nil || covered != c.covered || first != c.first {
			t.Errorf("line %d: covered %d, first %d, %v; expected %+v", c.line, covered, first, err, c)
		}
		_, got, err := decodeV2(out)
		if err != nil || len(got.Timeseries) != c.series {
			t.Fatalf("line %d: %d series, %v; expected %d", c.line, len(got.Timeseries), err, c.series)
		}
		if n := len(got.Timeseries); n > 0 && (len(got.Timeseries[0].Exemplars) != c.exemplars || symbolAt(got.Symbols, got.Timeseries[n-1].Metadata.HelpRef) != "Help.") {
			t.Errorf("line %d: %+v", c.line, got)
		}
		if c.series == 0 && len(got.Symbols) != 1 {
			t.Errorf("line %d: symbols %q of a series that went", c.line, got.Symbols)
		}
	}
}

// What has no samples is not a handover's business.
func TestCoverKeepsTheRest(t *testing.T) {
	req := &prompb.WriteRequest{
		Timeseries: []prompb.TimeSeries{
			{Labels: []prompb.Label{{Name: "__name__", Value: "gone"}}, Samples: []prompb.Sample{{Timestamp: 1}}},
			{Labels: []prompb.Label{{Name: "__name__", Value: "exemplar"}}, Exemplars: []prompb.Exemplar{{Timestamp: 1}}},
			{Labels: []prompb.Label{{Name: "job", Value: "refused"}}, Samples: []prompb.Sample{{Timestamp: 9}}},
		},
		Metadata:         []prompb.MetricMetadata{{MetricFamilyName: "gone"}},
		XXX_unrecognized: []byte{12<<3 | typeBytes, 1, 'x'},
	}
	var r Request
	if err := r.Scan([]byte(encoded(req)), V1, pairs); err != nil {
		t.Fatal(err)
	}
	out, covered, err := r.Cover(nil, pairs, func(uint64) (int64, bool) { return 5, true }, nil)
	if err != nil || covered != 1 {
		t.Fatal(covered, err)
	}
	_, got, err := decodeV1(out)
	if err != nil || len(got.Timeseries) != 1 || len(got.Timeseries[0].Exemplars) != 1 || len(got.Metadata) != 1 || len(got.XXX_unrecognized) != 3 {
		t.Fatalf("%v, %v", got, err)
	}
}

// manySamples is a request of series with n samples each, 1000 ms apart.
func manySamples(t testing.TB, p Protocol, series, n int) []byte {
	t.Helper()
	raw := typicalV1(t, series)
	if p == V2 {
		raw = typicalV2(t, series)
		var req writev2.Request
		if err := req.Unmarshal(raw); err != nil {
			t.Fatal(err)
		}
		for i := range req.Timeseries {
			s := &req.Timeseries[i].Samples
			for j := 1; j < n; j++ {
				*s = append(*s, writev2.Sample{Value: 1, Timestamp: (*s)[0].Timestamp + int64(j)*1000})
			}
		}
		return []byte(encoded(&req))
	}
	var req prompb.WriteRequest
	if err := req.Unmarshal(raw); err != nil {
		t.Fatal(err)
	}
	for i := range req.Timeseries {
		s := &req.Timeseries[i].Samples
		for j := 1; j < n; j++ {
			*s = append(*s, prompb.Sample{Value: 1, Timestamp: (*s)[0].Timestamp + int64(j)*1000})
		}
	}
	return []byte(encoded(&req))
}

func TestFenceAllocatesNothing(t *testing.T) {
	for _, p := range []Protocol{V1, V2} {
		var r Request
		var dst []byte
		var newest int64
		raw := manySamples(t, p, 200, 3)
		line := func(hash uint64) (int64, bool) { return testTime + int64(hash%4)*1000, hash%8 > 0 }
		seen := func(_ uint64, first int64) { newest = max(newest, first) }
		pass := func() {
			if err := r.Scan(raw, p, pairs); err != nil {
				t.Fatal(err)
			}
			for i := range r.Series {
				r.SeriesHash(i, pairs)
				r.Times(i, func(ms int64) { newest = max(newest, ms) })
			}
			var err error
			if dst, _, err = r.Cover(dst, pairs, line, seen); err != nil {
				t.Fatal(err)
			}
		}
		pass()
		if n := testing.AllocsPerRun(10, pass); n != 0 {
			t.Errorf("%s: %v allocations", p, n)
		}
	}
}

func BenchmarkSeriesHashV1(b *testing.B) { benchSeriesHash(b, typicalV1(b, benchSamples), V1) }
func BenchmarkSeriesHashV2(b *testing.B) { benchSeriesHash(b, typicalV2(b, benchSamples), V2) }

// benchSeriesHash pays for the symbols of 2.0 each time.
func benchSeriesHash(b *testing.B, raw []byte, p Protocol) {
	var r Request
	if err := r.Scan(raw, p, pairs); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		r.hashes = r.hashes[:0]
		for i := range r.Series {
			r.SeriesHash(i, pairs)
		}
	}
	perSample(b, benchSamples)
}

// BenchmarkCover passes a request through a fence that covers none, some or all of it.
func BenchmarkCover(b *testing.B) {
	for _, p := range []Protocol{V1, V2} {
		for _, c := range []struct {
			name    string
			samples int
			line    func(hash uint64) (int64, bool)
		}{
			{"none", 1, func(uint64) (int64, bool) { return testTime - 1, true }},
			{"half", 1, func(hash uint64) (int64, bool) { return testTime + 1e3, hash&(1<<20) > 0 }},
			{"all", 1, func(uint64) (int64, bool) { return testTime + 1e3, true }},
			{"shrink", 10, func(uint64) (int64, bool) { return testTime + 4500, true }},
		} {
			b.Run(fmt.Sprintf("V%d/%s", p, c.name), func(b *testing.B) {
				raw := manySamples(b, p, benchSamples/c.samples, c.samples)
				var r Request
				if err := r.Scan(raw, p, pairs); err != nil {
					b.Fatal(err)
				}
				var dst []byte
				b.ReportAllocs()
				for b.Loop() {
					r.hashes = r.hashes[:0]
					var err error
					if dst, _, err = r.Cover(dst, pairs, c.line, func(uint64, int64) {}); err != nil {
						b.Fatal(err)
					}
				}
				perSample(b, benchSamples)
			})
		}
	}
}

func BenchmarkTimes(b *testing.B) {
	for _, p := range []Protocol{V1, V2} {
		b.Run(fmt.Sprintf("V%d", p), func(b *testing.B) {
			var r Request
			if err := r.Scan(manySamples(b, p, benchSamples/10, 10), p, pairs); err != nil {
				b.Fatal(err)
			}
			var newest int64
			fn := func(ms int64) { newest = max(newest, ms) }
			b.ReportAllocs()
			for b.Loop() {
				for i := range r.Series {
					r.Times(i, fn)
				}
			}
			perSample(b, benchSamples)
		})
	}
}
