package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"

	"github.com/highlander-io/highlander/fsm"
	"github.com/highlander-io/highlander/fsm/wire"
	"github.com/highlander-io/highlander/test/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m) }

// memNode is a cluster of one whose log is applied at once to a real state machine.
type memNode struct {
	fsm      *fsm.FSM
	follower atomic.Bool
	leader   atomic.Pointer[http.RoundTripper]
	peers    atomic.Pointer[[]Peer]

	mu        sync.Mutex
	index     uint64
	entries   [][]byte
	before    func(entry []byte) error // may propose itself; an error is the fate of the entry, which commits if it is errUnheard
	uncertain bool                     // entries are applied, but nobody learns of it
	confirms  int
	confirm   error
}

type settled struct {
	response any
	index    uint64
	err      error
}

func (s settled) Wait(context.Context) (any, uint64, error) { return s.response, s.index, s.err }

var (
	errNotCommitted = errors.New("not committed")
	errUnheard      = errors.New("committed, but nobody hears of it")
)

func (n *memNode) IsLeader() bool { return !n.follower.Load() }

func (n *memNode) Propose(entry []byte, _ time.Duration) Future {
	n.mu.Lock()
	before := n.before
	n.mu.Unlock()
	if before != nil {
		switch err := before(entry); {
		case errors.Is(err, errUnheard):
			n.apply(entry)
			return settled{err: err}
		case err != nil:
			return settled{err: err}
		}
	}
	return n.apply(entry)
}

func (n *memNode) apply(entry []byte) settled {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.index++
	n.entries = append(n.entries, entry)
	response := n.fsm.Apply(&raft.Log{Index: n.index, Term: 1, Type: raft.LogCommand, Data: entry})
	if n.uncertain {
		return settled{err: errNotCommitted}
	}
	return settled{response: response, index: n.index}
}

func (n *memNode) Confirm(context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.confirms++
	return n.confirm
}

func (n *memNode) Leader() http.RoundTripper {
	if rt := n.leader.Load(); rt != nil {
		return *rt
	}
	return nil
}

func (n *memNode) Peers() []Peer {
	if peers := n.peers.Load(); peers != nil {
		return *peers
	}
	return nil
}

// First and Reader show the log to those who build fences.
func (n *memNode) First() uint64 { return 1 }

func (n *memNode) Reader(from uint64) LogReader { return &memReader{n, from} }

type memReader struct {
	node *memNode
	next uint64
}

func (r *memReader) Next(limit uint64) (uint64, []byte, error) {
	r.node.mu.Lock()
	defer r.node.mu.Unlock()
	if r.next > limit || r.next > uint64(len(r.node.entries)) {
		return 0, nil, io.EOF
	}
	r.next++
	return r.next - 1, r.node.entries[r.next-2], nil
}

func (r *memReader) Close() error { return nil }

func (n *memNode) confirmed() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.confirms
}

// batches decodes the batches that the log holds and the state accepted.
func (n *memNode) batches(t testing.TB) []fsm.Batch {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	var list []fsm.Batch
	for i, entry := range n.entries {
		kind, err := fsm.PeekKind(entry)
		if err != nil {
			t.Fatal(err)
		}
		if _, refused := n.fsm.Refused(uint64(i + 1)); kind != fsm.KindBatch || refused {
			continue
		}
		b, err := fsm.DecodeBatch(entry)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, b)
	}
	return list
}

// manualClock moves when a test says so.
type manualClock struct{ now atomic.Int64 }

func newClock() *manualClock {
	c := new(manualClock)
	c.now.Store(time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC).UnixNano())
	return c
}

func (c *manualClock) Now() time.Time          { return time.Unix(0, c.now.Load()) }
func (c *manualClock) advance(d time.Duration) { c.now.Add(int64(d)) }

// desk is a leader on its own with everything at hand. Its Lead loop does not run: tests tick and flush themselves.
type desk struct {
	testing.TB
	*Handler
	node  *memNode
	clock *manualClock
	lead  *leadership
	logs  *lockedBuffer
	gate  atomic.Pointer[error]
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func testOptions() Options {
	return Options{
		Pairs:         []wire.Pair{{Group: "cluster", Replica: "__replica__"}},
		RequestWeight: true,
		Policy: fsm.Policy{
			FailoverTimeout: 15 * time.Second, PreemptAfter: 10 * time.Second, MaxLag: time.Minute,
			RequestWeight: true, GuardFuture: time.Minute,
		},
	}
}

func newDesk(t testing.TB, change ...func(*Options)) *desk {
	t.Helper()
	o := testOptions()
	for _, c := range change {
		c(&o)
	}
	d := &desk{TB: t, node: &memNode{}, clock: newClock(), logs: new(lockedBuffer)}
	d.node.fsm = fsm.New(fsm.Options{Fatal: func(err error) { t.Errorf("state machine: %v", err) }})
	d.Handler = New(o, Deps{
		State: d.node.fsm, Node: d.node, Log: d.node, Logger: slog.New(slog.NewTextHandler(d.logs, nil)),
		Registerer: prometheus.NewRegistry(), Now: d.clock.Now,
		Gate: func() error {
			if err := d.gate.Load(); err != nil {
				return *err
			}
			return nil
		},
	})
	d.register()
	d.takeOver()
	return d
}

func (d *desk) register() {
	entry, err := fsm.Encode(&fsm.DestinationOp{Op: "register", Name: "lts", URL: "http://lts.example/w", Time: d.clock.Now().UnixMilli()})
	if err != nil {
		d.Fatal(err)
	}
	if err, failed := d.node.apply(entry).response.(error); failed {
		d.Fatal(err)
	}
}

// takeOver starts a new leadership, as Lead does.
func (d *desk) takeOver() {
	d.lead = newLeadership(fmt.Sprintf("term-%d", d.clock.Now().UnixNano()), d.clock.Now())
	d.Handler.takeOver(d.lead)
	d.Handler.lead.Store(d.lead)
	d.Handler.collect(context.Background(), d.lead)
	d.advance()
}

// tick asks the rule and carries out what it says, as far as the log lets it.
func (d *desk) tick() {
	d.Handler.tick(context.Background(), d.lead)
	d.advance()
}

func (d *desk) advance() {
	d.Handler.advance(context.Background(), d.lead)
	d.lead.tasks.Wait()
}

func (d *desk) flush() {
	d.Helper()
	if err := d.Handler.flush(context.Background(), d.lead); err != nil {
		d.Fatal(err)
	}
}

// post sends one request and returns the answer.
func (d *desk) post(body []byte, change ...func(*http.Request)) *httptest.ResponseRecorder {
	r := newPost(body, change...)
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	return w
}

func (d *desk) serveRequest(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	return w
}

// operateAfterFlush carries out an operator's wish about a source that the state knows by its books.
func (d *desk) operateAfterFlush(op, source string) {
	d.flush()
	d.operate(fsm.SourceOp{Op: op, Group: fsm.GroupID{Name: "g"}, Source: source})
	d.tick()
}

func newPost(body []byte, change ...func(*http.Request)) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/api/v1/write", bytes.NewReader(body))
	r.Header.Set("Content-Type", mediaType)
	r.Header.Set("Content-Encoding", "snappy")
	for _, c := range change {
		c(r)
	}
	return r
}

func (d *desk) expect(w *httptest.ResponseRecorder, status int) {
	d.Helper()
	if w.Code != status {
		d.Fatalf("status %d, want %d: %s", w.Code, status, w.Body)
	}
}

func by(group, source string) func(*http.Request) {
	return query("highlander_group=" + group + "&highlander_source=" + source)
}

func query(q string) func(*http.Request) {
	return func(r *http.Request) { r.URL.RawQuery = q }
}

func set(header string, values ...string) func(*http.Request) {
	return func(r *http.Request) { r.Header[http.CanonicalHeaderKey(header)] = values }
}

func from(address string) func(*http.Request) {
	return func(r *http.Request) { r.RemoteAddr = address }
}

func asV2(r *http.Request) { r.Header.Set("Content-Type", mediaTypeV2) }

// series makes a 1.0 series of one sample; labels come as name, value pairs.
func series(at time.Time, labels ...string) prompb.TimeSeries {
	ts := prompb.TimeSeries{Samples: []prompb.Sample{{Value: 1, Timestamp: at.UnixMilli()}}}
	for i := 0; i < len(labels); i += 2 {
		ts.Labels = append(ts.Labels, prompb.Label{Name: labels[i], Value: labels[i+1]})
	}
	return ts
}

func bodyV1(t testing.TB, series ...prompb.TimeSeries) []byte {
	return encode(t, &prompb.WriteRequest{Timeseries: series})
}

func encode(t testing.TB, m interface{ Marshal() ([]byte, error) }) []byte {
	t.Helper()
	raw, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return snappy.Encode(nil, raw)
}

func metadataV1(t testing.TB, names ...string) []byte {
	var rq prompb.WriteRequest
	for _, name := range names {
		rq.Metadata = append(rq.Metadata, prompb.MetricMetadata{MetricFamilyName: name, Help: "helps"})
	}
	return encode(t, &rq)
}

// requestV2 makes a 2.0 request with n series of a float sample and one exemplar each, and one of a histogram.
func requestV2(at time.Time, n int, labels ...string) *writev2.Request {
	symbols := writev2.NewSymbolTable()
	rq := &writev2.Request{}
	refs := func(extra ...string) []uint32 {
		var list []uint32
		for _, s := range append(extra, labels...) {
			list = append(list, symbols.Symbolize(s))
		}
		return list
	}
	for i := range n {
		rq.Timeseries = append(rq.Timeseries, writev2.TimeSeries{
			LabelsRefs: refs("__name__", fmt.Sprintf("m%d", i)),
			Samples:    []writev2.Sample{{Value: float64(i), Timestamp: at.UnixMilli()}},
			Exemplars:  []writev2.Exemplar{{LabelsRefs: refs("trace", "x")[:2], Value: 1, Timestamp: at.UnixMilli()}},
		})
	}
	rq.Timeseries = append(rq.Timeseries, writev2.TimeSeries{
		LabelsRefs: refs("__name__", "h"),
		Histograms: []writev2.Histogram{{
			Count: &writev2.Histogram_CountInt{CountInt: 3}, Sum: 3, Schema: 1, Timestamp: at.UnixMilli(),
			ZeroCount:     &writev2.Histogram_ZeroCountInt{ZeroCountInt: 1},
			PositiveSpans: []writev2.BucketSpan{{Length: 1}}, PositiveDeltas: []int64{2},
		}},
	})
	rq.Symbols = symbols.Symbols()
	return rq
}

// decode returns the 1.0 request of a stored body.
func decode(t testing.TB, body []byte) prompb.WriteRequest {
	t.Helper()
	raw, err := snappy.Decode(nil, body)
	if err != nil {
		t.Fatal(err)
	}
	var rq prompb.WriteRequest
	if err := rq.Unmarshal(raw); err != nil {
		t.Fatal(err)
	}
	return rq
}

func (d *desk) group(name string) fsm.Group {
	d.Helper()
	g, ok := d.node.fsm.Group(fsm.GroupID{Name: name})
	if !ok {
		d.Fatalf("no group %q", name)
	}
	if !g.Books.Balanced() {
		d.Fatalf("books of %q do not balance: %+v", name, g.Books)
	}
	return g
}

func (d *desk) current(group, want string) {
	d.Helper()
	if got, _, _ := d.node.fsm.Current(fsm.GroupID{Name: group}); got != want {
		d.Fatalf("current source of %q is %q, want %q", group, got, want)
	}
}

// roundTripper serves requests by a handler, as a connection would.
type roundTripper struct{ handler http.Handler }

func (rt roundTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	defer r.Body.Close()
	in := httptest.NewRequest(r.Method, r.URL.RequestURI(), r.Body).WithContext(r.Context())
	in.Header, in.ContentLength = r.Header.Clone(), r.ContentLength
	in.RemoteAddr = "10.9.9.9:1" // the follower's
	w := httptest.NewRecorder()
	rt.handler.ServeHTTP(w, in)
	return w.Result(), nil
}

func text(r io.Reader) string {
	b, _ := io.ReadAll(r)
	return strings.TrimSpace(string(b))
}
