package harness

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/highlander-io/highlander/test/history"
	"github.com/highlander-io/highlander/test/leaks"
)

func TestMain(m *testing.M) {
	leaks.Main(m, goleak.IgnoreTopFunction("github.com/highlander-io/highlander/test/harness.starter"))
}

func ltsAndSource(t *testing.T) (*LTS, *Source, *history.Log) {
	log := &history.Log{}
	lts := NewLTS(t, "lts", log)
	return lts, &Source{Group: "g", Name: "a", Number: 1, URLs: []string{lts.URL()}, Log: log}, log
}

// A source that writes to the LTS without anything between leaves a clean history, in every way to name itself.
func TestSourceToLTS(t *testing.T) {
	for _, protocol := range []int{1, 2} {
		for _, identify := range []Identity{ByURL, ByHeaders, Unnamed} {
			lts, source, log := ltsAndSource(t)
			source.Protocol, source.Identify, source.Shards = protocol, identify, 3
			source.Burst(t, 5)
			source.Burst(t, 5)
			h := log.History()
			if v := history.Check(h, history.Rules{Counters: true}); len(v) != 0 {
				t.Errorf("protocol %d, identity %d: %v", protocol, identify, v)
			}
			if n := h.AcceptedCount(); n != 200 || lts.Taken() != n {
				t.Errorf("protocol %d: %d accepted, %d taken, want 200", protocol, n, lts.Taken())
			}
			if p := append(lts.Problems(), source.Problems()...); len(p) != 0 {
				t.Error(p)
			}
		}
	}
}

func TestSourceNamesItself(t *testing.T) {
	var got *http.Request
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Clone(t.Context())
		w.WriteHeader(http.StatusNoContent)
	}))
	defer server.Close()
	send := func(identify Identity) *http.Request {
		s := &Source{Group: "g", Name: "a", Number: 1, Identify: identify, Weight: 7, Tenant: "t", Log: &history.Log{},
			URLs: []string{server.URL + "/api/v1/write"}}
		s.Burst(t, 1)
		return got
	}
	if q := send(ByURL).URL.Query(); q.Get("highlander_group") != "g" || q.Get("highlander_source") != "a" || q.Get("highlander_weight") != "7" {
		t.Errorf("URL parameters are %v", q)
	}
	h := send(ByHeaders).Header
	if h.Get("X-Highlander-Group") != "g" || h.Get("X-Highlander-Source") != "a" || h.Get("X-Highlander-Weight") != "7" || h.Get("X-Scope-OrgID") != "t" {
		t.Errorf("headers are %v", h)
	}
	if r := send(Unnamed); r.URL.RawQuery != "" || r.Header.Get("X-Highlander-Group") != "" {
		t.Errorf("an unnamed source names itself: %v %v", r.URL, r.Header)
	}
}

// The replica label is sent, but is no part of the series that the history expects.
func TestSourceByLabels(t *testing.T) {
	lts, source, log := ltsAndSource(t)
	source.Identify, source.Series = ByLabels, 1
	source.Burst(t, 1)
	got := lts.Requests()[0].Samples[0].Series
	want := `__name__="numbered_total",__replica__="a",cluster="g",job="g",series="0"`
	if got != want {
		t.Errorf("sent %s, want %s", got, want)
	}
	v := history.Check(log.History(), history.Rules{})
	if len(v) != 2 || v[0].Kind != history.Invented || v[1].Kind != history.Lost {
		t.Errorf("a label that was not removed must be found, got %v", v)
	}
}

func TestSourceRetriesLikePrometheus(t *testing.T) {
	lts, source, log := ltsAndSource(t)
	lts.Answer(Reply{Status: 500}, Reply{Status: 503, Unread: true}, Reply{Drop: true}, Reply{Status: 204, Commit: true}, Reply{Status: 202}, Reply{Status: 400})
	source.Burst(t, 4)
	h := log.History()
	want := [][]int{{500, 503, 0, 204}, {202}, {400}, {204}}
	for i, r := range h.Requests {
		if len(r.Answers) != len(want[i]) {
			t.Fatalf("request %d: answers %v, want %v", i, r.Answers, want[i])
		}
		for k := range r.Answers {
			if r.Answers[k] != want[i][k] {
				t.Errorf("request %d: answers %v, want %v", i, r.Answers, want[i])
			}
		}
	}
	if v := history.Check(h, history.Rules{}); len(v) != 0 {
		t.Error(v)
	}
	if lts.Scripted() != 0 {
		t.Errorf("%d replies were not used", lts.Scripted())
	}
}

// An LTS that dies after committing and before answering makes a repetition, which the checker must see.
func TestLTSDiesAfterCommit(t *testing.T) {
	lts, source, log := ltsAndSource(t)
	lts.Answer(Reply{Drop: true, Commit: true})
	source.Burst(t, 2)
	v := history.Check(log.History(), history.Rules{})
	if len(v) != source.Series || v[0].Kind != history.Repeated {
		t.Errorf("got %v, want %d repetitions", v, source.Series)
	}
	if v := history.Check(log.History(), history.Rules{Repeats: true}); len(v) != 0 {
		t.Error(v)
	}
}

func TestLTSDownHangAndUp(t *testing.T) {
	lts, source, log := ltsAndSource(t)
	source.Step = 5 * time.Millisecond
	source.Start(t)
	Eventually(t, "samples", more(lts, 100))
	lts.Down()
	failed := source.Failed.Load()
	Eventually(t, "failures", func() error { return unless(source.Failed.Load() > failed) })
	taken := lts.Taken()
	lts.Up()
	Eventually(t, "samples again", more(lts, taken+100))
	lts.Hang()
	lts.Release()
	taken = lts.Taken()
	Eventually(t, "samples after a hang", more(lts, taken+100))
	source.Stop()
	// Going down may cut the answer to what was taken already.
	if v := history.Check(log.History(), history.Rules{Repeats: true}); len(v) != 0 {
		t.Error(v)
	}
}

func more(lts *LTS, n int) func() error {
	return func() error { return unless(lts.Taken() >= n) }
}

func unless(ok bool) error {
	if ok {
		return nil
	}
	return io.ErrNoProgress
}

func TestLTSRefusesBySeries(t *testing.T) {
	lts, source, log := ltsAndSource(t)
	lts.Refuse(func(r *Received) *Reply {
		if strings.Contains(r.Samples[0].Series, `series="0"`) {
			return &Reply{Status: 400, Body: "bad series"}
		}
		return nil
	})
	source.Shards, source.Series = 2, 2
	source.Burst(t, 3)
	if v := history.Check(log.History(), history.Rules{}); len(v) != 0 || lts.Taken() != 3 {
		t.Errorf("%d taken, want 3; %v", lts.Taken(), v)
	}
	lts.Only(2)
	lts.Refuse(nil)
	source.Burst(t, 1)
	if got := lts.Requests(); got[len(got)-1].Status != 415 {
		t.Errorf("answered %d to the wrong protocol, want 415", got[len(got)-1].Status)
	}
}

// A killed source leaves its last request without an answer: it may be at the LTS or not.
func TestKilledSource(t *testing.T) {
	lts, source, log := ltsAndSource(t)
	lts.Hang()
	source.Start(t)
	Eventually(t, "a request in flight", func() error { return unless(len(log.History().Requests) > 0) })
	source.Kill()
	if v := history.Check(log.History(), history.Rules{}); len(v) != 0 {
		t.Error(v)
	}
}

func TestSourceRotatesOnFailure(t *testing.T) {
	lts, source, log := ltsAndSource(t)
	var refused atomic.Int64
	sick := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		refused.Add(1)
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer sick.Close()
	source.URLs = []string{sick.URL, lts.URL()}
	source.Burst(t, 3)
	if refused.Load() != 3 || source.Accepted.Load() != 3 {
		t.Errorf("%d refused, %d accepted, want 3 and 3", refused.Load(), source.Accepted.Load())
	}
	if v := history.Check(log.History(), history.Rules{}); len(v) != 0 {
		t.Error(v)
	}
}

func TestLTSHoldsHighlanderToTheProtocol(t *testing.T) {
	good := []Point{{Labels: []Label{{Name: "__name__", Value: "x"}}, Time: 1, Value: 1}}
	unsorted := []Point{{Labels: []Label{{Name: "b", Value: "x"}, {Name: "a", Value: "y"}}, Time: 1, Value: 1}}
	tests := []struct {
		name, content, version, encoding string
		body                             []byte
		status                           int
	}{
		{"good 1.0", ContentV1, "0.1.0", "snappy", EncodeV1(good), 204},
		{"good 2.0", ContentV2, "2.0.0", "snappy", EncodeV2(good), 204},
		{"no encoding", ContentV1, "0.1.0", "", EncodeV1(good), 400},
		{"wrong version", ContentV2, "0.1.0", "snappy", EncodeV2(good), 400},
		{"2.0 under 1.0", ContentV1, "0.1.0", "snappy", EncodeV2(good), 400},
		{"1.0 under 2.0", ContentV2, "2.0.0", "snappy", EncodeV1(good), 400},
		{"unsorted labels", ContentV2, "2.0.0", "snappy", EncodeV2(unsorted), 400},
		{"no snappy", ContentV1, "0.1.0", "snappy", []byte("hello"), 400},
	}
	for _, tt := range tests {
		lts := NewLTS(t, "lts", &history.Log{})
		req, _ := http.NewRequest(http.MethodPost, lts.URL(), strings.NewReader(string(tt.body)))
		req.Header.Set("Content-Type", tt.content)
		req.Header.Set("Content-Encoding", tt.encoding)
		req.Header.Set("X-Prometheus-Remote-Write-Version", tt.version)
		resp, err := web.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != tt.status || len(lts.Problems()) != boolToInt(tt.status == 400) {
			t.Errorf("%s: answered %d, problems %v; want %d", tt.name, resp.StatusCode, lts.Problems(), tt.status)
		}
	}
}

func boolToInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestProcess(t *testing.T) {
	p := Start(t, "shell", "/bin/sh", "-c", "trap 'exit 7' TERM; echo ready; while :; do sleep 0.02; done")
	Eventually(t, "output", func() error { return unless(strings.Contains(p.Output(), "ready")) })
	if !p.Running() {
		t.Fatal("has ended")
	}
	if _, err := p.Exit(0); err == nil {
		t.Error("Exit of a running process must fail")
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code, err := p.Exit(Patience); err != nil || code != 7 {
		t.Errorf("exit status %d, %v; want 7", code, err)
	}
	stopped := Start(t, "stopped", "/bin/sh", "-c", "kill -STOP $$; exit 0")
	stopped.Kill()
	if code, _ := stopped.Exit(Patience); code != -1 {
		t.Errorf("exit status %d of a killed process, want -1", code)
	}
	env := StartEnv(t, "env", []string{"HIGHLANDER_TEST=4"}, "/bin/sh", "-c", "exit $HIGHLANDER_TEST")
	if code, err := env.Exit(Patience); err != nil || code != 4 {
		t.Errorf("exit status %d, %v; want 4", code, err)
	}
}

// A process lives on when the thread ends whose goroutine asked for it.
func TestProcessOutlivesAThread(t *testing.T) {
	type begun struct {
		process *Process
		thread  int
	}
	starts := make(chan begun, 1)
	var b begun
	for b.process == nil || b.thread == os.Getpid() { // the first thread of all never ends, nor is it used again
		go func() {
			runtime.LockOSThread() // and never unlocked: the thread ends with this goroutine
			starts <- begun{Start(t, "sleep", "/bin/sleep", "600"), unix.Gettid()}
		}()
		b = <-starts
	}
	Eventually(t, "the end of the thread", func() error {
		_, err := os.Stat(fmt.Sprintf("/proc/self/task/%d", b.thread))
		return unless(os.IsNotExist(err))
	})
	if code, err := b.process.Exit(100 * time.Millisecond); err == nil {
		t.Errorf("the process has ended as well, with status %d", code)
	}
}

// A port that another test process has been given is not given again, although nobody listens on it yet.
func TestFreePortOfAnotherProcess(t *testing.T) {
	ports.Lock()
	next := ports.next
	ports.Unlock()
	other, err := net.Listen("unix", fmt.Sprintf("@highlander-test-port-%d", next))
	if err != nil {
		t.Skipf("another process has it indeed: %v", err)
	}
	defer other.Close()
	if got := FreePort(); got == next {
		t.Errorf("port %d is given twice", got)
	}
}

func TestFreePortsDiffer(t *testing.T) {
	seen := map[int]bool{}
	for range 200 {
		p := FreePort()
		if seen[p] || p < portFirst || p >= portEnd {
			t.Fatalf("port %d comes twice or is out of range", p)
		}
		seen[p] = true
	}
}

func TestNodeConfig(t *testing.T) {
	n := NewNode(t, "n1", To("lts", "http://lts.example/write"))
	n.Set("sources", "failover_timeout", "2s")
	n.WriteConfig()
	data, err := os.ReadFile(n.ConfigFile())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"id: n1", "failover_timeout: 2s", "name: lts", "path: " + n.Dir, "listen_address: " + n.Web} {
		if !strings.Contains(string(data), want) {
			t.Errorf("%q is not in\n%s", want, data)
		}
	}
}

func TestExporterNumbersScrapes(t *testing.T) {
	e := StartExporter(t, 2)
	get := func(query string) string {
		resp, err := web.Get("http://" + e.Address + "/metrics" + query)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		data, _ := io.ReadAll(resp.Body)
		return string(data)
	}
	get("?scraper=1")
	if got := get("?scraper=1"); !strings.Contains(got, `numbered_total{series="1"} 33`) {
		t.Errorf("second scrape of 1 finds %s", got)
	}
	if got := get("?scraper=2"); !strings.Contains(got, `numbered_total{series="0"} 18`) {
		t.Errorf("first scrape of 2 finds %s", got)
	}
	if e.Scrapes(1) != 2 || e.Scrapes(2) != 1 {
		t.Errorf("scrapes %d and %d, want 2 and 1", e.Scrapes(1), e.Scrapes(2))
	}
}

func TestCompare(t *testing.T) {
	a, b := history.Sample{Series: "x", Time: 1, Value: 1}, history.Sample{Series: "x", Time: 2, Value: 2}
	if got := Compare([]history.Sample{a, b}, []history.Sample{b, a}); got != "" {
		t.Errorf("equal sets differ: %s", got)
	}
	if got := Compare([]history.Sample{a, b}, []history.Sample{a, a}); !strings.HasPrefix(got, "1 samples missing, 1 too many of 2") {
		t.Errorf("got %q", got)
	}
}

func TestBooks(t *testing.T) {
	var g Group
	g.Samples.Received, g.Samples.Accepted, g.Samples.Rejected = 10, 7, map[string]uint64{"missing_name": 2}
	if g.Difference() != 1 {
		t.Errorf("difference %d, want 1", g.Difference())
	}
	var d Destination
	d.Samples.Accepted, d.Samples.Delivered, d.Backlog.Samples = 10, 7, 3
	if (Status{Destinations: []Destination{d}}).Balanced() != nil {
		t.Error("balanced books do not balance")
	}
	if (Status{Groups: []Group{g}}).Balanced() == nil {
		t.Error("a missing sample is not seen")
	}
}

// The programs of Debian's packages start, answer and keep what they are sent.
func TestRealPrometheusAndVictoriaMetrics(t *testing.T) {
	vm := StartVictoriaMetrics(t)
	e := StartExporter(t, 3)
	_, agent := StartVMAgent(t, vm.WriteURL(), "-remoteWrite.flushInterval=100ms")
	p := StartPrometheus(t, PrometheusOptions{
		Name: "pa", Labels: map[string]string{"prom": "a"}, Target: e.Address,
		Params: map[string]string{"scraper": "1"}, Interval: "200ms", WriteURL: agent,
	})
	var stored []history.Sample
	Eventually(t, "scrapes", func() error { // some may time out
		stored = p.Samples("numbered_total")
		return unless(len(stored) >= 12)
	})
	Eventually(t, "the samples at VictoriaMetrics", func() error {
		return unless(len(vm.Export(`{prom="a",__name__="numbered_total"}`)) >= len(stored))
	})
	p.Stop()
}

func TestStage(t *testing.T) {
	var order []string
	var dir string
	note := func(s string) func() { return func() { order = append(order, s) } }
	if code := OnStage(func(s *Stage) { s.Cleanup(note("first")); s.Cleanup(note("second")); dir = s.TempDir() }); code != 0 {
		t.Errorf("exit status %d, want 0", code)
	}
	if strings.Join(order, " ") != "second first" {
		t.Errorf("cleaned up in order %v, want second first", order)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s is left (%v)", dir, err)
	}
	order = nil
	code := OnStage(func(s *Stage) {
		s.Cleanup(note("cleaned"))
		s.Fatalf("the message of a failure")
		note("not reached")()
	})
	if code != 1 || strings.Join(order, " ") != "cleaned" {
		t.Errorf("exit status %d after %v, want 1 after cleaned", code, order)
	}
}

// Books as metrics: each term counts, by tenant and owner; what is missing is named.
func TestBooksAsMetrics(t *testing.T) {
	m := func(name string, value float64, labels ...string) Metric {
		all := map[string]string{}
		for i := 0; i < len(labels); i += 2 {
			all[labels[i]] = labels[i+1]
		}
		return Metric{name, all, value}
	}
	balanced := Metrics{
		m(received, 7, "tenant", "x", "group", "g", "source", "a"), m(received, 3, "tenant", "x", "group", "g", "source", ""),
		m("highlander_samples_accepted_total", 6, "tenant", "x", "group", "g"),
		m("highlander_samples_rejected_total", 1, "tenant", "x", "group", "g", "reason", "r"),
		m("highlander_samples_rejected_total", 3, "tenant", "x", "group", "g", "reason", "s"),
		m(owed, 5, "destination", "lts"),
		m("highlander_destination_samples_delivered_total", 2, "destination", "lts"),
		m("highlander_destination_backlog_samples", 1, "destination", "lts"),
		m("highlander_destination_samples_dropped_total", 2, "destination", "lts", "reason", "full"),
		m("highlander_destination_samples_delivered_total", 9, "destination", "other"), m(owed, 9, "destination", "other"),
		m(standby, 4, "tenant", "x", "group", "g", "source", "b"), m("highlander_standby_requests_kept", 4, "tenant", "x", "group", "g"),
	}
	if err := balanced.Balanced(); err != nil {
		t.Fatal(err)
	}
	for i := range balanced {
		planted := append(Metrics(nil), balanced...)
		planted[i].Value++
		if planted.Balanced() == nil {
			t.Errorf("one more in %v goes unnoticed", balanced[i])
		}
		if planted.Replicated() == balanced.Replicated() {
			t.Errorf("a node with one more in %v looks like the others", balanced[i])
		}
	}
}
