package egress

import (
	"strings"
	"testing"

	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"

	"github.com/highlander-io/highlander/fsm/wire"
)

// A 2.0 body in which many series share a long label is large when it is sent as 1.0: a request holds fewer of them.
func TestRequestsStayWithinMaxBytesAs1(t *testing.T) {
	c := newCluster(t)
	l := newLTS(t, func(*write) answer { return ok })
	c.register("lts", l.URL+"/api/v1/write")
	for at := range 10 {
		req := &writev2.Request{Symbols: []string{"", "__name__", "m", "l", strings.Repeat("a", 200<<10)}}
		for i := range 20 {
			req.Timeseries = append(req.Timeseries, writev2.TimeSeries{
				LabelsRefs: []uint32{1, 2, 3, 4}, Samples: []writev2.Sample{{Timestamp: int64(20*at + i + 1)}}})
		}
		raw, err := req.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		c.raw("", raw, wire.V2)
	}
	c.lead(c.egress(to("lts", l)))
	c.drained(t, "lts")
	l.check(t, 200)
	for _, w := range l.writes {
		if len(w.samples) > 40 {
			t.Errorf("a request of %d samples with 200 KiB of labels each", len(w.samples))
		}
	}
}
