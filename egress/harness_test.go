package egress

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"

	"github.com/highlander-io/highlander/fsm"
	"github.com/highlander-io/highlander/fsm/wire"
	"github.com/highlander-io/highlander/test/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m) }

// stays polls for a while: something must not happen.
func stays(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 100 {
		if !ok() {
			t.Fatalf("no longer: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// eventually polls until something happens.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// cluster is a Raft node of one: a log in memory and the real FSM.
type cluster struct {
	t     testing.TB
	state *fsm.FSM

	mu      sync.Mutex
	entries []raft.Log
	cursors int    // cursor commands proposed
	read    uint64 // highest index that a reader returned

	deposed atomic.Bool
	// propose, if set, decides what happens to a proposal of egress: applied or not, and what is answered.
	propose atomic.Pointer[func(kind fsm.Kind) (apply bool, err error)]
	seq     uint64
}

func newCluster(t testing.TB) *cluster {
	return &cluster{t: t, state: fsm.New(fsm.Options{})}
}

func (c *cluster) apply(entry []byte) any {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := raft.Log{Index: uint64(len(c.entries) + 1), Type: raft.LogCommand, Data: entry}
	c.entries = append(c.entries, l)
	return c.state.Apply(&l)
}

func (c *cluster) Propose(ctx context.Context, entry []byte) (any, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	kind, _ := fsm.PeekKind(entry)
	if kind == fsm.KindCursor {
		c.mu.Lock()
		c.cursors++
		c.mu.Unlock()
	}
	if hook := c.propose.Load(); hook != nil {
		apply, err := (*hook)(kind)
		if !apply {
			return nil, err
		}
		response := c.apply(entry)
		if err != nil {
			return nil, err
		}
		return response, nil
	}
	return c.apply(entry), nil
}

func (c *cluster) Lease() error {
	if c.deposed.Load() {
		return errors.New("not the leader")
	}
	return nil
}

// barrier adds an entry that Raft does not show to the FSM.
func (c *cluster) barrier() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries = append(c.entries, raft.Log{Index: uint64(len(c.entries) + 1), Type: raft.LogBarrier})
}

func (c *cluster) operate(command any) {
	c.t.Helper()
	entry, err := fsm.Encode(command)
	if err != nil {
		c.t.Fatal(err)
	}
	if err, bad := c.apply(entry).(error); bad {
		c.t.Fatal(err)
	}
}

func (c *cluster) Reader(from uint64) Reader { return &memReader{c: c, at: from} }

type memReader struct {
	c   *cluster
	at  uint64
	buf []byte
}

func (r *memReader) Next(limit uint64) (Entry, error) {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	if r.at > limit || r.at > uint64(len(r.c.entries)) {
		return Entry{}, io.EOF
	}
	for i := range r.buf { // what the last Next returned is no longer valid
		r.buf[i] = 0xee
	}
	l := r.c.entries[r.at-1]
	r.buf = append(r.buf[:0], l.Data...)
	r.at++
	r.c.read = max(r.c.read, l.Index)
	return Entry{Index: l.Index, Type: l.Type, Data: r.buf}, nil
}

func (r *memReader) Close() error { return nil }

// batch commits samples of several series at one time: an ordinary scrape.
func (c *cluster) batch(tenant string, t int64, names ...string) {
	c.t.Helper()
	var req prompb.WriteRequest
	for _, n := range names {
		req.Timeseries = append(req.Timeseries, prompb.TimeSeries{Labels: labelsOf(n), Samples: []prompb.Sample{{Timestamp: t, Value: float64(t)}}})
	}
	c.write(tenant, &req)
}

func labelsOf(name string) []prompb.Label {
	return []prompb.Label{{Name: "__name__", Value: name}, {Name: "job", Value: "test"}}
}

func (c *cluster) write(tenant string, req *prompb.WriteRequest) {
	c.t.Helper()
	raw, err := req.Marshal()
	if err != nil {
		c.t.Fatal(err)
	}
	c.raw(tenant, raw, wire.V1)
}

func (c *cluster) raw(tenant string, raw []byte, p wire.Protocol) {
	c.t.Helper()
	var r wire.Request
	if err := r.Scan(raw, p, wire.Labels{}); err != nil {
		c.t.Fatal(err)
	}
	c.mu.Lock()
	c.seq++
	b := fsm.Batch{Group: fsm.GroupID{Tenant: tenant, Name: "g"}, Source: "a", Part: 1, Parts: 1, Protocol: p,
		Counts: r.Counts, Time: time.Now().UnixMilli(), Flags: fsm.FlagUnelected, Body: wire.Compress(nil, raw)}
	binary.BigEndian.PutUint64(b.RequestID[:], c.seq)
	c.mu.Unlock()
	if v := c.apply(b.Append(nil)); v != fsm.Accepted {
		c.t.Fatalf("batch: %v", v)
	}
}

// batchV2 commits a 2.0 request.
func (c *cluster) batchV2(t int64, names ...string) {
	c.t.Helper()
	st := writev2.NewSymbolTable()
	req := &writev2.Request{}
	for _, n := range names {
		ts := writev2.TimeSeries{Samples: []writev2.Sample{{Timestamp: t, Value: float64(t)}}}
		for _, l := range labelsOf(n) {
			ts.LabelsRefs = append(ts.LabelsRefs, st.Symbolize(l.Name), st.Symbolize(l.Value))
		}
		req.Timeseries = append(req.Timeseries, ts)
	}
	req.Symbols = st.Symbols()
	raw, err := req.Marshal()
	if err != nil {
		c.t.Fatal(err)
	}
	c.raw("", raw, wire.V2)
}

// lead runs an Egress until the returned function is called, which waits for it.
func (c *cluster) lead(e *Egress) (stop func()) {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := e.Lead(ctx); err != nil {
			c.t.Error(err)
		}
	}()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			select {
			case <-done:
			case <-time.After(time.Minute):
				c.t.Error("Lead does not return")
			}
		})
	}
	c.t.Cleanup(stop)
	return stop
}

func (c *cluster) egress(list ...Destination) *Egress {
	c.t.Helper()
	return c.egressWith(Options{}, list...)
}

func (c *cluster) egressWith(o Options, list ...Destination) *Egress {
	c.t.Helper()
	o.State, o.Log, o.Node, o.Registerer = c.state, c, c, prometheus.NewRegistry()
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	e := New(o)
	if err := e.Reload(list); err != nil {
		c.t.Fatal(err)
	}
	return e
}

// register writes a destination into the log, as a leader would.
func (c *cluster) register(name, url string) {
	c.t.Helper()
	c.operate(&fsm.DestinationOp{Op: "register", Name: name, URL: url, Time: 1})
}

func (c *cluster) destination(name string) fsm.Destination {
	c.t.Helper()
	d, ok := c.state.Destination(name)
	if !ok {
		c.t.Fatalf("no destination %q", name)
	}
	return d
}

// drained waits until a destination has nothing left, and checks its books against what is expected.
func (c *cluster) drained(t *testing.T, name string) fsm.Destination {
	t.Helper()
	eventually(t, "drained", func() bool { return c.destination(name).Backlog.Entries == 0 })
	d := c.destination(name)
	if !d.Balanced() {
		t.Fatalf("books do not balance: %+v", d)
	}
	if d.Backlog.Samples != 0 || d.Backlog.Bytes != 0 {
		t.Fatalf("backlog without entries: %+v", d.Backlog)
	}
	return d
}

func (e *Egress) state(name string) Status {
	for _, s := range e.Status() {
		if s.Name == name {
			return s
		}
	}
	return Status{}
}

// lts is a long-term storage whose answers a test programs.
type lts struct {
	*httptest.Server
	t testing.TB

	mu       sync.Mutex
	answer   func(*write) answer
	writes   []*write
	last     map[string]int64 // newest sample of each series, kept
	stored   map[point]bool
	repeated int // samples offered again, accepted or not
	disorder int // samples stored for the first time after a newer one of their series
	inFlight int
	most     int // most requests at once
	total    int
}

// write is one request as the LTS sees it.
type write struct {
	header   http.Header
	protocol wire.Protocol
	samples  []point
	series   map[string]bool
}

type point struct {
	series string
	t      int64
}

type answer struct {
	status int
	body   string
	header map[string]string
	store  bool // keep the samples whatever the status
	hang   bool // until the client gives up
	cut    bool // no answer at all
}

var ok = answer{status: http.StatusNoContent}

func newLTS(t testing.TB, fn func(*write) answer) *lts {
	l := &lts{t: t, answer: fn, last: map[string]int64{}, stored: map[point]bool{}}
	l.Server = httptest.NewServer(l)
	t.Cleanup(l.Close)
	return l
}

func (l *lts) program(fn func(*write) answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answer = fn
}

func (l *lts) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	l.inFlight++
	l.most = max(l.most, l.inFlight)
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		l.inFlight--
		l.mu.Unlock()
	}()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	w, err := parse(r.Header, body)
	if err != nil {
		l.t.Errorf("request is not valid: %v", err)
		rw.WriteHeader(http.StatusTeapot)
		return
	}
	a := l.decide(w)
	switch {
	case a.hang:
		<-r.Context().Done()
		return
	case a.cut:
		panic(http.ErrAbortHandler)
	}
	for k, v := range a.header {
		rw.Header().Set(k, v)
	}
	rw.WriteHeader(a.status)
	_, _ = io.WriteString(rw, a.body)
}

// decide answers and stores as one step.
func (l *lts) decide(w *write) answer {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.writes = append(l.writes, w)
	a := l.answer(w)
	if a.status/100 != 2 && !a.store {
		return a
	}
	for _, p := range w.samples {
		if l.stored[p] {
			l.repeated++
			continue
		}
		if p.t < l.last[p.series] {
			l.disorder++
		}
		l.last[p.series] = max(l.last[p.series], p.t)
		l.stored[p] = true
		l.total++
	}
	return a
}

// prometheus refuses a whole request if one sample of it is older than what it has, as a Prometheus does; the same
// sample once more is taken silently.
func (l *lts) prometheus(w *write) answer {
	newest := map[string]int64{}
	for _, p := range w.samples {
		at := max(l.last[p.series], newest[p.series])
		if p.t < at {
			l.repeated++
			return answer{status: 400, body: "out of order sample"}
		}
		newest[p.series] = p.t
	}
	return ok
}

func (l *lts) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}

func (l *lts) requests() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.writes)
}

func (l *lts) check(t *testing.T, samples int) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.total != samples {
		t.Errorf("the LTS has %d samples, want %d", l.total, samples)
	}
	if l.disorder != 0 {
		t.Errorf("%d samples came after newer ones of their series", l.disorder)
	}
}

func parse(h http.Header, body []byte) (*write, error) {
	w := &write{header: h.Clone(), protocol: wire.V1, series: map[string]bool{}}
	raw, err := wire.Decompress(nil, body, 1<<30)
	if err != nil {
		return nil, err
	}
	if h.Get("Content-Encoding") != "snappy" {
		return nil, fmt.Errorf("encoding %q", h.Get("Content-Encoding"))
	}
	if strings.Contains(h.Get("Content-Type"), "v2.Request") {
		w.protocol = wire.V2
		return w, w.readV2(raw)
	}
	if h.Get("Content-Type") != "application/x-protobuf" || h.Get(headerVersion) != "0.1.0" {
		return nil, fmt.Errorf("headers %v", h)
	}
	var req prompb.WriteRequest
	if err := req.Unmarshal(raw); err != nil {
		return nil, err
	}
	for _, ts := range req.Timeseries {
		var parts []string
		for _, l := range ts.Labels {
			parts = append(parts, l.Name+"="+l.Value)
		}
		var times []int64
		for _, s := range ts.Samples {
			times = append(times, s.Timestamp)
		}
		for _, s := range ts.Histograms {
			times = append(times, s.Timestamp)
		}
		w.add(parts, times)
	}
	return w, nil
}

func (w *write) readV2(raw []byte) error {
	var req writev2.Request
	if err := req.Unmarshal(raw); err != nil {
		return err
	}
	if len(req.Symbols) == 0 || req.Symbols[0] != "" {
		return errors.New("the first symbol is not empty")
	}
	for _, ts := range req.Timeseries {
		var parts []string
		for i := 0; i+1 < len(ts.LabelsRefs); i += 2 {
			parts = append(parts, req.Symbols[ts.LabelsRefs[i]]+"="+req.Symbols[ts.LabelsRefs[i+1]])
		}
		var times []int64
		for _, s := range ts.Samples {
			times = append(times, s.Timestamp)
		}
		for _, s := range ts.Histograms {
			times = append(times, s.Timestamp)
		}
		w.add(parts, times)
	}
	return nil
}

func (w *write) add(labels []string, times []int64) {
	sort.Strings(labels)
	name := ""
	for _, l := range labels {
		if v, is := strings.CutPrefix(l, "__name__="); is {
			name = v
		}
	}
	w.series[name] = true
	for _, t := range times {
		w.samples = append(w.samples, point{name, t})
	}
}

// writtenHeaders are those of a 2.0 receiver that took n samples.
func writtenHeaders(n int) map[string]string {
	return map[string]string{headerSamplesWritten: strconv.Itoa(n), headerHistogramsWritten: "0", headerExemplarsWritten: "0"}
}

// to returns a destination with short pauses.
func to(name string, l *lts) Destination {
	return Destination{Name: name, URL: l.URL + "/api/v1/write", RemoteTimeout: 5 * time.Second,
		Queue: Queue{MinBackoff: time.Millisecond, MaxBackoff: 5 * time.Millisecond}}
}

func names(prefix string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%s_%05d", prefix, i)
	}
	return out
}

// logBuffer collects log lines.
type logBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *logBuffer) count(s string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Count(b.Buffer.String(), s)
}

var bookkeeping = fsm.Books{Origin: "n/1", Seq: 1, Time: 1}

func newLogger(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

// fail makes the outcomes of the given cursor commands (by number) uncertain; true: they are applied.
func (c *cluster) fail(at map[int]bool) {
	var n atomic.Int64
	hook := func(kind fsm.Kind) (bool, error) {
		if kind != fsm.KindCursor {
			return true, nil
		}
		apply, bad := at[int(n.Add(1))]
		if !bad {
			return true, nil
		}
		return apply, errors.New("nobody knows")
	}
	c.propose.Store(&hook)
}

// mixedAges commits one request with an old series and a new one.
func (c *cluster) mixedAges(old, now int64) {
	c.t.Helper()
	c.write("", &prompb.WriteRequest{Timeseries: []prompb.TimeSeries{
		{Labels: labelsOf("mixed_old"), Samples: []prompb.Sample{{Timestamp: old}}},
		{Labels: labelsOf("mixed_new"), Samples: []prompb.Sample{{Timestamp: now}}},
	}})
}
