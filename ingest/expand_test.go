package ingest

import (
	"fmt"
	"strings"
	"testing"

	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"

	"github.com/highlander-io/highlander/fsm/wire"
)

// shared is a small 2.0 request whose series all refer to one long symbol.
func shared(n int, as func(*writev2.TimeSeries)) *writev2.Request {
	req := &writev2.Request{Symbols: []string{"", "__name__", "m", "l", strings.Repeat("a", 200<<10), "v"}}
	for i := range n {
		req.Symbols = append(req.Symbols, fmt.Sprint("metric_", i))
		series := writev2.TimeSeries{LabelsRefs: []uint32{1, uint32(6 + i)}, Samples: []writev2.Sample{{Timestamp: int64(i + 1)}}}
		as(&series)
		req.Timeseries = append(req.Timeseries, series)
	}
	return req
}

var shares = map[string]func(*writev2.TimeSeries){
	"label":    func(s *writev2.TimeSeries) { s.LabelsRefs = append(s.LabelsRefs, 3, 4) },
	"exemplar": func(s *writev2.TimeSeries) { s.Exemplars = []writev2.Exemplar{{LabelsRefs: []uint32{3, 4}}} },
	"help":     func(s *writev2.TimeSeries) { s.Metadata = writev2.Metadata{Type: 1, HelpRef: 4} },
}

// What is accepted can be sent as 1.0, in which each series has texts of its own: no entry becomes large by that, and what would
// become enormous is refused.
func TestSharedSymbolsAreBounded(t *testing.T) {
	for name, as := range shares {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			d.expect(d.post(encode(t, shared(200, as)), by("g", "a"), asV2), 204)
			samples := 0
			for _, b := range d.node.batches(t) {
				raw, err := wire.Decompress(nil, b.Body, 1<<30)
				if err != nil {
					t.Fatal(err)
				}
				old, err := wire.ToV1(nil, raw)
				if err != nil {
					t.Fatal(err)
				}
				if len(old) > wire.WrittenOutMax+1<<20 {
					t.Errorf("an entry of %d bytes as 1.0", len(old))
				}
				samples += int(b.Counts.Samples())
			}
			if samples != 200 {
				t.Errorf("%d samples in the log, want 200", samples)
			}
			d.expect(d.post(encode(t, shared(6000, as)), by("g", "a"), asV2), 413)
		})
	}
}
