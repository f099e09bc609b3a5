package wire

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"

	"pgregory.net/rapid"
)

// The reference: what the generated decoders and Prometheus' own validation say about a body, in a form in which
// requests can be compared whatever way they are cut.

// content is a request as data: what each label set holds, in order.
type contents struct {
	series   map[string]*seriesContents
	order    []string // of first appearance
	metadata []string // of families, 1.0
	unknown  string   // of the request
}

type seriesContents struct {
	floats     []string // encoded as they are, so that NaN payloads and unknown fields count
	histograms []string
	exemplars  []string
	metadata   map[string]bool // 2.0, non-empty
	unknown    map[string]bool
}

func newContents() *contents { return &contents{series: map[string]*seriesContents{}} }

func (c *contents) at(key string) *seriesContents {
	s := c.series[key]
	if s == nil {
		s = &seriesContents{metadata: map[string]bool{}, unknown: map[string]bool{}}
		c.series[key] = s
		c.order = append(c.order, key)
	}
	return s
}

func (c *contents) String() string {
	var b strings.Builder
	for _, k := range slices.Sorted(slices.Values(c.order)) {
		s := c.series[k]
		fmt.Fprintf(&b, "%s\n floats %q\n histograms %q\n exemplars %q\n metadata %q\n unknown %q\n", k, s.floats, s.histograms, s.exemplars, keys(s.metadata), keys(s.unknown))
	}
	fmt.Fprintf(&b, "metadata %q\nunknown %q\n", c.metadata, c.unknown)
	return b.String()
}

func keys(m map[string]bool) []string {
	var all []string
	for k := range m {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}

type marshaler interface{ Marshal() ([]byte, error) }

func encoded(m marshaler) string {
	b, err := m.Marshal()
	if err != nil {
		panic(err)
	}
	return string(b)
}

// referenceSeries is what the reference knows of one series.
type referenceSeries struct {
	labels     []Label
	badRefs    bool
	floats     int
	histograms []histogramCheck
	exemplars  int
	times      []int64
}

type histogramCheck struct {
	schema int32
	err    error
}

// reasons returns every reason that may be given against the series; none: it is good.
func (s *referenceSeries) reasons() []string {
	var all []string
	if s.badRefs {
		all = append(all, ReasonBadSymbolRef)
	}
	seen := map[string]bool{}
	name, hasName := "", false
	for _, l := range s.labels {
		if seen[l.Name] {
			all = append(all, ReasonDuplicateLabel)
		}
		seen[l.Name] = true
		if l.Name == "" {
			all = append(all, ReasonEmptyLabelName)
		}
		if !utf8.ValidString(l.Name) || !utf8.ValidString(l.Value) {
			all = append(all, ReasonInvalidUTF8)
		}
		if l.Name == "__name__" {
			name, hasName = l.Value, true
		}
	}
	if !hasName {
		all = append(all, ReasonMissingName)
	} else if name == "" {
		all = append(all, ReasonEmptyName)
	}
	for _, h := range s.histograms {
		if histogram.IsKnownSchema(h.schema) && h.err != nil {
			all = append(all, ReasonBadHistogram)
		}
	}
	return all
}

// decodeV1 is the reference for 1.0.
func decodeV1(raw []byte) ([]referenceSeries, *prompb.WriteRequest, error) {
	var req prompb.WriteRequest
	if err := req.Unmarshal(raw); err != nil {
		return nil, nil, err
	}
	var all []referenceSeries
	for _, ts := range req.Timeseries {
		var s referenceSeries
		for _, l := range ts.Labels {
			s.labels = append(s.labels, Label{l.Name, l.Value})
		}
		s.floats, s.exemplars = len(ts.Samples), len(ts.Exemplars)
		for _, x := range ts.Samples {
			s.times = append(s.times, x.Timestamp)
		}
		for _, h := range ts.Histograms {
			s.times = append(s.times, h.Timestamp)
			c := histogramCheck{schema: h.Schema}
			if histogram.IsExponentialSchemaReserved(h.Schema) {
				h.Schema = 0 // a receiver reduces the resolution first
			}
			if h.IsFloatHistogram() {
				c.err = h.ToFloatHistogram().Validate()
			} else {
				c.err = h.ToIntHistogram().Validate()
			}
			s.histograms = append(s.histograms, c)
		}
		all = append(all, s)
	}
	return all, &req, nil
}

// decodeV2 is the reference for 2.0.
func decodeV2(raw []byte) ([]referenceSeries, *writev2.Request, error) {
	var req writev2.Request
	if err := req.Unmarshal(raw); err != nil {
		return nil, nil, err
	}
	var all []referenceSeries
	for _, ts := range req.Timeseries {
		var s referenceSeries
		var ok bool
		s.labels, ok = desymbolize(ts.LabelsRefs, req.Symbols)
		s.badRefs = !ok
		for _, e := range ts.Exemplars {
			if _, ok := desymbolize(e.LabelsRefs, req.Symbols); !ok {
				s.badRefs = true
			}
		}
		for _, ref := range []uint32{ts.Metadata.HelpRef, ts.Metadata.UnitRef} {
			s.badRefs = s.badRefs || ref != 0 && int(ref) >= len(req.Symbols)
		}
		s.floats, s.exemplars = len(ts.Samples), len(ts.Exemplars)
		for _, x := range ts.Samples {
			s.times = append(s.times, x.Timestamp)
		}
		for _, h := range ts.Histograms {
			s.times = append(s.times, h.Timestamp)
			c := histogramCheck{schema: h.Schema}
			if histogram.IsExponentialSchemaReserved(h.Schema) {
				h.Schema = 0 // a receiver reduces the resolution first
			}
			if h.IsFloatHistogram() {
				c.err = h.ToFloatHistogram().Validate()
			} else {
				c.err = h.ToIntHistogram().Validate()
			}
			s.histograms = append(s.histograms, c)
		}
		all = append(all, s)
	}
	return all, &req, nil
}

func desymbolize(refs []uint32, symbols []string) ([]Label, bool) {
	if len(refs)%2 != 0 {
		return nil, false
	}
	var all []Label
	for i := 0; i < len(refs); i += 2 {
		if int(refs[i]) >= len(symbols) || int(refs[i+1]) >= len(symbols) {
			return nil, false
		}
		all = append(all, Label{symbols[refs[i]], symbols[refs[i+1]]})
	}
	return all, true
}

// keyOf names a label set. Stripping leaves out the replica labels of pairs; the order of labels counts only where
// it must be kept.
func keyOf(labels []Label, strip, sorted bool) string {
	var kept []Label
	for _, l := range labels {
		if strip && (l.Name == "__replica__" || l.Name == "prometheus_replica") {
			continue
		}
		kept = append(kept, l)
	}
	if sorted {
		sortByName(kept)
	}
	return fmt.Sprintf("%q", kept)
}

// contentsV1 adds a 1.0 request; take says which series count.
func (c *contents) addV1(req *prompb.WriteRequest, strip bool, take func(i int) bool) {
	for i, ts := range req.Timeseries {
		if !take(i) {
			continue
		}
		var labels []Label
		for _, l := range ts.Labels {
			labels = append(labels, Label{l.Name, l.Value})
		}
		s := c.at(keyOf(labels, strip, false))
		for _, x := range ts.Samples {
			s.floats = append(s.floats, encoded(&x))
		}
		for _, x := range ts.Histograms {
			s.histograms = append(s.histograms, encoded(&x))
		}
		for _, x := range ts.Exemplars {
			s.exemplars = append(s.exemplars, encoded(&x))
		}
		if len(ts.XXX_unrecognized) > 0 {
			s.unknown[string(ts.XXX_unrecognized)] = true
		}
	}
	for _, m := range req.Metadata {
		c.metadata = append(c.metadata, encoded(&m))
	}
	c.unknown += string(req.XXX_unrecognized)
}

func (c *contents) addV2(req *writev2.Request, strip bool, take func(i int) bool) {
	for i, ts := range req.Timeseries {
		if !take(i) {
			continue
		}
		labels, ok := desymbolize(ts.LabelsRefs, req.Symbols)
		if !ok {
			panic("bad references in a good series")
		}
		s := c.at(keyOf(labels, strip, true))
		for _, x := range ts.Samples {
			s.floats = append(s.floats, encoded(&x))
		}
		for _, x := range ts.Histograms {
			s.histograms = append(s.histograms, encoded(&x))
		}
		for _, x := range ts.Exemplars {
			labels, _ := desymbolize(x.LabelsRefs, req.Symbols)
			x.LabelsRefs = nil
			s.exemplars = append(s.exemplars, fmt.Sprintf("%q %q", labels, encoded(&x)))
		}
		if len(ts.XXX_unrecognized) > 0 {
			s.unknown[string(ts.XXX_unrecognized)] = true
		}
		if m := metadataString(&ts.Metadata, req.Symbols); m != "" {
			s.metadata[m] = true
		}
	}
	c.unknown += string(req.XXX_unrecognized)
}

func metadataString(m *writev2.Metadata, symbols []string) string {
	if m.Type == 0 && symbolAt(symbols, m.HelpRef) == "" && symbolAt(symbols, m.UnitRef) == "" && len(m.XXX_unrecognized) == 0 {
		return ""
	}
	return fmt.Sprintf("%d %q %q %q", m.Type, symbolAt(symbols, m.HelpRef), symbolAt(symbols, m.UnitRef), m.XXX_unrecognized)
}

func symbolAt(symbols []string, ref uint32) string {
	if int(ref) < len(symbols) {
		return symbols[ref]
	}
	return ""
}

// byTheBook checks what every rewritten 2.0 request must be.
func byTheBook(t rapid.TB, req *writev2.Request) {
	t.Helper()
	if len(req.Symbols) == 0 || req.Symbols[0] != "" {
		t.Fatalf("symbols begin with %q", req.Symbols[:min(1, len(req.Symbols))])
	}
	seen := map[string]bool{}
	for _, s := range req.Symbols {
		if seen[s] {
			t.Fatalf("symbol %q twice", s)
		}
		seen[s] = true
	}
	used := map[uint32]bool{0: true}
	for i, ts := range req.Timeseries {
		if len(ts.Samples) > 0 && len(ts.Histograms) > 0 {
			t.Fatalf("series %d has samples and histograms", i)
		}
		labels, ok := desymbolize(ts.LabelsRefs, req.Symbols)
		if !ok {
			t.Fatalf("series %d has bad references", i)
		}
		if !slices.IsSortedFunc(labels, func(x, y Label) int { return strings.Compare(x.Name, y.Name) }) {
			t.Fatalf("series %d: labels %q are not sorted", i, labels)
		}
		for _, ref := range ts.LabelsRefs {
			used[ref] = true
		}
		for _, e := range ts.Exemplars {
			if _, ok := desymbolize(e.LabelsRefs, req.Symbols); !ok {
				t.Fatalf("series %d: exemplar has bad references", i)
			}
			for _, ref := range e.LabelsRefs {
				used[ref] = true
			}
		}
		used[ts.Metadata.HelpRef], used[ts.Metadata.UnitRef] = true, true
	}
	if len(used) != len(req.Symbols) {
		t.Fatalf("%d symbols, %d used", len(req.Symbols), len(used))
	}
}
