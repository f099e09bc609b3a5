package wire

import (
	"math"
	"testing"

	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"pgregory.net/rapid"
)

// odd are float bits that a careless copy would change.
var odd = []uint64{0, 1 << 63, 0x7ff0000000000002 /* stale */, 0x7ff8000000000001, 0xfff8000000000abc, 0x7ff0000000000000}

func drawFloat(t *rapid.T) float64 {
	if rapid.IntRange(0, 2).Draw(t, "odd") == 0 {
		return math.Float64frombits(rapid.SampledFrom(odd).Draw(t, "bits"))
	}
	return rapid.Float64().Draw(t, "value")
}

var (
	names  = []string{"__name__", "__name__", "__replica__", "cluster", "prometheus", "prometheus_replica", "job", "a", "aa", "a\x00", "\u00fcber", "", "very_long_label_name_0", "very_long_label_name_1", "bad\xff"}
	values = []string{"up", "up", "down", "", "r1", "r2", "\u00e4\u00f6", "x\xffy", "a long value, longer than one hundred and twenty-seven bytes, so that its length takes two bytes of the encoding and the fast path is left"}
)

func drawLabels(t *rapid.T) []Label {
	var all []Label
	if rapid.IntRange(0, 9).Draw(t, "plain") > 1 {
		all = append(all, Label{"__name__", "up"})
		for _, n := range []string{"__replica__", "cluster", "job", "prometheus_replica"} {
			if rapid.Bool().Draw(t, n) {
				all = append(all, Label{n, rapid.SampledFrom(values[:7]).Draw(t, "value")})
			}
		}
		return all
	}
	for range rapid.IntRange(0, 6).Draw(t, "labels") {
		all = append(all, Label{rapid.SampledFrom(names).Draw(t, "name"), rapid.SampledFrom(values).Draw(t, "value")})
	}
	return all
}

func drawTime(t *rapid.T) int64 {
	if rapid.IntRange(0, 9).Draw(t, "odd time") == 0 {
		return rapid.Int64().Draw(t, "time")
	}
	return testTime + rapid.Int64Range(0, 1000).Draw(t, "ms")
}

// drawHistogram makes a histogram that is right, then often breaks it.
func drawHistogram(t *rapid.T) prompb.Histogram {
	h := prompb.Histogram{Sum: drawFloat(t), Timestamp: drawTime(t), Schema: rapid.SampledFrom([]int32{0, 3, -4, 8, -53, 20, -60}).Draw(t, "schema")}
	h.ResetHint = prompb.Histogram_ResetHint(rapid.IntRange(0, 3).Draw(t, "hint"))
	counts := rapid.SliceOfN(rapid.Uint64Range(0, 50), 0, 6).Draw(t, "buckets")
	if len(counts) > 0 {
		h.PositiveSpans = []prompb.BucketSpan{{Offset: rapid.Int32Range(-3, 3).Draw(t, "offset"), Length: uint32(len(counts))}}
	}
	if h.Schema == -53 {
		if len(counts) > 0 {
			h.PositiveSpans[0].Offset = 0
		}
		for i := range counts {
			h.CustomValues = append(h.CustomValues, float64(i))
		}
	}
	var total, last uint64
	for _, c := range counts {
		total += c
	}
	if rapid.Bool().Draw(t, "float") {
		h.Count = &prompb.Histogram_CountFloat{CountFloat: float64(total)}
		for _, c := range counts {
			h.PositiveCounts = append(h.PositiveCounts, float64(c))
		}
	} else {
		h.Count = &prompb.Histogram_CountInt{CountInt: total}
		for _, c := range counts {
			h.PositiveDeltas = append(h.PositiveDeltas, int64(c-last))
			last = c
		}
	}
	breakHistogram(t, &h, total)
	return h
}

func breakHistogram(t *rapid.T, h *prompb.Histogram, total uint64) {
	switch rapid.IntRange(0, 14).Draw(t, "break") {
	case 0:
		h.Count = &prompb.Histogram_CountInt{CountInt: total + 1}
	case 1:
		h.Count = &prompb.Histogram_CountInt{CountInt: total - 1}
	case 2:
		h.PositiveSpans = append(h.PositiveSpans, prompb.BucketSpan{Offset: -1, Length: 1})
	case 3:
		h.NegativeDeltas = []int64{-1}
		h.NegativeSpans = []prompb.BucketSpan{{Length: 1}}
	case 4:
		h.PositiveCounts = append(h.PositiveCounts, -1)
	case 5:
		h.ZeroCount = &prompb.Histogram_ZeroCountInt{ZeroCountInt: 3}
		h.Count = &prompb.Histogram_CountInt{CountInt: total + 3}
	case 6:
		h.ZeroThreshold = 1e-9
	case 7:
		h.CustomValues = append(h.CustomValues, math.NaN())
	case 8:
		h.CustomValues = append(h.CustomValues, math.Inf(1))
	case 9, 10: // one bound less than buckets is right, two are too few
		h.CustomValues = h.CustomValues[:max(0, len(h.CustomValues)-rapid.IntRange(1, 2).Draw(t, "bounds"))]
	}
}

func drawRequestV1(t *rapid.T) *prompb.WriteRequest {
	req := &prompb.WriteRequest{}
	for range rapid.IntRange(0, 6).Draw(t, "series") {
		var ts prompb.TimeSeries
		for _, l := range drawLabels(t) {
			ts.Labels = append(ts.Labels, prompb.Label{Name: l.Name, Value: l.Value})
		}
		for range rapid.IntRange(0, 4).Draw(t, "samples") {
			ts.Samples = append(ts.Samples, prompb.Sample{Value: drawFloat(t), Timestamp: drawTime(t)})
		}
		for range max(0, rapid.IntRange(-3, 2).Draw(t, "histograms")) {
			ts.Histograms = append(ts.Histograms, drawHistogram(t))
		}
		for range max(0, rapid.IntRange(-2, 2).Draw(t, "exemplars")) {
			ts.Exemplars = append(ts.Exemplars, prompb.Exemplar{Labels: []prompb.Label{{Name: "trace_id", Value: "abc"}}, Value: drawFloat(t), Timestamp: drawTime(t)})
		}
		ts.XXX_unrecognized = drawUnknown(t, 9)
		req.Timeseries = append(req.Timeseries, ts)
	}
	for range max(0, rapid.IntRange(-4, 2).Draw(t, "metadata")) {
		req.Metadata = append(req.Metadata, prompb.MetricMetadata{Type: prompb.MetricMetadata_GAUGE, MetricFamilyName: "up", Help: "Whether it is up."})
	}
	req.XXX_unrecognized = drawUnknown(t, 12)
	return req
}

// drawUnknown makes unknown fields of every wire type.
func drawUnknown(t *rapid.T, num byte) []byte {
	switch rapid.IntRange(0, 12).Draw(t, "unknown") {
	case 0:
		return []byte{num << 3, 0x96, 0x01}
	case 1:
		return []byte{num<<3 | typeFixed64, 1, 2, 3, 4, 5, 6, 7, 8}
	case 2:
		return []byte{num<<3 | typeBytes, 3, 'a', 'b', 'c'}
	case 3:
		return []byte{num<<3 | typeGroup, 0x08, 0x01, num<<3 | typeEnd}
	case 4:
		return []byte{num<<3 | typeFixed32, 1, 2, 3, 4}
	}
	return nil
}

func drawRequestV2(t *rapid.T) *writev2.Request {
	symbols := writev2.NewSymbolTable()
	req := &writev2.Request{}
	in := drawRequestV1(t)
	for i := range in.Timeseries {
		ts := &in.Timeseries[i]
		var out writev2.TimeSeries
		for _, l := range ts.Labels {
			out.LabelsRefs = append(out.LabelsRefs, symbols.Symbolize(l.Name), symbols.Symbolize(l.Value))
		}
		for _, s := range ts.Samples {
			out.Samples = append(out.Samples, writev2.Sample{Value: s.Value, Timestamp: s.Timestamp, StartTimestamp: rapid.Int64Range(0, 2).Draw(t, "start")})
		}
		for _, h := range ts.Histograms {
			var same writev2.Histogram
			if err := same.Unmarshal([]byte(encoded(&h))); err != nil {
				t.Fatal(err)
			}
			same.StartTimestamp = rapid.Int64Range(0, 2).Draw(t, "start")
			out.Histograms = append(out.Histograms, same)
		}
		for _, e := range ts.Exemplars {
			out.Exemplars = append(out.Exemplars, writev2.Exemplar{LabelsRefs: []uint32{symbols.Symbolize("trace_id"), symbols.Symbolize("abc")}, Value: e.Value, Timestamp: e.Timestamp})
		}
		if rapid.Bool().Draw(t, "with metadata") {
			out.Metadata = writev2.Metadata{Type: 2, HelpRef: symbols.Symbolize("Help."), UnitRef: symbols.Symbolize(rapid.SampledFrom([]string{"", "seconds"}).Draw(t, "unit")), XXX_unrecognized: drawUnknown(t, 9)}
		}
		if rapid.IntRange(0, 20).Draw(t, "bad reference") == 0 {
			out.LabelsRefs = append(out.LabelsRefs, 1000)
		}
		out.XXX_unrecognized = ts.XXX_unrecognized
		req.Timeseries = append(req.Timeseries, out)
	}
	req.Symbols = symbols.Symbols()
	if rapid.Bool().Draw(t, "duplicate symbols") {
		req.Symbols = append(req.Symbols, req.Symbols...)
		for i := range req.Timeseries {
			if refs := req.Timeseries[i].LabelsRefs; len(refs) > 1 {
				refs[1] += uint32(len(req.Symbols) / 2)
			}
		}
	}
	req.XXX_unrecognized = in.XXX_unrecognized
	return req
}

func TestRandomV1(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { checkBody(t, []byte(encoded(drawRequestV1(t))), V1) })
}

func TestRandomV2(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { checkBody(t, []byte(encoded(drawRequestV2(t))), V2) })
}

// TestRandomDamage changes bytes of good bodies: whatever comes out, this package and the generated decoder agree.
func TestRandomDamage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := rapid.SampledFrom([]Protocol{V1, V2}).Draw(t, "protocol")
		raw := []byte(encoded(drawRequestV1(t)))
		if p == V2 {
			raw = []byte(encoded(drawRequestV2(t)))
		}
		for range rapid.IntRange(1, 3).Draw(t, "changes") {
			if len(raw) > 0 {
				at := rapid.IntRange(0, len(raw)-1).Draw(t, "at")
				switch rapid.IntRange(0, 2).Draw(t, "how") {
				case 0:
					raw[at] = rapid.Byte().Draw(t, "byte")
				case 1:
					raw = raw[:at]
				default:
					raw = append(raw[:at:at], append([]byte{rapid.Byte().Draw(t, "byte")}, raw[at:]...)...)
				}
			}
		}
		checkBody(t, raw, p)
	})
}
