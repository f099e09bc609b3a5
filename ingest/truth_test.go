package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/prompb"

	"github.com/highlander-io/highlander/fsm"
)

// colony is a cluster whose members share one log: each has a window of its own, and one of them leads.
type colony struct {
	testing.TB
	log     *memNode
	clock   *manualClock
	logs    *lockedBuffer
	members []*memberNode
	leader  int
	change  []func(*Options)
}

type memberNode struct {
	colony *colony
	index  int
	down   atomic.Bool
	h      *Handler
	lead   *leadership
	routes *http.ServeMux
}

var errDown = errors.New("connection refused")

func newColony(t testing.TB, members int, change ...func(*Options)) *colony {
	c := &colony{TB: t, log: &memNode{}, clock: newClock(), logs: new(lockedBuffer), change: change}
	c.log.fsm = fsm.New(fsm.Options{Margin: 5 * time.Minute, WindowBytes: 1 << 30, Fatal: func(err error) { t.Errorf("state machine: %v", err) }})
	(&desk{TB: t, node: c.log, clock: c.clock}).register()
	for i := range members {
		m := &memberNode{colony: c, index: i}
		c.members = append(c.members, m)
		m.start()
	}
	c.elect(0)
	return c
}

// start makes the member anew: what it kept in memory is gone.
func (m *memberNode) start() {
	o := testOptions()
	o.ClockSkewGuard = 500 * time.Millisecond
	for _, c := range m.colony.change {
		c(&o)
	}
	m.h = New(o, Deps{
		State: m.colony.log.fsm, Node: m, Log: m.colony.log, Logger: slog.New(slog.NewTextHandler(m.colony.logs, nil)),
		Registerer: prometheus.NewRegistry(), Now: m.colony.clock.Now,
	})
	m.routes = http.NewServeMux()
	m.routes.Handle(ForwardPath, m.h.Forwarded())
	m.routes.Handle(KeptPath, m.h.Kept())
	m.routes.Handle(KeptReleasePath, m.h.Kept())
}

// elect makes a member the leader; the one before loses its leadership.
func (c *colony) elect(i int) {
	old := c.members[c.leader]
	if old.lead != nil {
		old.h.lead.Store(nil)
		old.lead = nil
	}
	c.leader = i
	m := c.members[i]
	m.lead = newLeadership(fmt.Sprintf("%d-%d", i, c.clock.Now().UnixNano()), c.clock.Now())
	m.h.takeOver(m.lead)
	m.h.lead.Store(m.lead)
	m.h.collect(context.Background(), m.lead)
	m.h.mend(context.Background(), m.lead)
	c.advance()
}

// crash takes the leader, with all it kept, and lets another lead.
func (c *colony) crash(next int) {
	old := c.members[c.leader]
	old.down.Store(true)
	c.elect(next)
	old.start()
	old.down.Store(false)
}

func (c *colony) leading() *memberNode { return c.members[c.leader] }

func (c *colony) advance() {
	m := c.leading()
	m.h.advance(context.Background(), m.lead)
	m.lead.tasks.Wait()
}

func (c *colony) tick() {
	m := c.leading()
	m.h.tick(context.Background(), m.lead)
	m.h.collectLate(context.Background(), m.lead)
	c.advance()
}

func (c *colony) flush() {
	c.Helper()
	m := c.leading()
	if err := m.h.flush(context.Background(), m.lead); err != nil {
		c.Fatal(err)
	}
}

func (c *colony) state() fsm.Group {
	c.Helper()
	return (&desk{TB: c.TB, node: c.log}).group("g")
}

func (m *memberNode) IsLeader() bool { return m.colony.leader == m.index && !m.down.Load() }

func (m *memberNode) Propose(entry []byte, timeout time.Duration) Future {
	if !m.IsLeader() {
		return settled{err: errNotCommitted}
	}
	return m.colony.log.Propose(entry, timeout)
}

func (m *memberNode) Confirm(ctx context.Context) error {
	if !m.IsLeader() {
		return errNotCommitted
	}
	return m.colony.log.Confirm(ctx)
}

func (m *memberNode) Leader() http.RoundTripper { return m.colony.members[m.colony.leader] }

func (m *memberNode) Peers() []Peer {
	var peers []Peer
	for _, other := range m.colony.members {
		if other != m {
			peers = append(peers, Peer{Name: fmt.Sprint(other.index), Voter: true, Reachable: !other.down.Load(), Via: other})
		}
	}
	return peers
}

// RoundTrip is the way to the member.
func (m *memberNode) RoundTrip(r *http.Request) (*http.Response, error) {
	if m.down.Load() {
		_ = r.Body.Close()
		return nil, errDown
	}
	return roundTripper{m.routes}.RoundTrip(r)
}

// prom is a Prometheus that scrapes the one truth: a counter for each series, which grows with true time.
type prom struct {
	name     string
	series   int
	shards   int
	interval time.Duration
	phase    time.Duration   // of its scrapes
	clock    time.Duration   // by how much its clock is ahead
	lags     []time.Duration // of each shard
	hidden   map[int]bool    // series that it does not see
	wild     time.Duration   // if not zero, by how much one more series of each body is ahead; nobody promises its order
	via      int             // the member that it sends to
	weight   uint64          // that it says it has

	dead    bool // sends and scrapes nothing
	cut     bool // scrapes, but cannot send
	scraped time.Time
	queues  [][]sending
	took    map[string][]int64 // times that were answered 2xx, by series
}

type sending struct {
	due    time.Time
	series []prompb.TimeSeries
}

func newProm(name string, phase time.Duration) *prom {
	return &prom{name: name, series: 4, shards: 2, interval: 5 * time.Second, phase: phase, took: make(map[string][]int64)}
}

// step scrapes if it is time, and sends what is due.
func (p *prom) step(c *colony) {
	now := c.clock.Now()
	if p.dead {
		return
	}
	if p.queues == nil {
		p.queues = make([][]sending, p.shards)
	}
	if at := now.Add(-p.phase).Truncate(p.interval).Add(p.phase); at.After(p.scraped) {
		p.scraped = at
		p.scrape(at)
	}
	if p.cut {
		return
	}
	for i := range p.queues {
		for len(p.queues[i]) > 0 && !p.queues[i][0].due.After(now) {
			if !p.send(c, p.queues[i][0].series) {
				break // it comes again
			}
			p.queues[i] = p.queues[i][1:]
		}
	}
}

func (p *prom) scrape(at time.Time) {
	for shard := range p.queues {
		var list []prompb.TimeSeries
		for s := shard; s < p.series; s += p.shards {
			if p.hidden[s] {
				continue
			}
			list = append(list, prompb.TimeSeries{
				Labels:  []prompb.Label{{Name: "__name__", Value: "m"}, {Name: "s", Value: fmt.Sprint(s)}},
				Samples: []prompb.Sample{{Value: float64(at.UnixMilli()), Timestamp: at.Add(p.clock).UnixMilli()}},
			})
		}
		if p.wild != 0 {
			list = append(list, prompb.TimeSeries{
				Labels:  []prompb.Label{{Name: "__name__", Value: "m"}, {Name: "s", Value: "wild"}},
				Samples: []prompb.Sample{{Timestamp: at.Add(p.wild).UnixMilli()}},
			})
		}
		due := at
		if shard < len(p.lags) {
			due = due.Add(p.lags[shard])
		}
		if len(list) > 0 {
			p.queues[shard] = append(p.queues[shard], sending{due, list})
		}
	}
}

// send says whether it was answered 2xx.
func (p *prom) send(c *colony, list []prompb.TimeSeries) bool {
	m := c.members[p.via]
	if m.down.Load() {
		return false
	}
	body := bodyV1(c, list...)
	r := httptest.NewRequest(http.MethodPost, "/api/v1/write", bytes.NewReader(body))
	r.Header.Set("Content-Type", mediaType)
	by("g", p.name)(r)
	if p.weight > 0 {
		r.URL.RawQuery += fmt.Sprint("&highlander_weight=", p.weight)
	}
	w := httptest.NewRecorder()
	m.h.ServeHTTP(w, r)
	if w.Code >= 300 {
		if w.Code != 503 {
			c.Errorf("%s: status %d: %s", p.name, w.Code, w.Body)
		}
		return false
	}
	for _, s := range list {
		p.took[s.Labels[1].Value] = append(p.took[s.Labels[1].Value], s.Samples[0].Timestamp)
	}
	return true
}

// kill forgets what was not sent.
func (p *prom) kill() { p.dead, p.queues = true, nil }

// run lets time pass.
func (c *colony) run(d time.Duration, proms ...*prom) {
	const step = 250 * time.Millisecond
	for i := range int(d / step) {
		c.clock.advance(step)
		for _, p := range proms {
			p.step(c)
		}
		if i%2 == 0 {
			c.tick()
		}
		if i%8 == 0 {
			c.flush()
		}
		if i%20 == 0 {
			m := c.leading()
			m.h.releaseCopies(context.Background(), m.lead)
			m.h.mend(context.Background(), m.lead)
		}
	}
	c.flush()
}

// delivered is one sample as it goes to the destination.
type delivered struct {
	at     int64
	value  float64
	source string
}

func (c *colony) delivered() map[string][]delivered {
	c.Helper()
	list := make(map[string][]delivered)
	for _, b := range c.log.batches(c.TB) {
		rq := decode(c.TB, b.Body)
		for _, s := range rq.Timeseries {
			name := s.Labels[1].Value
			if name == "wild" {
				continue
			}
			for _, sample := range s.Samples {
				list[name] = append(list[name], delivered{sample.Timestamp, sample.Value, b.Source})
			}
		}
	}
	return list
}

// check is what must hold of every series: no time twice, order, no counter going down, and nothing missing that the source
// which goes on with the series had been told to have.
func (c *colony) check(gapMax time.Duration, proms ...*prom) (largest time.Duration) {
	c.Helper()
	took := make(map[string]*prom)
	for _, p := range proms {
		took[p.name] = p
	}
	for name, list := range c.delivered() {
		for i := 1; i < len(list); i++ {
			before, now := list[i-1], list[i]
			gap := time.Duration(now.at-before.at) * time.Millisecond
			switch {
			case now.at <= before.at:
				c.Fatalf("series %s: %d of %s after %d of %s", name, now.at, now.source, before.at, before.source)
			case now.value < before.value:
				c.Fatalf("series %s: the counter falls by %v between %s and %s", name, before.value-now.value, before.source, now.source)
			case gap > gapMax:
				for _, at := range took[now.source].took[name] {
					if at > before.at+500 && at < now.at {
						c.Fatalf("series %s: nothing between %d of %s and %d of %s (%v), though %d was taken",
							name, before.at, before.source, now.at, now.source, gap, at)
					}
				}
			}
			largest = max(largest, gap)
		}
	}
	g := c.state()
	if int64(g.Standby.Requests) != g.Standby.Kept+int64(g.Standby.Discarded)+int64(g.Standby.Used) {
		c.Fatalf("standby books: %+v", g.Standby)
	}
	return largest
}

func (c *colony) current(want string) {
	c.Helper()
	if got := c.state().Current; got != want {
		c.Fatalf("current source %q, want %q", got, want)
	}
}
