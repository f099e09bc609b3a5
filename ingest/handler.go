package ingest

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/highlander-io/highlander/fsm/wire"
)

const (
	// commitTimeout bounds a request from its last byte to its answer. It is below the 30 s after which Prometheus
	// gives up by itself, so that a 503 gets there.
	commitTimeout = 10 * time.Second
	// proposeTimeout bounds how long an entry may wait to be taken by the log.
	proposeTimeout = 5 * time.Second
)

const (
	noLeader     = "no leader is known; try again"
	notLeader    = "the leadership is changing hands; try again"
	shuttingDown = "shutting down; try again"
)

// Deps is what a Handler works with.
type Deps struct {
	State      State
	Node       Node
	Log        Log
	Gate       Gate // nil: always open
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Now        func() time.Time // nil: time.Now
}

// Handler takes write requests.
type Handler struct {
	options atomic.Pointer[Options]
	state   State
	node    Node
	logs    Log
	gate    Gate
	now     func() time.Time
	log     *slog.Logger
	metrics *metrics

	lead   atomic.Pointer[leadership] // nil unless Lead runs
	budget budget
	active *inflight
	clock  clock

	window    window
	peers     atomic.Pointer[[]Peer]
	holders   holders
	paces     atomic.Pointer[[]sourcePace] // as the last leader told them
	keeper    atomic.Int64                 // the peer that took the last copy
	fullSince atomic.Int64                 // since when the window turns standbys away, Unix nanoseconds; 0: it does not
}

// New returns a Handler. It starts nothing; call Lead while the node leads.
func New(o Options, d Deps) *Handler {
	if d.Gate == nil {
		d.Gate = func() error { return nil }
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	h := &Handler{
		state: d.State, node: d.Node, logs: d.Log, gate: d.Gate, now: d.Now,
		log:    d.Logger.With("component", "ingest"),
		active: newInflight(),
	}
	h.window.id = uuid.NewString()
	h.metrics = newMetrics(d.Registerer, &h.budget, &h.window, h.lonely)
	h.Reload(o)
	return h
}

// Reload replaces the options. Requests that are under way keep theirs.
func (h *Handler) Reload(o Options) {
	o = o.withDefaults()
	h.budget.max.Store(o.MaxInflightBytes)
	h.window.limit(o.WindowBytes)
	h.options.Store(&o)
}

// Drain takes no more requests, waits for those in flight, and commits what is left for the books if this node
// still leads. It is called before the node gives its leadership away.
func (h *Handler) Drain(ctx context.Context) error {
	select {
	case <-h.active.close():
	case <-ctx.Done():
		return fmt.Errorf("ingest: requests in flight: %w", context.Cause(ctx))
	}
	if l := h.lead.Load(); l != nil {
		return h.flush(ctx, l)
	}
	return nil
}

// ServeHTTP takes a write from a client.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.serve(w, r, false) }

// Forwarded takes writes that followers pass on, on ForwardPath of the cluster port.
func (h *Handler) Forwarded() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Set here so that every answer carries it, also the one that says the request came too late.
		w.Header()[headerClock] = []string{strconv.FormatInt(h.now().UnixMilli(), 10)}
		h.serve(w, r, true)
	})
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request, forwarded bool) {
	start := time.Now()
	a := h.take(w, r, forwarded)
	a.write(w)
	h.metrics.observe(a.status(), time.Since(start))
}

// request is a write request after everything that its headers say was checked.
type request struct {
	named
	protocol wire.Protocol
	client   string // host of the client, not of a follower; empty if the source is named
	keeper   string // the window of the follower that it came through, which keeps what the answer tells it to
	body     []byte // as received
}

// take reads top to bottom: what the headers alone decide, then the leader's gate, then the body, then whoever leads.
func (h *Handler) take(w http.ResponseWriter, r *http.Request, forwarded bool) answer {
	if r.Method != http.MethodPost {
		return refuse(badMethod, "writes are POST requests")
	}
	o := h.options.Load()
	protocol, reason := protocolOf(r.Header)
	if reason != "" {
		return refuse(unsupported, reason)
	}
	if r.ContentLength > o.MaxBodyBytes {
		return bodyTooLarge(o)
	}
	name, err := nameOf(r, o)
	if err != nil {
		return refuse(refused, err.Error())
	}
	if !h.active.enter() {
		return refuse(unavailable, shuttingDown)
	}
	defer h.active.leave()

	rq := request{named: name, protocol: protocol}
	ctx := r.Context()
	if forwarded {
		left, err := forwardedDeadline(r, h.now())
		if err != nil {
			return refuse(unavailable, err.Error())
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, left)
		defer cancel()
		rq.keeper = r.Header.Get(headerKeeper)
	}
	l := h.leading()
	switch {
	case l != nil:
		if err := h.gate(); err != nil {
			h.turnAway(l, &rq, o)
			return refuse(unavailable, err.Error())
		}
	case forwarded, h.node.IsLeader():
		return refuse(unavailable, notLeader)
	case h.node.Leader() == nil:
		return refuse(unavailable, noLeader)
	}

	buf, a := h.readBody(w, r, o)
	if buf == nil {
		if l != nil && a.outcome == unavailable {
			h.alive(l, &rq, o)
		}
		return a
	}
	defer buf.release()
	rq.body = buf.b
	if rq.source == "" {
		rq.client = clientOf(r, forwarded)
	}

	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	if l = h.leading(); l != nil {
		return h.admit(ctx, l, &rq, o)
	}
	if forwarded || h.node.IsLeader() {
		return refuse(unavailable, notLeader)
	}
	return h.passOn(ctx, r, &rq, buf)
}

// clientOf returns the client's host, which only a follower may say of somebody else.
func clientOf(r *http.Request, forwarded bool) string {
	if forwarded {
		return hostOf(r.Header.Get(headerClient))
	}
	return hostOf(r.RemoteAddr)
}

// leading returns this node's leadership, or nil if it does not lead or has not yet caught up with having won.
func (h *Handler) leading() *leadership {
	if !h.node.IsLeader() {
		return nil
	}
	return h.lead.Load()
}

// Leads says whether writes are taken here, not passed on: a node that has won an election does so a moment later.
func (h *Handler) Leads() bool { return h.leading() != nil }

// turnAway notes that the gate refused everybody at this time.
func (h *Handler) turnAway(l *leadership, rq *request, o *Options) {
	now := h.now()
	l.refusedAt.Store(&now)
	h.alive(l, rq, o)
}

// alive notes a request that was answered 503 before its body was read as life of the source it names.
func (h *Handler) alive(l *leadership, rq *request, o *Options) {
	if rq.source == "" {
		return
	}
	// At a limit there is nothing to note it in, and the answer is 503 already.
	_, _, _ = l.arrive(rq.arrival(o), o, h.now())
}

// arrival is the request as one source's.
func (rq *request) arrival(o *Options) arrival {
	a := arrival{source: rq.source, weight: rq.weight, bytes: len(rq.body)}
	a.id.Tenant, a.id.Name = rq.tenant, rq.group
	if a.id.Name == "" {
		a.id.Name = o.DefaultGroup
	}
	return a
}
