package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/prometheus/prompb"

	"github.com/highlander-io/highlander/config"
)

// lts takes everything and counts samples.
type lts struct {
	*httptest.Server
	samples atomic.Int64
}

func newLTS(t testing.TB) *lts {
	l := new(lts)
	l.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		compressed, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		raw, err := snappy.Decode(nil, compressed)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		var request prompb.WriteRequest
		if err := request.Unmarshal(raw); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		for _, series := range request.Timeseries {
			l.samples.Add(int64(len(series.Samples)))
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(l.Close)
	return l
}

// node is a standalone node in this process.
type node struct {
	*Server
	t    testing.TB
	stop context.CancelFunc
	done chan error
	file string
}

func (n *node) configure(text string) config.Config {
	n.t.Helper()
	if err := os.WriteFile(n.file, []byte(text), 0o600); err != nil {
		n.t.Fatal(err)
	}
	c, _, err := config.Load(n.file)
	if err != nil {
		n.t.Fatal(err)
	}
	return c
}

func start(t testing.TB, text string) *node {
	t.Helper()
	n := &node{t: t, done: make(chan error, 1), file: filepath.Join(t.TempDir(), "highlander.yml")}
	c := n.configure(text)
	c.Node.ID = "n1"
	c.Storage.Path = filepath.Join(t.TempDir(), "data")
	c.Web.ListenAddress, c.Cluster.BindAddress = "127.0.0.1:0", "127.0.0.1:0"
	overrides := func(next *config.Config) error {
		next.Node, next.Storage, next.Web, next.Cluster = c.Node, c.Storage, c.Web, c.Cluster
		return nil
	}
	server, err := Open(t.Context(), Options{
		Config: c, ConfigFile: n.file, Overrides: overrides, Version: "test", Logger: slog.New(slog.DiscardHandler),
		Fatal: func(err error) { panic(err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	n.Server = server
	var ctx context.Context
	ctx, n.stop = context.WithCancel(context.Background())
	go func() { n.done <- server.Run(ctx) }()
	t.Cleanup(n.end)
	n.eventually("ready", func() bool { return n.Ready() == nil })
	return n
}

func (n *node) end() {
	n.stop()
	if err, open := <-n.done; open && err != nil {
		n.t.Errorf("run: %v", err)
	}
	close(n.done)
}

func (n *node) eventually(what string, is func() bool) {
	n.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !is() {
		if time.Now().After(deadline) {
			n.t.Fatalf("not %s in time; status: %+v", what, n.Status(n.t.Context()))
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// write sends samples of one series and returns the status.
func (n *node) write(query string, times ...int64) int {
	n.t.Helper()
	series := prompb.TimeSeries{Labels: []prompb.Label{{Name: "__name__", Value: "m"}}}
	for _, at := range times {
		series.Samples = append(series.Samples, prompb.Sample{Timestamp: at, Value: float64(at)})
	}
	raw, err := (&prompb.WriteRequest{Timeseries: []prompb.TimeSeries{series}}).Marshal()
	if err != nil {
		n.t.Fatal(err)
	}
	answer, err := http.Post("http://"+n.WebAddress()+"/api/v1/write"+query, "application/x-protobuf", bytes.NewReader(snappy.Encode(nil, raw)))
	if err != nil {
		n.t.Fatal(err)
	}
	defer answer.Body.Close()
	return answer.StatusCode
}

func (n *node) get(path string) (int, string) {
	n.t.Helper()
	answer, err := http.Get("http://" + n.WebAddress() + path)
	if err != nil {
		n.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

// admin asks over the unix socket.
func (n *node) admin(method, path string, arguments any) (int, string) {
	n.t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", AdminSocket(n.Config().Storage.Path))
	}}}
	body, err := json.Marshal(arguments)
	if err != nil {
		n.t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(n.t.Context(), method, "http://node"+path, bytes.NewReader(body))
	if err != nil {
		n.t.Fatal(err)
	}
	answer, err := client.Do(request)
	if err != nil {
		n.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

func withDestination(url string) string {
	return "remote_write: [{name: lts, url: '" + url + "'}]\n"
}

func TestStandaloneRoad(t *testing.T) {
	l := newLTS(t)
	n := start(t, withDestination(l.URL))
	now := time.Now().UnixMilli()
	if got := n.write("?highlander_group=g&highlander_source=a", now, now+1); got != http.StatusNoContent {
		t.Fatalf("current source: status %d", got)
	}
	if got := n.write("?highlander_group=g&highlander_source=b", now, now+1); got != http.StatusAccepted {
		t.Fatalf("standby: status %d", got)
	}
	n.eventually("delivered", func() bool { return l.samples.Load() == 2 })
	n.eventually("booked", func() bool {
		status := n.Status(t.Context())
		return len(status.Groups) == 1 && status.Groups[0].Standby.Requests == 1 && status.Destinations[0].Samples.Delivered == 2
	})
	status := n.Status(t.Context())
	if g := status.Groups[0]; g.Current != "a" || g.Samples.Accepted != 2 || len(g.Sources) != 2 || len(status.Warnings) != 0 {
		t.Fatalf("got %+v", status)
	}

	if code, page := n.get("/"); code != http.StatusOK || !strings.Contains(page, "lts") {
		t.Fatalf("status page: %d %s", code, page)
	}
	code, metrics := n.get("/metrics")
	if code != http.StatusOK || !strings.Contains(metrics, `highlander_samples_received_total{group="g",source="a",tenant=""} 2`) {
		t.Fatalf("metrics: %d %s", code, metrics)
	}
	problems, err := promlint.New(strings.NewReader(metrics)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		if strings.HasPrefix(problem.Metric, "highlander_") {
			t.Errorf("%s: %s", problem.Metric, problem.Text)
		}
	}
}

// A node without destinations serves everything but writes; when its file names one, ready means that writes are taken.
func TestWritesBeforeADestination(t *testing.T) {
	n := start(t, "{}")
	if got := n.write("?highlander_source=a", 1); got != http.StatusServiceUnavailable {
		t.Fatalf("status %d, want 503 until a destination is registered", got)
	}
	n.configure(withDestination(newLTS(t).URL))
	if err := n.Reload(); err != nil {
		t.Fatal(err)
	}
	n.eventually("ready", func() bool { return n.Ready() == nil })
	if got := n.write("?highlander_source=a", 1); got != http.StatusNoContent {
		t.Errorf("status %d, want 204 as soon as the node is ready", got)
	}
	for round := range 20 {
		n.gate.Store(&errUnregistered)
		if got := n.write("?highlander_source=a", int64(round+2)); got != http.StatusNoContent {
			t.Errorf("status %d, want 204: the destination is registered, whenever the gate looked last", got)
		}
	}
}

// As soon as a node is ready a write is taken, for every destination of the file: they are registered one after another.
func TestReadyTakesWritesForAllDestinations(t *testing.T) {
	const destinations = 50
	var text strings.Builder
	text.WriteString("remote_write:\n")
	for i := range destinations {
		fmt.Fprintf(&text, "- {name: d%d, url: 'http://127.0.0.1:1/'}\n", i)
	}
	n := start(t, text.String())
	if got := n.write("?highlander_source=a", 1); got != http.StatusNoContent {
		t.Fatalf("status %d, want 204 as soon as the node is ready", got)
	}
	list := n.state.Destinations()
	for _, d := range list {
		if d.Accepted != 1 {
			t.Errorf("destination %s has %d samples, want 1", d.Name, d.Accepted)
		}
	}
	if len(list) != destinations {
		t.Errorf("%d destinations are registered, want %d", len(list), destinations)
	}
}

func TestAdminCommands(t *testing.T) {
	l := newLTS(t)
	n := start(t, withDestination(l.URL))
	for _, source := range []string{"a", "b"} {
		n.write("?highlander_group=g&highlander_source="+source, time.Now().UnixMilli())
	}
	tests := []struct {
		name      string
		path      string
		arguments map[string]any
		code      int
		text      string
	}{
		{"promote", "/v1/source", map[string]any{"op": "promote", "group": "g", "source": "b"}, 200, ""},
		{"unknown group", "/v1/source", map[string]any{"op": "pin", "group": "h", "source": "b"}, 404, "g"},
		{"unknown source", "/v1/source", map[string]any{"op": "pin", "group": "g", "source": "c"}, 404, "a, b"},
		{"unknown operation", "/v1/source", map[string]any{"op": "halt", "group": "g"}, 400, "promote"},
		{"unknown argument", "/v1/source", map[string]any{"op": "pin", "grup": "g"}, 400, "grup"},
		{"weight", "/v1/source", map[string]any{"op": "weight", "group": "g", "source": "a", "weight": 7}, 200, ""},
		{"forget current", "/v1/source", map[string]any{"op": "forget", "group": "g", "source": "b"}, 409, "current"},
		{"pause", "/v1/destination", map[string]any{"op": "pause", "name": "lts"}, 200, ""},
		{"resume", "/v1/destination", map[string]any{"op": "resume", "name": "lts"}, 200, ""},
		{"unknown destination", "/v1/destination", map[string]any{"op": "pause", "name": "x"}, 404, "lts"},
		{"forget configured", "/v1/destination", map[string]any{"op": "forget", "name": "lts"}, 409, "configuration"},
		{"purge nothing", "/v1/dead-letter", map[string]any{"op": "purge"}, 200, ""},
		{"replay nothing", "/v1/dead-letter", map[string]any{"op": "replay"}, 400, "id"},
		{"replay unknown", "/v1/dead-letter", map[string]any{"op": "replay", "id": "x"}, 404, "x"},
		{"remove unknown node", "/v1/cluster/remove", map[string]any{"node": "n9"}, 404, "n1"},
		{"join nowhere", "/v1/cluster/join", map[string]any{}, 400, "address"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			code, text := n.admin(http.MethodPost, test.path, test.arguments)
			if code != test.code || !strings.Contains(text, test.text) {
				t.Fatalf("got %d %s, want %d and %q", code, text, test.code, test.text)
			}
		})
	}
	if code, text := n.admin(http.MethodGet, "/v1/source/history?group=g", nil); code != 200 || !strings.Contains(text, "promote") {
		t.Fatalf("history: %d %s", code, text)
	}
}

// A running node changes what it can change, and nothing that it was opened with.
func TestRunnable(t *testing.T) {
	now, next := config.Default(), config.Default()
	next.Storage.MaxBytes, next.Storage.MinFreeBytes, next.Storage.WhenFull = 1<<26, 1<<20, config.DropOldest
	next.Web.MaxBodyBytes, next.Web.ListenAddress = 1<<20, "127.0.0.1:1"
	next.Cluster.Join = []string{"127.0.0.1:1"}
	next.Handover.Margin *= 2
	next.Sources.FailoverTimeout *= 2
	got := runnable(&now, next)
	want := now
	want.Storage.WhenFull, want.Web.MaxBodyBytes, want.Sources.FailoverTimeout = config.DropOldest, 1<<20, next.Sources.FailoverTimeout
	want.Cluster.Join = next.Cluster.Join
	if !reflect.DeepEqual(got, want) {
		t.Errorf("in force: %+v, want %+v", got, want)
	}
	if keys := strings.Join(fixedKeys(&got, &next), " "); keys != "storage web handover" {
		t.Errorf("said to need a restart: %s", keys)
	}
	next = now
	next.Storage.WhenFull = config.DropOldest
	if got = runnable(&now, next); len(fixedKeys(&got, &next)) > 0 {
		t.Error("said to need a restart: when_full, which does not")
	}
}

func TestReload(t *testing.T) {
	first, second := newLTS(t), newLTS(t)
	n := start(t, withDestination(first.URL))
	hash := n.Config().Hash()

	n.configure("{}")
	if err := os.WriteFile(n.file, []byte("remote_wride: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := n.Reload(); err == nil || !strings.Contains(err.Error(), "remote_wride") {
		t.Fatalf("a bad file was taken: %v", err)
	}
	if got := n.Config().Hash(); got != hash {
		t.Fatal("a bad file changed the configuration")
	}

	n.configure("remote_write: [{name: lts, url: '" + first.URL + "'}, {name: two, url: '" + second.URL + "'}]\n")
	if err := n.Reload(); err != nil {
		t.Fatal(err)
	}
	n.eventually("registered", func() bool { _, known := n.state.Destination("two"); return known })
	n.write("?highlander_source=a", time.Now().UnixMilli())
	n.eventually("delivered to both", func() bool { return first.samples.Load() == 1 && second.samples.Load() == 1 })

	// What needs a restart waits for it, however often the file is read.
	before := n.Config().Handover
	n.configure(withDestination(first.URL) + "handover: {margin: 10m, window_bytes: 16MiB}\n")
	for range 2 {
		if err := n.Reload(); err != nil {
			t.Fatal(err)
		}
		if got := n.Config(); got.Handover != before || len(got.RemoteWrite) != 1 {
			t.Fatalf("after a reload: handover %+v, want %+v; %d destinations, want 1", got.Handover, before, len(got.RemoteWrite))
		}
	}
	if code, text := n.get("/-/reload"); code != http.StatusForbidden {
		t.Fatalf("reload over HTTP without web.enable_lifecycle: %d %s", code, text)
	}
}
