package wire

import (
	"fmt"
	"testing"

	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
)

const testTime = 1767366245000

// typicalV1 is a request as a Prometheus server with external labels sends it: n series with eight labels and one
// sample each.
func typicalV1(t testing.TB, n int) []byte {
	t.Helper()
	var req prompb.WriteRequest
	for i := range n {
		req.Timeseries = append(req.Timeseries, prompb.TimeSeries{
			Labels: []prompb.Label{
				{Name: "__name__", Value: fmt.Sprintf("http_request_duration_seconds_%d", i/40)},
				{Name: "__replica__", Value: "prometheus-a"},
				{Name: "cluster", Value: "prod-eu-west"},
				{Name: "code", Value: []string{"200", "404", "500"}[i%3]},
				{Name: "handler", Value: fmt.Sprintf("/api/v1/handler/%d", i%40)},
				{Name: "instance", Value: fmt.Sprintf("10.0.%d.%d:9100", i/250, i%250)},
				{Name: "job", Value: "node-exporter"},
				{Name: "method", Value: "GET"},
			},
			Samples: []prompb.Sample{{Value: 17.25 * float64(i*i%9973), Timestamp: testTime + int64(i%7)}},
		})
	}
	raw, err := req.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// typicalV2 is the same request in the other protocol.
func typicalV2(t testing.TB, n int) []byte {
	t.Helper()
	var in prompb.WriteRequest
	if err := in.Unmarshal(typicalV1(t, n)); err != nil {
		t.Fatal(err)
	}
	symbols := writev2.NewSymbolTable()
	var req writev2.Request
	for _, ts := range in.Timeseries {
		var refs []uint32
		for _, l := range ts.Labels {
			refs = append(refs, symbols.Symbolize(l.Name), symbols.Symbolize(l.Value))
		}
		req.Timeseries = append(req.Timeseries, writev2.TimeSeries{
			LabelsRefs: refs,
			Samples:    []writev2.Sample{{Value: ts.Samples[0].Value, Timestamp: ts.Samples[0].Timestamp, StartTimestamp: testTime - 1e6}},
			Metadata:   writev2.Metadata{Type: writev2.Metadata_METRIC_TYPE_COUNTER, HelpRef: symbols.Symbolize("How long requests took.")},
		})
	}
	req.Symbols = symbols.Symbols()
	raw, err := req.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

var pairs = Labels{Pairs: []Pair{{"cluster", "__replica__"}, {"prometheus", "prometheus_replica"}}}
