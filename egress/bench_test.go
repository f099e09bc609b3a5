package egress

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/prometheus/prompb"

	"github.com/highlander-io/highlander/fsm"
	"github.com/highlander-io/highlander/fsm/wire"
)

// sink is an endpoint that reads and forgets.
func sink(b *testing.B) (url string, requests *atomic.Int64) {
	requests = new(atomic.Int64)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		requests.Add(1)
		w.WriteHeader(http.StatusNoContent)
	})}
	go func() { _ = srv.Serve(ln) }()
	b.Cleanup(func() { _ = srv.Close() })
	return "http://" + ln.Addr().String() + "/api/v1/write", requests
}

// backlogLog repeats one batch of 2,000 samples n times.
func backlogLog(b *testing.B, c *cluster, n int) (stored int) {
	var req prompb.WriteRequest
	for i := range 2000 {
		req.Timeseries = append(req.Timeseries, prompb.TimeSeries{
			Labels: []prompb.Label{
				{Name: "__name__", Value: "http_request_duration_seconds_bucket"}, {Name: "instance", Value: "10.0.0." + strconv.Itoa(i%200) + ":9100"},
				{Name: "job", Value: "node"}, {Name: "le", Value: strconv.Itoa(i % 17)}, {Name: "path", Value: fmt.Sprintf("/api/v1/%d", i)},
			},
			Samples: []prompb.Sample{{Timestamp: 1_767_366_245_000 + int64(i), Value: float64(i) * 1.37}},
		})
	}
	raw, err := req.Marshal()
	if err != nil {
		b.Fatal(err)
	}
	body := wire.Compress(nil, raw)
	batch := fsm.Batch{Group: fsm.GroupID{Name: "g"}, Source: "a", Part: 1, Parts: 1, Protocol: wire.V1,
		Counts: wire.Counts{Series: 2000, Floats: 2000, MinTime: 1, MaxTime: 2}, Time: 1, Flags: fsm.FlagUnelected, Body: body}
	for i := range n {
		batch.RequestID = fsm.RequestID{byte(i), byte(i >> 8), byte(i >> 16)}
		entry := raft.Log{Index: uint64(len(c.entries) + 1), Type: raft.LogCommand, Data: batch.Append(nil)}
		c.entries = append(c.entries, entry)
		c.state.Apply(&entry)
	}
	return len(body)
}

// BenchmarkDrain drains a backlog of b.N batches of 2,000 samples to a local sink.
func BenchmarkDrain(b *testing.B) {
	for _, lanes := range []int{1, 4} {
		b.Run(fmt.Sprintf("lanes=%d", lanes), func(b *testing.B) {
			url, requests := sink(b)
			c := newCluster(b)
			c.operate(&fsm.DestinationOp{Op: fsm.OpRegister, Name: "lts", URL: url, Time: 1})
			stored := backlogLog(b, c, b.N)
			e := c.egress(Destination{Name: "lts", URL: url, Queue: Queue{MaxShards: lanes}})
			b.SetBytes(int64(stored))
			b.ReportAllocs()
			b.ResetTimer()
			stop := c.lead(e)
			for {
				changed := c.state.Changed()
				if d, _ := c.state.Destination("lts"); d.Backlog.Entries == 0 {
					break
				}
				<-changed
			}
			b.StopTimer()
			stop()
			b.ReportMetric(float64(b.N)*2000/b.Elapsed().Seconds(), "samples/s")
			b.ReportMetric(float64(b.N)/float64(requests.Load()), "batches/request")
		})
	}
}
