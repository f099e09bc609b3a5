package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/prompb"

	"github.com/highlander-io/highlander/fsm"
	"github.com/highlander-io/highlander/fsm/wire"
)

// noise is a body that is hard to compress.
func noise(n int) string {
	r := rand.New(rand.NewSource(1))
	var b strings.Builder
	for b.Len() < n {
		fmt.Fprintf(&b, "%016x", r.Uint64())
	}
	return b.String()[:n]
}

// closedBook fails the test if the body is read.
type closedBook struct{ t testing.TB }

func (c closedBook) Read([]byte) (int, error) {
	c.t.Error("the body was read")
	return 0, errors.New("closed")
}

func TestStatusTable(t *testing.T) {
	at := newClock().Now()
	good := bodyV1(t, series(at, "__name__", "up"))
	bad := series(at, "instance", "no-name")
	raw, err := snappy.Decode(nil, good)
	if err != nil {
		t.Fatal(err)
	}
	v2 := encode(t, requestV2(at, 1))
	lying := append([]byte{0xff, 0xff, 0xff, 0xff, 0x0f}, good[1:]...)
	for _, c := range []struct {
		name   string
		body   []byte
		change []func(*http.Request)
		setup  func(*desk)
		status int
		reason string
	}{
		{name: "accepted", body: good, status: 204},
		{name: "empty request", body: snappy.Encode(nil, nil), status: 204},
		{name: "accepted 2.0", body: v2, change: []func(*http.Request){asV2}, status: 204},
		{name: "no content type", body: good, change: []func(*http.Request){set("Content-Type")}, status: 204},
		{name: "GET", body: good, change: []func(*http.Request){func(r *http.Request) { r.Method = "GET" }}, status: 405, reason: "POST"},
		{name: "PUT", body: good, change: []func(*http.Request){func(r *http.Request) { r.Method = "PUT" }}, status: 405},
		{name: "JSON", body: good, change: []func(*http.Request){set("Content-Type", "application/json")}, status: 415, reason: "Content-Type"},
		{name: "gzip", body: good, change: []func(*http.Request){set("Content-Encoding", "gzip")}, status: 415, reason: "Content-Encoding"},
		{name: "source with a newline", body: good, change: []func(*http.Request){by("g", "a%0Ab")}, status: 400, reason: "highlander_source"},
		{name: "tenant with a tab", body: good, change: []func(*http.Request){set("X-Scope-OrgID", "a\tb")}, status: 400, reason: "X-Scope-Orgid"},
		{name: "declared too large", body: good, change: []func(*http.Request){func(r *http.Request) { r.ContentLength = 33 << 20 }}, status: 413},
		{name: "no body", body: nil, status: 400},
		{name: "truncated snappy", body: good[:len(good)/2], status: 400},
		{name: "framed snappy", body: framed(t, raw), status: 400},
		{name: "snappy that lies about its length", body: lying, status: 400},
		{name: "not snappy", body: []byte("\x05hello, this is no snappy block"), status: 400},
		{name: "broken protobuf", body: snappy.Encode(nil, raw[:len(raw)-3]), status: 400},
		{name: "text", body: snappy.Encode(nil, []byte("# HELP up is it?\nup 1\n")), status: 400},
		{name: "1.0 bytes under a 2.0 type", body: good, change: []func(*http.Request){asV2}, status: 400},
		{name: "2.0 bytes under a 1.0 type", body: v2, status: 400},
		{name: "a bad series among good ones", body: bodyV1(t, series(at, "__name__", "up"), bad), status: 400, reason: "missing_name"},
		{name: "only bad series", body: bodyV1(t, bad), status: 400, reason: "1 of 1 series"},
		{name: "no destination", body: good, setup: func(d *desk) { d.forgetDestination() }, status: 503, reason: "destination"},
		{name: "gate", body: good, setup: func(d *desk) { d.refuseAll("storage is full") }, status: 503, reason: "storage is full"},
		{name: "not committed", body: good, setup: func(d *desk) { d.node.uncertain = true }, status: 503},
		{name: "no leader", body: good, setup: func(d *desk) { d.node.follower.Store(true) }, status: 503, reason: "no leader"},
		{name: "leader elect", body: good, setup: func(d *desk) { d.Handler.lead.Store(nil) }, status: 503, reason: "leadership"},
		{name: "shutting down", body: good, setup: func(d *desk) { d.drain() }, status: 503, reason: "shutting down"},
		{name: "415 beats 503", body: good, change: []func(*http.Request){set("Content-Type", "text/plain")}, setup: func(d *desk) { d.refuseAll("x") }, status: 415},
		{
			name: "413 beats 503", body: good, change: []func(*http.Request){func(r *http.Request) { r.ContentLength = 33 << 20 }},
			setup: func(d *desk) { d.refuseAll("x") }, status: 413,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDesk(t)
			if c.setup != nil {
				c.setup(d)
			}
			w := d.post(c.body, c.change...)
			d.expect(w, c.status)
			if !strings.Contains(w.Body.String(), c.reason) {
				t.Errorf("reason %q does not say %q", w.Body, c.reason)
			}
			if c.status >= 400 && w.Body.Len() == 0 {
				t.Error("no reason")
			}
			if got := w.Header().Get("Retry-After") != ""; got != (c.status == 503) {
				t.Errorf("Retry-After: %q", w.Header().Get("Retry-After"))
			}
			if used := d.budget.used.Load(); used != 0 {
				t.Errorf("%d bytes in flight after the answer", used)
			}
		})
	}
}

// framed is the framing format, which is not the block format of remote write.
func framed(t *testing.T, raw []byte) []byte {
	var b bytes.Buffer
	w := snappy.NewBufferedWriter(&b)
	if _, err := w.Write(raw); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func (d *desk) refuseAll(reason string) {
	err := errors.New(reason)
	d.gate.Store(&err)
}

func (d *desk) drain() {
	d.Helper()
	if err := d.Drain(context.Background()); err != nil {
		d.Fatal(err)
	}
}

func (d *desk) forgetDestination() {
	d.Helper()
	entry, err := fsm.Encode(&fsm.DestinationOp{Op: "forget", Name: "lts", Time: 1})
	if err != nil {
		d.Fatal(err)
	}
	if response := d.node.apply(entry).response; response != nil {
		d.Fatal(response)
	}
}

func TestHeadersAloneDecide(t *testing.T) {
	for name, change := range map[string]func(*http.Request){
		"415 type":     set("Content-Type", "text/plain"),
		"415 encoding": set("Content-Encoding", "gzip"),
		"413":          func(r *http.Request) { r.ContentLength = 1 << 40 },
		"405":          func(r *http.Request) { r.Method = http.MethodDelete },
		"400":          query("highlander_source=%00"),
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			r := httptest.NewRequest(http.MethodPost, "/api/v1/write", closedBook{t})
			r.Header.Set("Content-Type", mediaType)
			change(r)
			w := httptest.NewRecorder()
			d.ServeHTTP(w, r)
			if want := name[:3]; fmt.Sprint(w.Code) != want {
				t.Errorf("status %d, want %s", w.Code, want)
			}
		})
	}
}

func TestNeverTooManyRequests(t *testing.T) {
	for _, row := range table {
		if row.status == http.StatusTooManyRequests {
			t.Error("429 makes Prometheus drop the data")
		}
		if (row.status == http.StatusServiceUnavailable) != (row.retryAfter != "") {
			t.Errorf("%d: Retry-After %q", row.status, row.retryAfter)
		}
	}
}

func TestOutcomesAreOrdered(t *testing.T) {
	if !(unavailable > refused && refused > accepted && accepted > standby) {
		t.Error("503 before 400 before 204 before 202")
	}
}

func TestUndeclaredBodyTooLarge(t *testing.T) {
	d := newDesk(t, func(o *Options) { o.MaxBodyBytes = 100 << 10 })
	w := d.post([]byte(noise(101<<10)), func(r *http.Request) { r.ContentLength = -1 })
	d.expect(w, http.StatusRequestEntityTooLarge)
	if w.Header().Get("Connection") != "close" {
		t.Error("the rest of the body would be read as the next request")
	}
}

func TestUndeclaredBody(t *testing.T) {
	d := newDesk(t)
	body := bodyV1(t, series(d.clock.Now(), "__name__", "up", "noise", noise(200<<10)))
	d.expect(d.post(body, func(r *http.Request) { r.ContentLength = -1 }), 204)
	if got := d.group("default").Books.Accepted; got != 1 {
		t.Errorf("accepted %d", got)
	}
}

func TestDecodedTooLarge(t *testing.T) {
	d := newDesk(t, func(o *Options) { o.MaxDecodedBytes = 1000 })
	d.expect(d.post(bodyV1(t, series(d.clock.Now(), "__name__", strings.Repeat("x", 2000)))), http.StatusRequestEntityTooLarge)
}

func TestGoodSeriesAreKeptAndBadOnesCounted(t *testing.T) {
	d := newDesk(t)
	at := d.clock.Now()
	two := series(at, "job", "x", "__name__", "")
	two.Samples = append(two.Samples, prompb.Sample{Timestamp: at.UnixMilli() + 1})
	w := d.post(bodyV1(t,
		series(at, "__name__", "up", "__replica__", "a", "cluster", "g"),
		two,
		series(at, "instance", "x"),
		series(at, "__name__", "down", "__replica__", "a", "cluster", "g"),
	), by("g", "a"))
	d.expect(w, 400)
	for _, want := range []string{"2 of 4 series", "3 samples", "empty_name", "missing_name", "the rest was taken"} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("%q does not say %q", w.Body, want)
		}
	}
	d.flush()
	g := d.group("g")
	if g.Books.Accepted != 2 || g.Books.Rejected["empty_name"] != 2 || g.Books.Rejected["missing_name"] != 1 || g.Books.Received != 5 {
		t.Errorf("books %+v", g.Books)
	}
	batches := d.node.batches(t)
	if len(batches) != 1 {
		t.Fatalf("%d batches", len(batches))
	}
	for _, s := range decode(t, batches[0].Body).Timeseries {
		for _, l := range s.Labels {
			if l.Name == "__replica__" {
				t.Error("the replica label was kept")
			}
		}
	}
}

func TestBodyIsKeptAsItCame(t *testing.T) {
	d := newDesk(t)
	body := bodyV1(t, series(d.clock.Now(), "__name__", "up", "b", "1", "a", "2"))
	d.expect(d.post(body, by("g", "a")), 204)
	batches := d.node.batches(t)
	if len(batches) != 1 || !bytes.Equal(batches[0].Body, body) {
		t.Fatal("the body was rewritten")
	}
	b := batches[0]
	if b.Source != "a" || b.Group.Name != "g" || b.Epoch != 1 || b.Part != 1 || b.Parts != 1 || b.Protocol != wire.V1 ||
		b.Counts.Floats != 1 || b.Time != d.clock.Now().UnixMilli() {
		t.Errorf("header %+v", b)
	}
}

func TestLargeRequestsAreCut(t *testing.T) {
	d := newDesk(t)
	var all []prompb.TimeSeries
	for i := range 800 {
		all = append(all, series(d.clock.Now(), "__name__", "m", "i", fmt.Sprint(i), "noise", noise(4 << 10)[i:]))
	}
	body := bodyV1(t, all...)
	if len(body) < fsm.MaxEntryBytes {
		t.Fatalf("the body has only %d bytes", len(body))
	}
	d.expect(d.post(body, by("g", "a")), 204)
	seen := 0
	batches := d.node.batches(t)
	for i, b := range batches {
		if int(b.Part) != i+1 || int(b.Parts) != len(batches) || b.RequestID != batches[0].RequestID {
			t.Errorf("part %d of %d, want %d of %d", b.Part, b.Parts, i+1, len(batches))
		}
		seen += len(decode(t, b.Body).Timeseries)
	}
	for _, entry := range d.node.entries {
		if len(entry) > fsm.MaxEntryBytes {
			t.Errorf("an entry of %d bytes", len(entry))
		}
	}
	if seen != 800 || len(batches) < 2 {
		t.Errorf("%d series in %d batches", seen, len(batches))
	}
	d.expect(d.post(body, by("g", "a")), 204)
	d.flush()
	if g := d.group("g"); g.Books.Accepted != 800 || g.Books.Duplicate != 800 {
		t.Errorf("books %+v", g.Books)
	}
}

func TestOverloaded(t *testing.T) {
	d := newDesk(t)
	if !d.budget.take(d.budget.max.Load()) {
		t.Fatal("the budget is not empty")
	}
	body := bodyV1(t, series(d.clock.Now(), "__name__", "up"))
	d.expect(d.post(body, by("g", "a")), 503)
	d.budget.give(d.budget.max.Load())
	if _, ok := d.lead.groups[fsm.GroupID{Name: "g"}]; !ok {
		t.Error("I11: a source that was turned away is alive")
	}
	d.expect(d.post(body, by("g", "a")), 204)
}

func TestManySmallSeriesAreCharged(t *testing.T) {
	d := newDesk(t, func(o *Options) { o.MaxBodyBytes, o.MaxDecodedBytes, o.MaxInflightBytes = 1<<20, 1<<20, 1 })
	body := snappy.Encode(nil, bytes.Repeat([]byte{0x0a, 0}, 400<<10)) // empty series, two bytes each
	d.expect(d.post(body, by("g", "a")), 413)                          // they never fit
	d.budget.max.Store(100 << 20)
	if !d.budget.take(60 << 20) {
		t.Fatal("the budget is not empty")
	}
	w := d.post(body, by("g", "a"))
	d.expect(w, 503) // they do not fit now
	if !strings.Contains(w.Body.String(), overloaded) {
		t.Errorf("reason %q", w.Body)
	}
	d.budget.give(60 << 20)
	d.expect(d.post(body, by("g", "a")), 400) // no series has a name
	if used := d.budget.used.Load(); used != 0 {
		t.Errorf("%d bytes in flight", used)
	}
}

func TestSlowClient(t *testing.T) {
	d := newDesk(t, func(o *Options) { o.BodyTimeout = 50 * time.Millisecond })
	server := httptest.NewServer(d.Handler)
	defer server.Close()
	stuck := make(chan struct{})
	defer close(stuck)
	r, err := http.NewRequest(http.MethodPost, server.URL, stalled{stuck})
	if err != nil {
		t.Fatal(err)
	}
	r.ContentLength = 100
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if reason := text(resp.Body); resp.StatusCode != 503 || !strings.Contains(reason, "did not arrive") {
		t.Errorf("status %d: %s", resp.StatusCode, reason)
	}
}

// stalled is a body of which nothing ever comes.
type stalled struct{ until chan struct{} }

func (s stalled) Read([]byte) (int, error) {
	<-s.until
	return 0, errors.New("given up")
}

func TestConnectionSurvivesBodyTimeout(t *testing.T) {
	d := newDesk(t, func(o *Options) { o.BodyTimeout = 30 * time.Millisecond })
	slow := make(chan struct{})
	d.node.before = func([]byte) error { <-slow; return nil }
	server := httptest.NewServer(d.Handler)
	defer server.Close()
	time.AfterFunc(100*time.Millisecond, func() { close(slow) })
	resp, err := http.Post(server.URL, mediaType, bytes.NewReader(bodyV1(t, series(d.clock.Now(), "__name__", "up"))))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 204 {
		t.Errorf("status %d: %s", resp.StatusCode, text(resp.Body))
	}
}
