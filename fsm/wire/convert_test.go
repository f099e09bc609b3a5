package wire

import (
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"

	"pgregory.net/rapid"
)

type promLabel = prompb.Label

// checkToV1 compares a conversion with one by structs.
func checkToV1(t rapid.TB, r *Request, raw []byte) {
	t.Helper()
	var ruler Ruler
	if written, err := ruler.WrittenOut(raw); err != nil || r.badRef == "" && written != r.WrittenOut {
		t.Fatalf("%d bytes when written out, the scan says %d; error %v", written, r.WrittenOut, err)
	}
	out, err := ToV1(nil, raw)
	all, _, _ := decodeV2(raw)
	if slices.ContainsFunc(all, func(s referenceSeries) bool { return s.badRefs }) {
		if err == nil {
			t.Fatal("bad references were converted")
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	_, in, err := decodeV2(raw)
	if err != nil {
		t.Fatal(err)
	}
	_, got, err := decodeV1(out)
	if err != nil {
		t.Fatalf("the generated decoder refuses what was written: %v", err)
	}
	if len(got.Timeseries) != len(in.Timeseries) {
		t.Fatalf("%d series, expected %d", len(got.Timeseries), len(in.Timeseries))
	}
	for i := range in.Timeseries {
		want := structsToV1(&in.Timeseries[i], in.Symbols)
		if g, w := encoded(&got.Timeseries[i]), encoded(want); g != w {
			t.Fatalf("series %d: got\n%v\nexpected\n%v", i, &got.Timeseries[i], want)
		}
	}
}

func structsToV1(in *writev2.TimeSeries, symbols []string) *prompb.TimeSeries {
	out := &prompb.TimeSeries{}
	labels, _ := desymbolize(in.LabelsRefs, symbols)
	for _, l := range labels {
		out.Labels = append(out.Labels, prompb.Label{Name: l.Name, Value: l.Value})
	}
	slices.SortStableFunc(out.Labels, func(x, y promLabel) int { return strings.Compare(x.Name, y.Name) })
	for _, s := range in.Samples {
		out.Samples = append(out.Samples, prompb.Sample{Value: s.Value, Timestamp: s.Timestamp})
	}
	for _, h := range in.Histograms {
		h.XXX_unrecognized, h.StartTimestamp = nil, 0
		h.NegativeSpans, h.PositiveSpans = slices.Clone(h.NegativeSpans), slices.Clone(h.PositiveSpans)
		var same prompb.Histogram
		if err := same.Unmarshal([]byte(encoded(&h))); err != nil {
			panic(err)
		}
		out.Histograms = append(out.Histograms, same)
	}
	for _, e := range in.Exemplars {
		x := prompb.Exemplar{Value: e.Value, Timestamp: e.Timestamp}
		labels, _ := desymbolize(e.LabelsRefs, symbols)
		for _, l := range labels {
			x.Labels = append(x.Labels, prompb.Label{Name: l.Name, Value: l.Value})
		}
		out.Exemplars = append(out.Exemplars, x)
	}
	return out
}

// A series that is refused for something else may have references that lead nowhere as well.
func TestToV1OfTwoFaults(t *testing.T) {
	bad := []writev2.Exemplar{{LabelsRefs: []uint32{1, 9}}}
	for name, s := range map[string]writev2.TimeSeries{
		"exemplar": {LabelsRefs: []uint32{1, 2}, Histograms: []writev2.Histogram{{Count: &writev2.Histogram_CountInt{CountInt: 7}}}, Exemplars: bad},
		"odd":      {LabelsRefs: []uint32{1, 2}, Histograms: []writev2.Histogram{{Count: &writev2.Histogram_CountInt{CountInt: 7}}}, Exemplars: []writev2.Exemplar{{LabelsRefs: []uint32{1}}}},
		"label":    {LabelsRefs: []uint32{1, 2, 1, 9}, Histograms: []writev2.Histogram{{Count: &writev2.Histogram_CountInt{CountInt: 7}}}},
	} {
		raw := []byte(encoded(&writev2.Request{Symbols: []string{"", "__name__", "up"}, Timeseries: []writev2.TimeSeries{s}}))
		var r Request
		if err := r.Scan(raw, V2, Labels{}); err != nil || r.Series[0].Reason != ReasonBadHistogram {
			t.Fatalf("%s: %q, %v", name, r.Series[0].Reason, err)
		}
		if out, err := ToV1(nil, raw); err == nil {
			t.Errorf("%s: converted to %q", name, out)
		}
	}
}
