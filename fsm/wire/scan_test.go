package wire

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
)

// requestV1 is a request of series with one sample each, with labels given as name, value, name, value, ….
func requestV1(series ...[]string) []byte {
	var req prompb.WriteRequest
	for _, labels := range series {
		ts := prompb.TimeSeries{Samples: []prompb.Sample{{Value: 1, Timestamp: testTime}}}
		for i := 0; i < len(labels); i += 2 {
			ts.Labels = append(ts.Labels, prompb.Label{Name: labels[i], Value: labels[i+1]})
		}
		req.Timeseries = append(req.Timeseries, ts)
	}
	return []byte(encoded(&req))
}

// requestV2 is the same in 2.0.
func requestV2(series ...[]string) []byte {
	symbols := writev2.NewSymbolTable()
	var req writev2.Request
	for _, labels := range series {
		ts := writev2.TimeSeries{Samples: []writev2.Sample{{Value: 1, Timestamp: testTime}}}
		for _, s := range labels {
			ts.LabelsRefs = append(ts.LabelsRefs, symbols.Symbolize(s))
		}
		req.Timeseries = append(req.Timeseries, ts)
	}
	req.Symbols = symbols.Symbols()
	return []byte(encoded(&req))
}

func TestReasonsByLabels(t *testing.T) {
	long := strings.Repeat("x", DefaultMaxStored)
	for _, c := range []struct {
		labels []string
		reason string
		detail string
	}{
		{[]string{"__name__", "up"}, "", ""},
		{[]string{"job", "b", "__name__", "up", "a", "c"}, "", ""}, // unsorted
		{[]string{"__name__", "größe", "läbel", "grün"}, "", ""},
		{[]string{"__name__", "up", "job", ""}, "", ""},
		{[]string{"__name__", "up", "a", "1", "a\x00", "2"}, "", ""},
		{nil, ReasonMissingName, "__name__"},
		{[]string{"job", "a"}, ReasonMissingName, "__name__"},
		{[]string{"__name_", "up", "__name___", "up"}, ReasonMissingName, "__name__"},
		{[]string{"__name__", "", "job", "a"}, ReasonEmptyName, "empty"},
		{[]string{"__name__", "up", "a", "1", "a", "1"}, ReasonDuplicateLabel, `"a" is there twice in metric "up"`},
		{[]string{"__name__", "up", "a", "1", "b", "2", "a", "3"}, ReasonDuplicateLabel, `"a"`},
		{[]string{"__name__", "up", "__name__", "up"}, ReasonDuplicateLabel, `"__name__"`},
		{[]string{"", "1", "__name__", "up"}, ReasonEmptyLabelName, `in metric "up"`},
		{[]string{"__name__", "up", "", ""}, ReasonEmptyLabelName, "without a name"},
		{[]string{"__name__", "u\xffp"}, ReasonInvalidUTF8, "not valid UTF-8"},
		{[]string{"__name__", "up", "b\xc3", "x"}, ReasonInvalidUTF8, "not valid UTF-8"},
		{[]string{"__name__", "up", "job", long}, ReasonLabelsTooLong, "an entry has room for"},
	} {
		for _, p := range []Protocol{V1, V2} {
			raw := requestV1(c.labels, []string{"__name__", "good"})
			if p == V2 {
				raw = requestV2(c.labels, []string{"__name__", "good"})
			}
			var r Request
			if err := r.Scan(raw, p, Labels{}); err != nil {
				t.Fatalf("%s %.80q: %v", p, c.labels, err)
			}
			s := r.Series[0]
			if s.Reason != c.reason || !strings.Contains(s.Detail, c.detail) || len(s.Detail) > 300 {
				t.Errorf("%s %.80q: %q %q, expected %q %q", p, c.labels, s.Reason, s.Detail, c.reason, c.detail)
			}
			bad := 0
			if c.reason != "" {
				bad = 1
			}
			if r.Bad != bad || r.Rejected.Samples() != uint64(bad) || r.Counts.Samples() != uint64(2-bad) || r.Series[1].Reason != "" {
				t.Errorf("%s %.80q: the good series must stay: %+v", p, c.labels, r.Counts)
			}
		}
	}
}

func TestReasonsBySymbols(t *testing.T) {
	symbols := []string{"", "__name__", "up"}
	sample := []writev2.Sample{{Timestamp: 1}}
	for name, c := range map[string]struct {
		ts     writev2.TimeSeries
		reason string
	}{
		"good":                       {writev2.TimeSeries{LabelsRefs: []uint32{1, 2}, Samples: sample}, ""},
		"only metadata":              {writev2.TimeSeries{LabelsRefs: []uint32{1, 2}, Metadata: writev2.Metadata{HelpRef: 2}}, ""},
		"only an exemplar":           {writev2.TimeSeries{LabelsRefs: []uint32{1, 2}, Exemplars: []writev2.Exemplar{{LabelsRefs: []uint32{1, 2}}}}, ""},
		"odd":                        {writev2.TimeSeries{LabelsRefs: []uint32{1, 2, 1}, Samples: sample}, ReasonBadSymbolRef},
		"name out of range":          {writev2.TimeSeries{LabelsRefs: []uint32{3, 2}, Samples: sample}, ReasonBadSymbolRef},
		"value out of range":         {writev2.TimeSeries{LabelsRefs: []uint32{1, 1 << 31}, Samples: sample}, ReasonBadSymbolRef},
		"help out of range":          {writev2.TimeSeries{LabelsRefs: []uint32{1, 2}, Samples: sample, Metadata: writev2.Metadata{HelpRef: 3}}, ReasonBadSymbolRef},
		"unit out of range":          {writev2.TimeSeries{LabelsRefs: []uint32{1, 2}, Samples: sample, Metadata: writev2.Metadata{UnitRef: 3}}, ReasonBadSymbolRef},
		"exemplar odd":               {writev2.TimeSeries{LabelsRefs: []uint32{1, 2}, Exemplars: []writev2.Exemplar{{LabelsRefs: []uint32{1}}}}, ReasonBadSymbolRef},
		"exemplar out of range":      {writev2.TimeSeries{LabelsRefs: []uint32{1, 2}, Exemplars: []writev2.Exemplar{{LabelsRefs: []uint32{1, 3}}}}, ReasonBadSymbolRef},
		"no labels":                  {writev2.TimeSeries{Samples: sample}, ReasonMissingName},
		"the empty symbol as a name": {writev2.TimeSeries{LabelsRefs: []uint32{0, 2, 1, 2}, Samples: sample}, ReasonEmptyLabelName},
	} {
		t.Run(name, func(t *testing.T) {
			var r Request
			raw := []byte(encoded(&writev2.Request{Symbols: symbols, Timeseries: []writev2.TimeSeries{c.ts}}))
			if err := r.Scan(raw, V2, Labels{}); err != nil {
				t.Fatal(err)
			}
			if s := r.Series[0]; s.Reason != c.reason {
				t.Fatalf("%q (%s), expected %q", s.Reason, s.Detail, c.reason)
			}
			if got := r.Labels(0, nil); c.reason == "" && len(got) == 0 {
				t.Fatal("no labels")
			}
		})
	}
}

func TestSeriesTooLong(t *testing.T) {
	huge := prompb.Histogram{Count: &prompb.Histogram_CountInt{}, PositiveSpans: []prompb.BucketSpan{{Length: 1 << 18}}, PositiveDeltas: make([]int64, 1<<18)}
	labels := []prompb.Label{{Name: "__name__", Value: "up"}}
	many := make([]prompb.Sample, 1<<16)
	for i := range many {
		many[i] = prompb.Sample{Timestamp: testTime + int64(i), Value: float64(i) * 1.1}
	}
	for name, c := range map[string]struct {
		ts     prompb.TimeSeries
		reason string
	}{
		"many samples can be cut":   {prompb.TimeSeries{Labels: labels, Samples: many}, ""},
		"one histogram cannot":      {prompb.TimeSeries{Labels: labels, Histograms: []prompb.Histogram{huge}}, ReasonSampleTooLong},
		"nor one exemplar":          {prompb.TimeSeries{Labels: labels, Exemplars: []prompb.Exemplar{{Labels: []prompb.Label{{Name: "x", Value: strings.Repeat("x", 1<<18)}}}}}, ReasonSampleTooLong},
		"nor half of a label value": {prompb.TimeSeries{Labels: append(labels, prompb.Label{Name: "x", Value: strings.Repeat("x", 1<<18)}), Samples: many}, ReasonLabelsTooLong},
	} {
		t.Run(name, func(t *testing.T) {
			var r Request
			if err := r.Scan([]byte(encoded(&prompb.WriteRequest{Timeseries: []prompb.TimeSeries{c.ts}})), V1, Labels{}); err != nil {
				t.Fatal(err)
			}
			if s := r.Series[0]; s.Reason != c.reason {
				t.Fatalf("%q (%s), expected %q", s.Reason, s.Detail, c.reason)
			}
		})
	}
}

func TestDamageNamesPlaceAndExpectation(t *testing.T) {
	good := requestV1([]string{"__name__", "up"})
	v2 := requestV2([]string{"__name__", "up"})
	for _, c := range []struct {
		name string
		raw  []byte
		p    Protocol
		text string
	}{
		{"cut off", good[:len(good)-3], V1, "remote write 1.0 body is damaged at byte 1: expected a series, got a length that leads past the end of its message at byte 33"},
		{"not protobuf", []byte("{\"streams\": []}"), V1, "damaged at byte 2: expected the content of an unknown field"},
		{"tag zero", []byte{0}, V1, "damaged at byte 0: expected a field number above zero, got 0"},
		{"tag zero in a series", []byte{0x0a, 2, 0x02, 0}, V1, "damaged at byte 2: expected a field number above zero, got 0"},
		{"end of a group", []byte{0x0c}, V1, "expected a field, got wire type 4"},
		{"endless number", []byte("\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), V1, "got a number of more than ten bytes"},
		{"series of wrong type", []byte{0x08, 1}, V1, "expected a series, got wire type 0"},
		{"sample cut off", []byte{0x0a, 4, 0x12, 2, 0x09, 1}, V1, "damaged at byte 5: expected a sample's value, got the end of its message"},
		{"timestamp of wrong type", []byte{0x0a, 11, 0x12, 9, 0x11, 0, 0, 0, 0, 0, 0, 0, 0}, V1, "expected a sample's timestamp, got wire type 1"},
		{"label of wrong type", []byte{0x0a, 2, 0x08, 1}, V1, "expected labels, samples, exemplars or histograms of a series, got wire type 0"},
		{"first symbol", []byte{0x22, 1, 'a'}, V2, `damaged at byte 2: expected an empty first symbol, got "a"`},
		{"packed number cut off", []byte{0x2a, 5, 0x0a, 1, 0x80, 0x01, 0x00}, V2, "expected packed numbers that end with their field"},
		{"1.0 as 2.0", good, V2, "the Content-Type says remote write 2.0, but the body is a remote write 1.0 message"},
		{"2.0 as 1.0", v2, V1, "the Content-Type says remote write 1.0, but the body is a remote write 2.0 message"},
		{"metadata too long", append([]byte{0x1a, 0x84, 0x80, 0x20, 0x22, 0x80, 0x80, 0x20}, make([]byte, 1<<19)...), V1, "expected metadata and unknown fields that fit an entry"},
	} {
		var r Request
		err := r.Scan(c.raw, c.p, pairs)
		if err == nil || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v, expected %q", c.name, err, c.text)
		}
	}
	if err := new(Request).Scan(nil, 3, Labels{}); err == nil {
		t.Error("an unknown protocol was accepted")
	}
}

func TestEmptyBodiesAreLegal(t *testing.T) {
	for _, p := range []Protocol{V1, V2} {
		var r Request
		if err := r.Scan(nil, p, pairs); err != nil || r.Counts != (Counts{}) {
			t.Errorf("%s: %+v %v", p, r.Counts, err)
		}
		if parts, err := r.Parts(nil, true, true, 0); err != nil || len(parts) != 0 {
			t.Errorf("%s: %d parts, %v", p, len(parts), err)
		}
	}
}

func identityOf(r *Request, i int) Identity { return r.Identities[r.Series[i].Identity] }

func TestIdentity(t *testing.T) {
	for _, c := range []struct {
		labels        []string
		group, source string
		replica       bool
	}{
		{[]string{"__name__", "up", "__replica__", "a", "cluster", "c"}, "c", "a", true},
		{[]string{"__name__", "up", "__replica__", "a"}, "", "a", true},
		{[]string{"__name__", "up", "cluster", "c"}, "", "", false},
		{[]string{"__name__", "up", "prometheus", "p", "prometheus_replica", "b"}, "p", "b", true},
		{[]string{"__name__", "up", "__replica__", "a", "cluster", "c", "prometheus", "p", "prometheus_replica", "b"}, "c", "a", true},
		{[]string{"__name__", "up", "__replica__", "", "cluster", "c", "prometheus", "p", "prometheus_replica", "b"}, "p", "b", true},
		{[]string{"__name__", "up", "__replica__", "", "cluster", "c"}, "", "", true},
		{[]string{"__name__", "up", "_replica__", "a", "__replica_", "a", "__replica___", "a"}, "", "", false},
	} {
		for _, p := range []Protocol{V1, V2} {
			raw := requestV1(c.labels)
			if p == V2 {
				raw = requestV2(c.labels)
			}
			var r Request
			if err := r.Scan(raw, p, pairs); err != nil {
				t.Fatal(err)
			}
			if id := identityOf(&r, 0); id.Group != c.group || id.Source != c.source || r.Series[0].Replica != c.replica || r.Replica != c.replica {
				t.Errorf("%s %q: %+v %v", p, c.labels, id, r.Replica)
			}
		}
	}
}

// A label may be one pair's group and another's replica; it is removed because it is a replica label.
func TestIdentityByOverlappingPairs(t *testing.T) {
	l := Labels{Pairs: []Pair{{"a", "b"}, {"c", "a"}, {"", "d"}}}
	var r Request
	if err := r.Scan(requestV1([]string{"__name__", "up", "a", "1", "c", "3"}), V1, l); err != nil {
		t.Fatal(err)
	}
	if id := identityOf(&r, 0); id.Group != "3" || id.Source != "1" || !r.Series[0].Replica {
		t.Fatalf("%+v", id)
	}
	if err := r.Scan(requestV1([]string{"__name__", "up", "d", "4"}), V1, l); err != nil {
		t.Fatal(err)
	}
	if id := identityOf(&r, 0); id.Group != "" || id.Source != "4" {
		t.Fatalf("%+v", id)
	}
}

func TestManyIdentities(t *testing.T) {
	var series [][]string
	for i := range 50 {
		series = append(series, []string{"__name__", "up", "__replica__", fmt.Sprint(i % 25), "cluster", fmt.Sprint(i % 5)})
	}
	var r Request
	for range 2 { // the second time in used buffers
		if err := r.Scan(requestV1(series...), V1, pairs); err != nil {
			t.Fatal(err)
		}
		if len(r.Identities) != 25 {
			t.Fatalf("%d identities, expected 25", len(r.Identities))
		}
		for i := range r.Series {
			if id := identityOf(&r, i); id.Source != series[i][3] || id.Group != series[i][5] || id.Series != 2 {
				t.Fatalf("series %d: %+v", i, id)
			}
		}
		if err := r.Scan(requestV1([]string{"__name__", "up", "__replica__", "z"}), V1, pairs); err != nil {
			t.Fatal(err)
		}
		if len(r.Identities) != 1 || r.Identities[0].Source != "z" {
			t.Fatalf("%+v", r.Identities)
		}
	}
}

// R6: the hot path allocates nothing.
func TestScanAllocatesNothing(t *testing.T) {
	for _, p := range []Protocol{V1, V2} {
		raw := typicalV1(t, 500)
		if p == V2 {
			raw = typicalV2(t, 500)
		}
		var r Request
		if n := testing.AllocsPerRun(20, func() {
			if err := r.Scan(raw, p, pairs); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", p, n)
		}
	}
}

func TestSamples(t *testing.T) {
	req := prompb.WriteRequest{Timeseries: []prompb.TimeSeries{{
		Labels:     []prompb.Label{{Name: "__name__", Value: "up"}},
		Samples:    []prompb.Sample{{Timestamp: 1, Value: 2}, {Timestamp: 3}},
		Histograms: []prompb.Histogram{{Timestamp: 4, Sum: 5, Count: &prompb.Histogram_CountInt{}}},
	}}}
	var r Request
	if err := r.Scan([]byte(encoded(&req)), V1, Labels{}); err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(r.Samples(0, nil)), "[{1 2 false} {3 0 false} {4 5 true}]"; got != want {
		t.Fatalf("%s, expected %s", got, want)
	}
}

// Positions have 32 bits. The memory is only reserved, never touched.
func TestTooLargeForPositions(t *testing.T) {
	raw, err := syscall.Mmap(-1, 0, 1<<31, syscall.PROT_READ, syscall.MAP_ANON|syscall.MAP_PRIVATE|syscall.MAP_NORESERVE)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Munmap(raw) }()
	if err := new(Request).Scan(raw, V1, Labels{}); !errors.Is(err, ErrTooLarge) {
		t.Fatal(err)
	}
}

func TestASCII(t *testing.T) {
	for n := range 80 {
		b := make([]byte, n)
		if !ascii(b) {
			t.Fatalf("%d zeros", n)
		}
		for i := range b {
			b[i] = 0x80
			if ascii(b) {
				t.Fatalf("byte %d of %d", i, n)
			}
			b[i] = 0x7f
		}
	}
}
