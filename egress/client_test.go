package egress

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/config"

	"github.com/highlander-io/highlander/fsm/wire"
)

func TestClassify(t *testing.T) {
	now := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	wrote := func(s, h string) http.Header {
		return http.Header{headerSamplesWritten: {s}, headerHistogramsWritten: {h}}
	}
	for _, tt := range []struct {
		status    int
		header    http.Header
		p         wire.Protocol
		want      outcome
		after     time.Duration
		uncertain bool
		written   uint64
	}{
		{status: 200, p: wire.V1, want: delivered},
		{status: 204, p: wire.V1, want: delivered},
		{status: 204, p: wire.V2, want: wrongProtocol, uncertain: true},
		{status: 204, p: wire.V2, header: wrote("3", "4"), want: delivered, written: 7},
		{status: 204, p: wire.V2, header: wrote("0", ""), want: delivered},
		{status: 204, p: wire.V2, header: wrote("x", ""), want: wrongProtocol, uncertain: true},
		{status: 301, p: wire.V1, want: misconfigured},
		{status: 304, p: wire.V1, want: misconfigured},
		{status: 400, p: wire.V1, want: refused},
		{status: 400, p: wire.V2, header: wrote("2", "0"), want: refused, written: 2},
		{status: 401, p: wire.V1, want: misconfigured},
		{status: 403, p: wire.V1, want: misconfigured},
		{status: 404, p: wire.V1, want: misconfigured},
		{status: 405, p: wire.V1, want: misconfigured},
		{status: 407, p: wire.V1, want: misconfigured},
		{status: 408, p: wire.V1, want: misconfigured},
		{status: 409, p: wire.V1, want: refused},
		{status: 413, p: wire.V1, want: tooLarge},
		{status: 415, p: wire.V2, want: wrongProtocol},
		{status: 422, p: wire.V1, want: refused},
		{status: 429, p: wire.V1, want: retry},
		{status: 429, p: wire.V1, header: http.Header{"Retry-After": {"7"}}, want: retry, after: 7 * time.Second},
		{status: 500, p: wire.V1, want: retry, uncertain: true},
		{status: 503, p: wire.V1, header: http.Header{"Retry-After": {"Fri, 02 Jan 2026 15:04:15 GMT"}}, want: retry, after: 10 * time.Second, uncertain: true},
	} {
		r := classify(tt.status, tt.header, "words", tt.p, 10, now)
		if r.outcome != tt.want || r.after != tt.after || r.uncertain != tt.uncertain || r.written != tt.written {
			t.Errorf("%d, protocol %d, %v: %+v", tt.status, tt.p, tt.header, r)
		}
	}
	if r := classify(204, nil, "", wire.V2, 0, now); r.outcome != delivered {
		t.Error("a request without samples has nothing to confirm")
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	for v, want := range map[string]time.Duration{
		"": 0, "0": 0, "5": 5 * time.Second, " 5 ": 5 * time.Second, "-5": 0, "soon": 0, "1.5": 0,
		"99999999999999999999": 0, "4000000000": retryAfterMax,
		"Fri, 02 Jan 2026 15:05:05 GMT": time.Minute, "Fri, 02 Jan 2026 15:00:00 GMT": 0,
		"Fri, 02 Jan 2099 15:00:00 GMT": retryAfterMax,
	} {
		if got := retryAfter(http.Header{"Retry-After": {v}}, now); got != want {
			t.Errorf("%q: %v, want %v", v, got, want)
		}
	}
}

func TestBackoff(t *testing.T) {
	b := backoff{low: 30 * time.Millisecond, high: 5 * time.Second}
	want := b.low
	for i := range 20 {
		got := b.pause(0)
		if got > want || got < want-want/10 {
			t.Errorf("pause %d: %v, want %v or up to a tenth less", i, got, want)
		}
		want = min(2*want, b.high)
	}
	if got := b.pause(time.Minute); got != time.Minute {
		t.Errorf("asked for a minute: %v", got)
	}
	if got := b.pause(2 * retryAfterMax); got != retryAfterMax {
		t.Errorf("asked for too much: %v", got)
	}
	b.reset()
	if got := b.pause(0); got > b.low {
		t.Errorf("after a success: %v", got)
	}
}

func TestRepeats(t *testing.T) {
	for text, want := range map[string]bool{
		"out of order sample": true, "Out-of-order": true, "err-mimir-sample-duplicate-timestamp": true,
		"duplicate sample for timestamp": true, "duplicate label name": false, "out of bounds": false, "": false,
	} {
		if got := (result{outcome: refused, status: 400, answer: text}).repeats(); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
	if !(result{outcome: refused, status: 409, answer: "store locally: conflict"}).repeats() {
		t.Error("Thanos says that it is there already")
	}
	if (result{outcome: refused, status: 409}).repeats() {
		t.Error("a bare 409 proves nothing")
	}
}

func TestClientNeverFollowsRedirects(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		asked := 0
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked++
			http.Redirect(w, r, "/login", status)
		}))
		cl, err := newClient(Destination{Name: "x", URL: srv.URL, HTTP: config.HTTPClientConfig{FollowRedirects: true}}.withDefaults(), "ua")
		if err != nil {
			t.Fatal(err)
		}
		r := cl.send(context.Background(), "", wire.V1, emptyBody(wire.V1), 0)
		if r.outcome != misconfigured || r.status != status || asked != 1 {
			t.Errorf("%d: %+v after %d requests", status, r, asked)
		}
		cl.close()
		srv.Close()
	}
}

func TestClientAuthorizationAndErrors(t *testing.T) {
	var user, password string
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { user, password, _ = r.BasicAuth() }))
	d := Destination{Name: "x", URL: srv.URL, HTTP: config.HTTPClientConfig{BasicAuth: &config.BasicAuth{Username: "u", Password: "secret"}}}.withDefaults()
	cl, err := newClient(d, "ua")
	if err != nil {
		t.Fatal(err)
	}
	if r := cl.send(context.Background(), "", wire.V1, emptyBody(wire.V1), 0); r.outcome != delivered || user != "u" || password != "secret" {
		t.Errorf("%+v, %q", r, user)
	}
	cl.close()
	srv.Close()
	cl.url = strings.Replace(srv.URL, "http://", "http://u:secret@", 1)
	r := cl.send(context.Background(), "", wire.V1, emptyBody(wire.V1), 0)
	if r.outcome != retry || r.uncertain || strings.Contains(r.String(), "secret") {
		t.Errorf("nobody listens: %+v", r)
	}
}

// The buffer belongs to the caller when send returns, also if the server answers without reading.
func TestClientBodyIsTakenBack(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(503)
		_ = http.NewResponseController(w).Flush()
	}))
	defer srv.Close()
	cl, err := newClient(Destination{Name: "x", URL: srv.URL}.withDefaults(), "ua")
	if err != nil {
		t.Fatal(err)
	}
	defer cl.close()
	body := make([]byte, 8<<20)
	for range 20 {
		if r := cl.send(context.Background(), "", wire.V1, body, 1); r.outcome != retry {
			t.Fatalf("%+v", r)
		}
		for i := range body { // the race detector would tell
			body[i]++
		}
	}
}

func TestClientTimeoutIsUncertainAndCancelIsNot(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		buf := make([]byte, 16)
		_, _ = r.Body.Read(buf)
		<-r.Context().Done()
	}))
	defer srv.Close()
	cl, err := newClient(Destination{Name: "x", URL: srv.URL, RemoteTimeout: 20 * time.Millisecond}.withDefaults(), "ua")
	if err != nil {
		t.Fatal(err)
	}
	defer cl.close()
	if r := cl.send(context.Background(), "", wire.V1, emptyBody(wire.V1), 0); r.outcome != retry || !r.uncertain {
		t.Errorf("%+v", r)
	}
	cl.timeout = time.Hour
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(20*time.Millisecond, cancel)
	if r := cl.send(ctx, "", wire.V1, emptyBody(wire.V1), 0); r.outcome != cancelled {
		t.Errorf("%+v", r)
	}
}

func TestMetricsPassPromlint(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	m := newMetrics(reg)
	d := m.of("lts")
	d.observe(result{outcome: delivered}, 100, time.Millisecond)
	problems, err := testutil.GatherAndLint(reg)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
	m.forget("lts")
	if n, err := testutil.GatherAndCount(reg); err != nil || n != 0 {
		t.Errorf("%d series left of a forgotten destination, %v", n, err)
	}
}
