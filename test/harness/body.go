package harness

import (
	"fmt"
	"sort"
	"strings"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"

	"github.com/highlander-io/highlander/test/history"
)

// Content types of the two remote-write protocols.
const (
	ContentV1 = "application/x-protobuf"
	ContentV2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request"
)

// Label is a label of a series.
type Label = prompb.Label

// SeriesText is the canonical text of a series: its labels in order of their names.
func SeriesText(labels []Label) string {
	sorted := append([]Label(nil), labels...)
	sort.Slice(sorted, func(i, j int) bool { return sorted[i].Name < sorted[j].Name })
	var b strings.Builder
	for i, l := range sorted {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%s=%q", l.Name, l.Value)
	}
	return b.String()
}

// Point is one sample of one series, to be encoded.
type Point struct {
	Labels []Label
	Time   int64
	Value  float64
}

// EncodeV1 makes a remote write 1.0 body with one series per point.
func EncodeV1(points []Point) []byte {
	req := prompb.WriteRequest{Timeseries: make([]prompb.TimeSeries, len(points))}
	for i, p := range points {
		req.Timeseries[i] = prompb.TimeSeries{
			Labels:  p.Labels,
			Samples: []prompb.Sample{{Value: p.Value, Timestamp: p.Time}},
		}
	}
	raw, err := req.Marshal()
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return snappy.Encode(nil, raw)
}

// EncodeV2 makes a remote write 2.0 body with one series per point.
func EncodeV2(points []Point) []byte {
	symbols := writev2.NewSymbolTable()
	req := writev2.Request{Timeseries: make([]writev2.TimeSeries, len(points))}
	for i, p := range points {
		refs := make([]uint32, 0, 2*len(p.Labels))
		for _, l := range p.Labels {
			refs = append(refs, symbols.Symbolize(l.Name), symbols.Symbolize(l.Value))
		}
		req.Timeseries[i] = writev2.TimeSeries{
			LabelsRefs: refs,
			Samples:    []writev2.Sample{{Value: p.Value, Timestamp: p.Time}},
		}
	}
	req.Symbols = symbols.Symbols()
	raw, err := req.Marshal()
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return snappy.Encode(nil, raw)
}

// decoded is what a body holds, as the LTS sees it.
type decoded struct {
	Samples    []history.Sample // floats, and histograms by their sum
	Labels     [][]Label        // of each sample
	Histograms int
	Exemplars  int
	Metadata   int
}

func (d *decoded) add(labels []Label, text string, time int64, value float64) {
	d.Samples = append(d.Samples, history.Sample{Series: text, Time: time, Value: value})
	d.Labels = append(d.Labels, labels)
}

func decodeV1(body []byte) (decoded, error) {
	var d decoded
	raw, err := snappy.Decode(nil, body)
	if err != nil {
		return d, err
	}
	var req prompb.WriteRequest
	if err := req.Unmarshal(raw); err != nil {
		return d, err
	}
	d.Metadata = len(req.Metadata)
	if len(raw) > 0 && d.Metadata+len(req.Timeseries) == 0 {
		return d, fmt.Errorf("%d bytes without a field of remote write 1.0", len(raw))
	}
	for _, ts := range req.Timeseries {
		text := SeriesText(ts.Labels)
		for _, s := range ts.Samples {
			d.add(ts.Labels, text, s.Timestamp, s.Value)
		}
		for _, h := range ts.Histograms {
			d.add(ts.Labels, text, h.Timestamp, h.Sum)
		}
		d.Histograms += len(ts.Histograms)
		d.Exemplars += len(ts.Exemplars)
	}
	return d, nil
}

func decodeV2(body []byte) (decoded, error) {
	var d decoded
	raw, err := snappy.Decode(nil, body)
	if err != nil {
		return d, err
	}
	var req writev2.Request
	if err := req.Unmarshal(raw); err != nil {
		return d, err
	}
	if err := checkSymbols(req.Symbols); err != nil {
		return d, err
	}
	for _, ts := range req.Timeseries {
		labels, err := resolve(req.Symbols, ts.LabelsRefs)
		if err != nil {
			return d, err
		}
		if len(ts.Samples) > 0 && len(ts.Histograms) > 0 {
			return d, fmt.Errorf("series %v mixes samples and histograms", labels)
		}
		text := SeriesText(labels)
		for _, s := range ts.Samples {
			d.add(labels, text, s.Timestamp, s.Value)
		}
		for _, h := range ts.Histograms {
			d.add(labels, text, h.Timestamp, h.Sum)
		}
		d.Histograms += len(ts.Histograms)
		d.Exemplars += len(ts.Exemplars)
	}
	return d, nil
}

// checkSymbols holds highlander to the 2.0 specification: the first symbol is empty, none comes twice.
func checkSymbols(symbols []string) error {
	if len(symbols) == 0 || symbols[0] != "" {
		return fmt.Errorf("the first of %d symbols is not empty", len(symbols))
	}
	seen := make(map[string]bool, len(symbols))
	for _, s := range symbols {
		if seen[s] {
			return fmt.Errorf("symbol %q comes twice", s)
		}
		seen[s] = true
	}
	return nil
}

func resolve(symbols []string, refs []uint32) ([]Label, error) {
	if len(refs)%2 != 0 {
		return nil, fmt.Errorf("odd number of label references %v", refs)
	}
	labels := make([]Label, 0, len(refs)/2)
	for i := 0; i < len(refs); i += 2 {
		if int(refs[i]) >= len(symbols) || int(refs[i+1]) >= len(symbols) {
			return nil, fmt.Errorf("references %v beyond %d symbols", refs, len(symbols))
		}
		l := Label{Name: symbols[refs[i]], Value: symbols[refs[i+1]]}
		if n := len(labels); n > 0 && labels[n-1].Name >= l.Name {
			return nil, fmt.Errorf("labels are not sorted: %q before %q", labels[n-1].Name, l.Name)
		}
		labels = append(labels, l)
	}
	return labels, nil
}
