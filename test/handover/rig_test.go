package handover

import (
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/highlander-io/highlander/test/harness"
	"github.com/highlander-io/highlander/test/history"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

const (
	interval = time.Second
	guard    = 500 * time.Millisecond
	// gapMax adds one scrape for the phase between the two servers.
	gapMax   = interval + guard + interval
	failover = "5s"
	group    = "prod"
)

// rig is a target, some nodes, and the two destinations behind them.
type rig struct {
	t        testing.TB
	target   *target
	cluster  *harness.Cluster
	log      *history.Log
	lts      *harness.LTS
	receiver *server
	byURL    bool // servers name themselves by URL, otherwise by labels
	leaders  bool // the leader changes: a bounded tail may come twice
	servers  []*server
	acts     []act
}

// act is a part of a scenario that has figures of its own: one change of source, or several, in the way that its name says.
type act struct {
	name    string
	changes int
	from    int     // samples that had arrived before
	refused float64 // by the receiver so far, at the end
	begun   time.Time
	took    time.Duration // from its begin until the source had changed
}

// rigOptions say what is special about a rig.
type rigOptions struct {
	nodes   int
	byURL   bool
	leaders bool
	ns      *namespace
}

// startRig starts everything but the servers.
func startRig(t *testing.T, o rigOptions) *rig {
	t.Helper()
	r := &rig{t: t, log: &history.Log{}, byURL: o.byURL, leaders: o.leaders}
	host := "127.0.0.1"
	if o.ns != nil {
		host = o.ns.outside
	}
	r.target = startTarget(t, host)
	r.lts = harness.NewLTS(t, "lts", r.log)
	r.receiver = startServer(t, "receiver", nil, harness.Map{}, "--web.enable-remote-write-receiver")
	r.cluster = harness.NewCluster(t, o.nodes, r.lts.Destination(), harness.To("tsdb", "http://"+r.receiver.web+"/api/v1/write"))
	for _, n := range r.cluster.Nodes {
		if o.ns != nil {
			_, port, _ := net.SplitHostPort(n.Web)
			n.Web = net.JoinHostPort(host, port)
			n.Set("web", "listen_address", n.Web)
		}
	}
	if o.nodes == 1 {
		r.cluster.Set("cluster", "join", []string{})
	}
	r.cluster.Set("sources", "failover_timeout", failover)
	r.cluster.Set("sources", "preempt_after", "3s")
	r.cluster.Start().WaitReady()
	return r
}

// serverOptions say what is special about a server.
type serverOptions struct {
	weight int
	shut   bool // its road is closed
	ns     *namespace
}

// server starts a Prometheus that scrapes the target and writes to a node.
func (r *rig) server(name string, number int, node *harness.Node, o serverOptions) *server {
	r.t.Helper()
	var way *road
	address := node.Web
	if o.ns == nil {
		way = newRoad(r.t, node.Web)
		address = way.address
	}
	if o.shut {
		way.close()
	}
	labels := harness.Map{"cluster": group}
	params := url.Values{}
	if r.byURL {
		params.Set("highlander_group", group)
		params.Set("highlander_source", name)
	} else {
		labels["__replica__"] = name
	}
	if o.weight > 0 {
		params.Set("highlander_weight", fmt.Sprint(o.weight))
	}
	write := url.URL{Scheme: "http", Host: address, Path: "/api/v1/write", RawQuery: params.Encode()}
	s := startServer(r.t, name, o.ns, harness.Map{
		"global": harness.Map{"scrape_interval": "1s", "scrape_timeout": "1s", "external_labels": labels},
		"scrape_configs": []harness.Map{{
			"job_name": "clock", "params": harness.Map{"scraper": []string{fmt.Sprint(number)}},
			"static_configs": []harness.Map{{"targets": []string{r.target.address}}},
		}},
		"remote_write": []harness.Map{{
			"url": write.String(), "remote_timeout": "5s", "metadata_config": harness.Map{"send": false},
			"queue_config": harness.Map{
				"min_shards": 2, "batch_send_deadline": "500ms", "min_backoff": "30ms", "max_backoff": "500ms",
			},
		}},
	})
	s.number, s.road = number, way
	r.servers = append(r.servers, s)
	return s
}

// node is the i-th node, or the last one.
func (r *rig) node(i int) *harness.Node { return r.cluster.Nodes[min(i, len(r.cluster.Nodes)-1)] }

// pair starts a current server and then a standby, and lets both run for a while. A server takes five seconds to its first
// scrape, so both are started at once, and the standby's road is closed until there is a current one.
func (r *rig) pair(a serverOptions) (current, standby *server) {
	r.t.Helper()
	current = r.server("a", 1, r.node(0), a)
	standby = r.server("b", 2, r.node(1), serverOptions{shut: true})
	r.current("a")
	r.join(standby)
	return current, standby
}

// join opens a server's road and waits until it is a standby of which something is kept.
func (r *rig) join(s *server) {
	r.t.Helper()
	s.road.reopen()
	r.until("standby "+s.name, func(g groupStatus) bool { return g.state(s.name) == "standby" })
	r.scrapes(s, 3)
}

// restart starts a server again that has ended; its road is closed until it joins.
func (r *rig) restart(s *server) {
	r.t.Helper()
	s.road.close()
	s.start()
}

// act begins a new part of the scenario, in which the counters change hands that many times.
func (r *rig) act(name string, changes int) {
	r.t.Helper()
	r.endAct()
	r.acts = append(r.acts, act{name: name, changes: changes, from: r.log.ReceivedCount(), begun: time.Now()})
}

func (r *rig) endAct() {
	r.t.Helper()
	if n := len(r.acts); n > 0 {
		r.acts[n-1].refused = r.refusals()
	}
}

// turn waits until a server is current and some of what it scrapes has followed.
func (r *rig) turn(s *server) {
	r.t.Helper()
	r.current(s.name)
	a := &r.acts[len(r.acts)-1]
	a.took = time.Since(a.begun)
	r.scrapes(s, 3)
}

// groupStatus is the group as the status document shows it.
type groupStatus struct {
	Name, Current string
	Epoch         uint64
	Sources       []struct{ Name, State string }
	Samples       struct{ Received, Accepted, Covered, Duplicate uint64 }
	Standby       struct {
		Requests, Discarded, Used uint64
		Kept                      int64
	}
	History []change
}

type change struct {
	Epoch            uint64
	From, To, Reason string
	BoundaryMS       int64  `json:"boundary_ms"`
	KeptUsed         uint64 `json:"kept_used"`
	Fenced           uint64
	LargestGapMS     int64 `json:"largest_gap_ms"`
}

func (g groupStatus) state(source string) string {
	for _, s := range g.Sources {
		if s.Name == source {
			return s.State
		}
	}
	return ""
}

// group asks a running node.
func (r *rig) group() (groupStatus, error) {
	_, body, err := r.cluster.Running()[0].Get("/api/v1/status")
	if err != nil {
		return groupStatus{}, err
	}
	var document struct{ Groups []groupStatus }
	if err := json.Unmarshal([]byte(body), &document); err != nil {
		return groupStatus{}, err
	}
	for _, g := range document.Groups {
		if g.Name == group {
			return g, nil
		}
	}
	return groupStatus{}, fmt.Errorf("no group %s yet", group)
}

// until waits until the group is as it should be.
func (r *rig) until(what string, ok func(groupStatus) bool) {
	r.t.Helper()
	harness.Eventually(r.t, what, func() error {
		g, err := r.group()
		if err == nil && !ok(g) {
			err = fmt.Errorf("%+v", g)
		}
		return err
	})
}

func (r *rig) current(name string) {
	r.t.Helper()
	r.until("current source "+name, func(g groupStatus) bool { return g.Current == name })
}

// scrapes waits until a server has scraped n more times.
func (r *rig) scrapes(s *server, n int) {
	r.t.Helper()
	want := r.target.scrapes(s.number) + n
	harness.Eventually(r.t, fmt.Sprintf("%d scrapes by %s", want, s.name), func() error {
		if got := r.target.scrapes(s.number); got < want {
			return fmt.Errorf("%d so far", got)
		}
		return nil
	})
}

// admin runs a command on a running node.
func (r *rig) admin(args ...string) {
	r.t.Helper()
	args = append(args, "--storage.path", r.cluster.Running()[0].Dir)
	if result := harness.Run(r.t, args...); result.Code != 0 {
		r.t.Fatalf("highlander %v: exit status %d: %s", args, result.Code, result.Stderr)
	}
}

// finish stops the servers, the current one last, waits until all has come to rest, and judges what arrived.
func (r *rig) finish(current *server) {
	r.t.Helper()
	for _, s := range r.servers {
		if s != current && s.process.Running() {
			s.stop()
		}
	}
	current.stop()
	r.cluster.WaitDrained("lts")
	r.cluster.WaitDrained("tsdb")
	r.cluster.WaitBooks()
	r.endAct()
	received := r.log.History().Received
	refused := 0.0
	for i, a := range r.acts {
		to := len(received)
		if i+1 < len(r.acts) {
			to = r.acts[i+1].from
		}
		r.judge(a, count(received[:to], a.from), a.refused-refused)
		refused = a.refused
	}
	if gap := end(received); gap > gapMax {
		r.t.Errorf("V1: a series ended %s early", seconds(gap))
	}
	for _, problem := range r.lts.Problems() {
		r.t.Errorf("LTS: %s", problem)
	}
	r.compare(count(received, 0).live)
	r.books()
}

// judge holds the figures of an act against the invariants and prints them.
func (r *rig) judge(a act, f figures, refused float64) {
	r.t.Helper()
	wrong := func(bad bool, format string, args ...any) {
		r.t.Helper()
		if bad {
			r.t.Errorf(a.name+": "+format, args...)
		}
	}
	wrong(f.series < counterSeries, "%d series arrived, want at least %d", f.series, counterSeries)
	wrong(f.changes != a.changes, "the counters changed hands %d times, want %d", f.changes, a.changes)
	wrong(f.gap > gapMax, "V1: a gap of %s: %s; want at most %s", seconds(f.gap), f.gapAt, seconds(gapMax))
	wrong(f.clashes > 0, "V2: %d timestamps came with two values", f.clashes)
	wrong(f.repeated > 0 && !r.leaders, "V2: %d samples came twice", f.repeated)
	wrong(f.unordered > 0, "V3: %d samples out of order", f.unordered)
	wrong(f.resets > 0, "V4: %d decreases of a counter", f.resets)
	wrong(refused > 0 && !r.leaders, "V5: the receiver has refused %v samples or requests", refused)
	r.t.Logf("FIGURES %s: %s: largest gap %s (counters at a change %s), repeated %d, false resets %d, refused %v; %d samples, changed after %s",
		r.t.Name(), a.name, seconds(f.gap), seconds(f.changeGap), f.repeated, f.resets, refused, f.samples, seconds(a.took))
}

// refusals is what the receiver has refused so far: samples, and requests that are not worth a sample to it.
func (r *rig) refusals() float64 {
	r.t.Helper()
	sum := r.receiver.metric("prometheus_http_requests_total", `code="400",handler="/api/v1/write"`)
	for _, why := range []string{"out_of_order", "too_old", "out_of_bound"} {
		sum += r.receiver.metric("prometheus_tsdb_"+why+"_samples_total", "")
	}
	return sum
}

// compare requires that the receiver holds what the LTS has.
func (r *rig) compare(live int) {
	r.t.Helper()
	stored, err := r.receiver.stored(fmt.Sprintf(`{cluster=%q}`, group))
	if err != nil || stored != live {
		r.t.Errorf("V5: the receiver holds %d samples, want %d as at the LTS: %v", stored, live, err)
	}
	s, err := r.cluster.Leader().Status()
	if err != nil {
		r.t.Fatal(err)
	}
	d, _ := s.Destination("tsdb")
	if d.Samples.DeadLetter > 0 || d.Samples.Redelivered > 0 && !r.leaders {
		r.t.Errorf("V5: %d dead letters of the receiver, %d samples that it had already", d.Samples.DeadLetter, d.Samples.Redelivered)
	}
	if f, _ := s.Destination("lts"); f.Samples.Redelivered+d.Samples.Redelivered > 0 {
		r.t.Logf("sent again: %d to the LTS, %d to the receiver", f.Samples.Redelivered, d.Samples.Redelivered)
	}
}

// books requires that the history of the group tells of every change, and of no larger gap than there was.
func (r *rig) books() {
	r.t.Helper()
	g, err := r.group()
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Logf("books %+v, standby %+v", g.Samples, g.Standby)
	want := 1
	for _, a := range r.acts {
		want += a.changes
	}
	if len(g.History) != want {
		r.t.Errorf("the history tells of %d changes, want %d", len(g.History), want)
	}
	for _, c := range g.History {
		r.t.Logf("change %+v", c)
		if gap := time.Duration(c.LargestGapMS) * time.Millisecond; gap > gapMax {
			r.t.Errorf("epoch %d: the history tells of a gap of %s", c.Epoch, seconds(gap))
		}
	}
}
