package prompeer

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang/snappy"
	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/client_golang/prometheus"
	commonconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/model/value"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/tsdbutil"

	"github.com/highlander-io/highlander/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

func openDB(t testing.TB, dir string) *tsdb.DB {
	t.Helper()
	opts := tsdb.DefaultOptions()
	opts.EnableExemplarStorage = true
	opts.MaxExemplars = 100_000
	opts.EnableMetadataWALRecords = true
	db, err := tsdb.Open(dir, slog.New(slog.DiscardHandler), nil, opts, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// sender is a TSDB whose write-ahead log Prometheus' queue manager sends.
type sender struct {
	db    *tsdb.DB
	queue *remote.WriteStorage
}

// newSender sends everything to each of the addresses, by a queue of its own. It returns when all of them read the log: they
// leave out what has a time before that.
func newSender(t testing.TB, protocol remoteapi.WriteMessageType, external labels.Labels, addresses ...string) *sender {
	t.Helper()
	dir := t.TempDir()
	db := openDB(t, dir)
	begun := &begun{Handler: slog.DiscardHandler}
	queue := remote.NewWriteStorage(slog.New(begun), prometheus.NewRegistry(), dir, 10*time.Second, nil, false)
	db.SetWriteNotified(queue)
	cfg := &config.Config{GlobalConfig: config.DefaultGlobalConfig}
	cfg.GlobalConfig.ExternalLabels = external
	for i, address := range addresses {
		cfg.RemoteWriteConfigs = append(cfg.RemoteWriteConfigs, writeConfig(t, fmt.Sprint("queue", i), address, protocol))
	}
	if err := queue.ApplyConfig(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = queue.Close() })
	harness.Eventually(t, "queues that read the log", func() error {
		if n := begun.queues.Load(); n < int64(len(addresses)) {
			return fmt.Errorf("%d of %d", n, len(addresses))
		}
		return nil
	})
	return &sender{db, queue}
}

// begun counts the queues that have begun to read the log, which they say once they have taken the time.
type begun struct {
	slog.Handler
	queues atomic.Int64
}

func (b *begun) Enabled(context.Context, slog.Level) bool { return true }
func (b *begun) WithAttrs([]slog.Attr) slog.Handler       { return b }
func (b *begun) WithGroup(string) slog.Handler            { return b }
func (b *begun) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "Replaying WAL" {
		b.queues.Add(1)
	}
	return nil
}

func writeConfig(t testing.TB, name, address string, protocol remoteapi.WriteMessageType) *config.RemoteWriteConfig {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	write := config.DefaultRemoteWriteConfig
	write.Name, write.URL, write.ProtobufMessage = name, &commonconfig.URL{URL: u}, protocol
	write.RemoteTimeout = model.Duration(5 * time.Second)
	write.SendExemplars, write.SendNativeHistograms = true, true
	write.MetadataConfig.Send = false
	write.QueueConfig.BatchSendDeadline = model.Duration(100 * time.Millisecond)
	write.QueueConfig.MaxBackoff = model.Duration(500 * time.Millisecond)
	write.QueueConfig.MaxSamplesPerSend = 500
	return &write
}

// fill appends n times to every kind of series: counters with exemplars and metadata, histograms of integers and
// floats, exponential and with custom buckets; one series ends with a stale marker.
func (s *sender) fill(t testing.TB, base time.Time, from, n int) {
	t.Helper()
	for i := from; i < from+n; i++ {
		ts := base.Add(time.Duration(i) * 10 * time.Millisecond).UnixMilli()
		app := s.db.Appender(context.Background())
		add := func(_ storage.SeriesRef, err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		for series := range 20 {
			ls := labels.FromStrings("__name__", "requests_total", "job", "peer", "series", string(rune('a'+series)))
			ref, err := app.Append(0, ls, ts, float64(i)+0.1)
			add(ref, err)
			if i == from {
				add(app.UpdateMetadata(ref, ls, metadata.Metadata{Type: model.MetricTypeCounter, Help: "Requests so far.", Unit: "requests"}))
			}
			if i%10 == 0 {
				add(app.AppendExemplar(ref, ls, exemplar.Exemplar{
					Labels: labels.FromStrings("trace_id", "t"+string(rune('a'+i/10%26))), Value: float64(i), Ts: ts, HasTs: true}))
			}
		}
		gauge := float64(i)
		switch i % 50 {
		case 7:
			gauge = math.Inf(-1)
		case 9:
			gauge = math.NaN()
		case 49:
			gauge = math.Float64frombits(value.StaleNaN)
		}
		add(app.Append(0, labels.FromStrings("__name__", "temperature", "job", "peer"), ts, gauge))
		h := func(name string, h *histogram.Histogram, fh *histogram.FloatHistogram) {
			t.Helper()
			add(app.AppendHistogram(0, labels.FromStrings("__name__", name, "job", "peer"), ts, h, fh))
		}
		h("exponential", tsdbutil.GenerateTestHistogram(int64(i)), nil)
		h("exponential_float", nil, tsdbutil.GenerateTestFloatHistogram(int64(i)))
		h("custom", tsdbutil.GenerateTestCustomBucketsHistogram(int64(i)), nil)
		h("custom_float", nil, tsdbutil.GenerateTestCustomBucketsFloatHistogram(int64(i)))
		if err := app.Commit(); err != nil {
			t.Fatal(err)
		}
	}
}

// receiver is Prometheus' write handler over a TSDB, with a copy of every 2.0 request that it got.
type receiver struct {
	db      *tsdb.DB
	address string

	mu       sync.Mutex
	requests []writev2.Request
	answers  map[int]int
}

func newReceiver(t testing.TB, accepted ...remoteapi.WriteMessageType) *receiver {
	t.Helper()
	r := &receiver{db: openDB(t, t.TempDir()), answers: map[int]int{}}
	handler := remote.NewWriteHandler(slog.New(slog.DiscardHandler), prometheus.NewRegistry(), r.db, accepted, false, false, true)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.address = listener.Addr().String()
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		req.Body = io.NopCloser(bytes.NewReader(body))
		answer := &recorder{ResponseWriter: w, status: http.StatusOK}
		handler.ServeHTTP(answer, req)
		r.record(req.Header.Get("Content-Type"), body, answer.status)
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return r
}

type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

func (r *receiver) record(content string, body []byte, status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answers[status]++
	if !strings.Contains(content, string(v2)) {
		return
	}
	raw, err := snappy.Decode(nil, body)
	if err != nil {
		return
	}
	var req writev2.Request
	if req.Unmarshal(raw) == nil {
		r.requests = append(r.requests, req)
	}
}

func (r *receiver) v2() []writev2.Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]writev2.Request(nil), r.requests...)
}

func (r *receiver) url() string { return "http://" + r.address + "/api/v1/write" }

func (r *receiver) destination(protocol remoteapi.WriteMessageType) harness.Map {
	to := harness.To("lts", r.url())
	to["protobuf_message"] = string(protocol)
	to["remote_timeout"] = harness.Patience.String() // what is sent again is refused
	return to
}

// content is everything a TSDB holds, as text by series, time and kind.
type content map[string]string

func read(t testing.TB, db *tsdb.DB) content {
	t.Helper()
	out := content{}
	q, err := db.Querier(math.MinInt64, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	set := q.Select(context.Background(), true, nil, labels.MustNewMatcher(labels.MatchRegexp, "__name__", ".+"))
	for set.Next() {
		name := set.At().Labels().String()
		readSeries(t, out, name, set.At().Iterator(nil))
	}
	if err := set.Err(); err != nil {
		t.Fatal(err)
	}
	readExemplars(t, db, out)
	return out
}

func readSeries(t testing.TB, out content, name string, it chunkenc.Iterator) {
	t.Helper()
	for kind := it.Next(); kind != chunkenc.ValNone; kind = it.Next() {
		switch kind {
		case chunkenc.ValFloat:
			ts, v := it.At()
			out[key(name, ts)] = "float " + hex(v)
		case chunkenc.ValHistogram:
			ts, h := it.AtHistogram(nil)
			out[key(name, ts)] = "histogram " + h.String() + floats(h.CustomValues) + " sum " + hex(h.Sum)
		case chunkenc.ValFloatHistogram:
			ts, h := it.AtFloatHistogram(nil)
			out[key(name, ts)] = "float histogram " + h.String() + floats(h.CustomValues) + " sum " + hex(h.Sum)
		}
	}
	if err := it.Err(); err != nil {
		t.Fatal(err)
	}
}

func readExemplars(t testing.TB, db *tsdb.DB, out content) {
	t.Helper()
	q, err := db.ExemplarQuerier(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	found, err := q.Select(math.MinInt64, math.MaxInt64, []*labels.Matcher{labels.MustNewMatcher(labels.MatchRegexp, "__name__", ".+")})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		name := f.SeriesLabels.String()
		for _, e := range f.Exemplars {
			out["exemplar "+key(name, e.Ts)] = e.Labels.String() + " " + hex(e.Value)
		}
	}
}
