package ingest

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/prompb"

	"github.com/highlander-io/highlander/fsm"
)

// applyNode applies what is proposed and keeps nothing of it.
type applyNode struct {
	fsm   *fsm.FSM
	index atomic.Uint64
}

func (n *applyNode) IsLeader() bool                { return true }
func (n *applyNode) Confirm(context.Context) error { return nil }
func (n *applyNode) Leader() http.RoundTripper     { return nil }
func (n *applyNode) Peers() []Peer                 { return nil }

func (n *applyNode) Propose(entry []byte, _ time.Duration) Future {
	index := n.index.Add(1)
	return settled{response: n.fsm.Apply(&raft.Log{Index: index, Type: raft.LogCommand, Data: entry}), index: index}
}

// typicalBody looks like what Prometheus sends: sorted labels, few names, many instances.
func typicalBody(b *testing.B, samples int, replica string) []byte {
	at := time.Now().UnixMilli()
	var rq prompb.WriteRequest
	for i := range samples {
		labels := []prompb.Label{
			{Name: "__name__", Value: fmt.Sprintf("node_network_receive_bytes_%d_total", i%100)},
			{Name: "cluster", Value: "eu-west-1"},
			{Name: "device", Value: fmt.Sprintf("eth%d", i%4)},
			{Name: "instance", Value: fmt.Sprintf("10.0.%d.%d:9100", i/250, i%250)},
			{Name: "job", Value: "node"},
		}
		if replica != "" {
			labels = append([]prompb.Label{labels[0], {Name: "__replica__", Value: replica}}, labels[1:]...)
		}
		rq.Timeseries = append(rq.Timeseries, prompb.TimeSeries{
			Labels: labels, Samples: []prompb.Sample{{Timestamp: at, Value: float64(i) * 1.1}},
		})
	}
	raw, err := rq.Marshal()
	if err != nil {
		b.Fatal(err)
	}
	return snappy.Encode(nil, raw)
}

const benchSamples = 2000

// benchKept is how many requests of a standby are in the window while more come: 64 MB.
const benchKept = 2000

var benchShelf = shelfKey{fsm.GroupID{Name: "eu-west-1"}, "b"}

// BenchmarkHandler is one request of 2000 samples from ServeHTTP to the state machine and back, without HTTP's own cost
// and without a disk. Every body has a number of its own, as equal ones are duplicates.
func BenchmarkHandler(b *testing.B) {
	for _, c := range []struct {
		name, replica, query string
		standby              bool
	}{
		{name: "url", query: "highlander_group=g&highlander_source=a"},
		{name: "url-strip", query: "highlander_group=g&highlander_source=a", replica: "a"},
		{name: "labels", replica: "a"},
		{name: "url-standby", query: "highlander_group=eu-west-1&highlander_source=b", standby: true},
		{name: "labels-standby", replica: "b", standby: true},
	} {
		b.Run(c.name, func(b *testing.B) {
			h := benchHandler(b)
			if c.standby {
				if code, _ := send(h, typicalBody(b, 1, "a"), ""); code != 204 {
					b.Fatalf("status %d", code)
				}
			}
			want := map[bool]int{true: 202, false: 204}[c.standby]
			body, number := numbered(b, typicalBody(b, benchSamples, c.replica))
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			b.ResetTimer()
			before := cpuTime(b)
			for i := range b.N {
				binary.LittleEndian.PutUint64(number, uint64(i))
				if code, reason := send(h, body, c.query); code != want {
					b.Fatalf("status %d: %s", code, reason)
				}
				if c.standby && i >= benchKept { // as if the current source had passed it
					h.window.remove(h.window.first(benchShelf))
				}
			}
			b.ReportMetric(float64((cpuTime(b)-before).Nanoseconds())/float64(b.N)/benchSamples, "cpu-ns/sample")
		})
	}
}

// cpuTime is what the process has used of the processors: unlike the clock, it is not moved by others on the machine.
func cpuTime(b *testing.B) time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

func benchHandler(b *testing.B) *Handler {
	node := &applyNode{fsm: fsm.New(fsm.Options{})}
	entry, err := fsm.Encode(&fsm.DestinationOp{Op: "register", Name: "lts", URL: "http://lts.example/w", Time: 1})
	if err != nil {
		b.Fatal(err)
	}
	node.Propose(entry, 0)
	h := New(testOptions(), Deps{
		State: node.fsm, Node: node, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	})
	h.lead.Store(newLeadership("bench", time.Now()))
	return h
}

// numbered appends an unknown field to a block's message, as a literal of its own, and returns where its eight bytes are.
func numbered(b *testing.B, block []byte) (body, number []byte) {
	size, n := binary.Uvarint(block)
	if n <= 0 {
		b.Fatal("not a snappy block")
	}
	body = binary.AppendUvarint(nil, size+9)
	body = append(body, block[n:]...)
	body = append(body, 8<<2, 15<<3|1) // a literal of nine bytes; field 15, eight bytes
	body = append(body, make([]byte, 8)...)
	return body, body[len(body)-8:]
}

// recorder is a ResponseWriter that costs nothing.
type recorder struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }
func (r *recorder) WriteHeader(code int)        { r.code = code }

func send(h *Handler, body []byte, rawQuery string) (int, string) {
	r := httptest.NewRequest(http.MethodPost, "/api/v1/write", io.NopCloser(bytes.NewReader(body)))
	r.Header["Content-Type"] = []string{mediaType}
	r.Header["Content-Encoding"] = []string{"snappy"}
	r.ContentLength = int64(len(body))
	r.URL.RawQuery = rawQuery
	w := &recorder{header: make(http.Header), code: 200}
	h.ServeHTTP(w, r)
	return w.code, w.body.String()
}

// BenchmarkFence is a change of source with 100,000 series of which the margin holds six samples each: a fence from the log,
// then half a minute of kept samples through it.
func BenchmarkFence(b *testing.B) {
	const requests, scrapes = 50, 6
	for range b.N {
		b.StopTimer()
		d := newDesk(b)
		body := func(i int) []byte {
			list := make([]prompb.TimeSeries, 0, benchSamples)
			for s := range benchSamples {
				list = append(list, series(d.clock.Now(), "__name__", "http_requests_total", "instance", fmt.Sprint(i), "path", fmt.Sprint("/api/", s)))
			}
			return bodyV1(b, list...)
		}
		for range scrapes {
			for i := range requests {
				if code := d.post(body(i), by("g", "a")).Code; code != 204 {
					b.Fatalf("status %d", code)
				}
			}
			d.clock.advance(7 * time.Second)
			for i := range requests {
				if code := d.post(body(i), by("g", "b")).Code; code != 202 {
					b.Fatalf("status %d", code)
				}
			}
			d.clock.advance(7 * time.Second)
		}
		d.flush()
		d.operate(fsm.SourceOp{Op: "promote", Group: fsm.GroupID{Name: "g"}, Source: "b"})
		d.Handler.tick(context.Background(), d.lead)
		b.StartTimer()
		before := cpuTime(b)
		d.advance()
		b.ReportMetric((cpuTime(b) - before).Seconds(), "cpu-s/handover")
		b.StopTimer()
		d.current("g", "b")
		b.StartTimer()
	}
}
