package ingest

import (
	"strings"
	"testing"

	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"

	"github.com/highlander-io/highlander/fsm/wire"
)

// sharedLabel is a small 2.0 request whose series all have the same long label.
func sharedLabel(n int) *writev2.Request {
	req := &writev2.Request{Symbols: []string{"", "__name__", "m", "l", strings.Repeat("a", 200<<10)}}
	for i := range n {
		req.Timeseries = append(req.Timeseries, writev2.TimeSeries{
			LabelsRefs: []uint32{1, 2, 3, 4}, Samples: []writev2.Sample{{Timestamp: int64(i + 1)}}})
	}
	return req
}

// What is accepted can be sent as 1.0, in which each series has its own labels: no entry becomes large by that, and what would
// become enormous is refused.
func TestSharedLabelsAreBounded(t *testing.T) {
	d := newDesk(t)
	d.expect(d.post(encode(t, sharedLabel(200)), by("g", "a"), asV2), 204)
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
		if len(old) > wire.ExpandedMax+1<<20 {
			t.Errorf("an entry of %d bytes as 1.0", len(old))
		}
		samples += int(b.Counts.Samples())
	}
	if samples != 200 {
		t.Errorf("%d samples in the log, want 200", samples)
	}
	d.expect(d.post(encode(t, sharedLabel(6000)), by("g", "a"), asV2), 413)
}
