package handover

import (
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/highlander-io/highlander/test/harness"
	"github.com/highlander-io/highlander/test/history"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

const (
	interval = time.Second
	guard    = 500 * time.Millisecond
	// gapMax adds one scrape for the phase between the two servers. A larger gap is excused by a server that did not scrape.
	gapMax   = interval + guard + interval
	failover = "5s"
	never    = "30m" // the failover timeout while nobody is to take over
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
	term     uint64
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
	r.cluster = harness.NewCluster(t, o.nodes, patient(r.lts.Destination()), patient(harness.To("tsdb", "http://"+r.receiver.web+"/api/v1/write")))
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
	r.cluster.Set("sources", "failover_timeout", never)
	r.cluster.Set("sources", "preempt_after", "3s")
	r.cluster.Start().WaitReady()
	r.term = r.leaderStatus().Cluster.Term
	return r
}

// patient lets a destination take its time: a send that is given up is sent again, and what it held comes twice.
func patient(destination harness.Map) harness.Map {
	destination["remote_timeout"] = harness.Patience.String()
	return destination
}

// leaderStatus is the status document of the leader.
func (r *rig) leaderStatus() (s harness.Status) {
	r.t.Helper()
	harness.Eventually(r.t, "the leader's status", func() (err error) {
		s, err = r.cluster.Leader().Status()
		if err == nil && s.Node.Role != "leader" {
			err = fmt.Errorf("%s is %s by now", s.Node.ID, s.Node.Role)
		}
		return err
	})
	return s
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

// join opens a server's road, if it has one, and waits until it is a standby of which something is kept that it scrapes now.
func (r *rig) join(s *server) {
	r.t.Helper()
	now, scrapes := time.Now().UnixMilli(), r.target.scrapes(s.number)
	if s.road != nil {
		s.road.reopen()
	}
	r.until("standby "+s.name, func(g groupStatus) bool {
		own := g.source(s.name)
		return own.State == "standby" && own.NewestSampleMS > now && g.Standby.Kept > 0
	})
	r.scraped(s, scrapes+3)
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

// takeover lets the rule make a server current. At all other times nobody takes over but by an operator's word: on a machine
// that stands still for long enough the rule would rightly change a source that was to stay.
func (r *rig) takeover(s *server) {
	r.t.Helper()
	r.failover(failover)
	r.current(s.name)
	r.failover(never)
	r.turn(s)
}

// failover sets the time after which a source is silent.
func (r *rig) failover(timeout string) {
	r.t.Helper()
	r.cluster.Set("sources", "failover_timeout", timeout)
	for _, n := range r.cluster.Running() {
		n.Reload()
	}
}

// turn waits until a server is current and some of what it scrapes has followed, to the LTS.
func (r *rig) turn(s *server) {
	r.t.Helper()
	r.current(s.name)
	a := &r.acts[len(r.acts)-1]
	a.took = time.Since(a.begun)
	now := r.target.value(s.number)
	r.scrapes(s, 2)
	harness.Eventually(r.t, "what "+s.name+" scrapes now at the LTS", func() error {
		arrived := map[string]bool{}
		for _, sample := range r.log.History().Received[a.from:] {
			if strings.HasPrefix(sample.Series, counterPrefix) && sample.Value > now && scraper(sample.Value) == s.number {
				arrived[sample.Series] = true
			}
		}
		if len(arrived) < counterSeries {
			return fmt.Errorf("%d series have arrived", len(arrived))
		}
		return nil
	})
}

// groupStatus is the group as the status document shows it.
type groupStatus struct {
	Name, Current string
	Epoch         uint64
	Sources       []sourceStatus
	Samples       struct{ Received, Accepted, Covered, Duplicate uint64 }
	Standby       struct {
		Requests, Discarded, Used uint64
		Kept                      int64
	}
	History []change
}

type sourceStatus struct {
	Name, State    string
	NewestSampleMS int64 `json:"newest_sample_ms"`
}

type change struct {
	Epoch            uint64
	From, To, Reason string
	BoundaryMS       int64  `json:"boundary_ms"`
	KeptUsed         uint64 `json:"kept_used"`
	Fenced           uint64
	LargestGapMS     int64 `json:"largest_gap_ms"`
}

// source is a source of the group; the zero value if it is unknown.
func (g groupStatus) source(name string) sourceStatus {
	for _, s := range g.Sources {
		if s.Name == name {
			return s
		}
	}
	return sourceStatus{}
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
	r.scraped(s, r.target.scrapes(s.number)+n)
}

// scraped waits until a server has scraped that often.
func (r *rig) scraped(s *server, want int) {
	r.t.Helper()
	harness.Eventually(r.t, fmt.Sprintf("%d scrapes by %s", want, s.name), func() error {
		if got := r.target.scrapes(s.number); got < want {
			return fmt.Errorf("%d so far", got)
		}
		return nil
	})
}

// admin runs a command on a running node, again if the leader has just changed.
func (r *rig) admin(args ...string) {
	r.t.Helper()
	harness.Eventually(r.t, fmt.Sprintf("highlander %v", args), func() error {
		if result := r.cluster.Running()[0].Command(args...); result.Code != 0 {
			return fmt.Errorf("exit status %d: %s", result.Code, result.Stderr)
		}
		return nil
	})
}
