package ingest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/highlander-io/highlander/fsm"
)

// What standbys send is kept until the current source has delivered the same: then it can be continued exactly where it
// stopped. This is the leader's part of it; copies.go sees to the second node.

// keptSlack is by how much an estimate of how new a standby's samples are may be wrong.
const keptSlack = 5 * time.Second

// errTurned is the answer to a source that has become the current one while its request was being kept.
var errTurned = errors.New("the source has just become the current one; try again")

// keep stores the share of each standby in a request, here and on another node.
func (h *Handler) keep(ctx context.Context, wk *work) error {
	for i := range wk.claims {
		c := &wk.claims[i]
		if c.place != stood || c.scanned && c.counts.Samples() == 0 {
			continue
		}
		if err := h.keepClaim(wk, c); err != nil {
			return err
		}
	}
	return h.secondCopy(ctx, wk)
}

// keepClaim puts a claim into the window. Whether its source is still a standby is asked under the group's lock, under
// which passing kept samples ends as well (see pass): so nothing is left behind in a window that nobody looks into.
func (h *Handler) keepClaim(wk *work, c *claim) error {
	id := wk.keptID(c)
	it := h.window.get(id)
	fresh := it == nil
	if fresh && h.window.room(len(wk.request.body)) {
		it = wk.keptItem(c, id)
	}
	c.group.mu.Lock()
	defer c.group.mu.Unlock()
	if h.standing(c) != stood {
		return errTurned
	}
	// A body that comes again was not answered: a member may have had no room for its copy.
	c.source.stuck = !fresh || it == nil
	if it == nil {
		return h.windowFull(c)
	}
	kept, err := h.window.take(it, h.keptTime(h.now()).UnixMicro())
	if err != nil {
		c.source.stuck = true
		return h.windowFull(c)
	}
	c.kept = kept
	return nil
}

// keptItem is a copy of the request as the claim's source's. Names are those of the group and the source, which live
// longer than a request.
func (wk *work) keptItem(c *claim, id fsm.RequestID) *keptItem {
	rq := wk.request
	it := &keptItem{
		id: id, owner: shelfKey{c.group.id, c.source.name}, protocol: rq.protocol, share: c.bytes,
		body: bytes.Clone(rq.body), client: strings.Clone(rq.client),
	}
	it.named = named{tenant: c.group.id.Tenant, group: strings.Clone(rq.group)}
	if rq.source != "" {
		it.named.group, it.named.source = c.group.id.Name, c.source.name
	}
	return it
}

// keptID tells bodies apart, as requestID does; the same body of the same source is kept once.
func (wk *work) keptID(c *claim) fsm.RequestID {
	return keptID(&wk.hash, c.group.id, c.source.name, wk.request.body)
}

func keptID(hash *xxh3.Hasher, id fsm.GroupID, source string, body []byte) fsm.RequestID {
	hashRequest(hash, id, source, body)
	return fsm.RequestID(hash.Sum128().Bytes())
}

// sentID tells requests apart as they were sent, whoever they turn out to be of.
func (wk *work) sentID() fsm.RequestID {
	rq := wk.request
	hashRequest(&wk.hash, fsm.GroupID{Tenant: rq.tenant, Name: rq.group}, rq.source, rq.body)
	_, _ = wk.hash.WriteString(rq.client)
	return fsm.RequestID(wk.hash.Sum128().Bytes())
}

// hashRequest hashes what makes a request the same one when it is sent again.
func hashRequest(hash *xxh3.Hasher, id fsm.GroupID, source string, body []byte) {
	hash.Reset()
	var n [4]byte
	for _, s := range [...]string{id.Tenant, id.Name, source} {
		binary.LittleEndian.PutUint32(n[:], uint32(len(s)))
		_, _ = hash.Write(n[:])
		_, _ = hash.WriteString(s)
	}
	_, _ = hash.Write(body)
}

// windowFull says once per streak that standbys are turned away.
func (h *Handler) windowFull(c *claim) error {
	h.metrics.windowFull.Inc()
	if h.fullSince.CompareAndSwap(0, h.now().UnixNano()) {
		h.log.Warn("the handover window is full: standbys get 503 and keep their samples themselves; "+
			"does a current source lag behind?", "tenant", c.group.id.Tenant, "group", c.group.id.Name, "source", c.source.name)
	}
	return errWindowFull
}

// release drops what current sources have passed by the margin.
func (h *Handler) release(l *leadership) {
	o, now := h.options.Load(), h.now()
	for key := range h.window.oldest() {
		g := l.known(key.group)
		if g == nil {
			continue
		}
		current, _, _ := h.state.Current(key.group)
		if current == key.source {
			continue // it is being passed on
		}
		g.mu.Lock()
		if before, ok := g.covered(key.source, current, o, now); ok {
			for _, it := range h.window.release(key, before) {
				it.book.drop(&g.sources[key.source].books, it.share)
			}
		}
		g.mu.Unlock()
	}
	if items, bytes := h.window.held(); items == 0 || bytes < o.WindowBytes*3/4 {
		h.fullSince.Store(0)
	}
}

// covered returns the arrival, in Unix microseconds, before which everything that a standby sent is older than the
// slowest pace of the current source less the margin. The caller holds g.mu.
func (g *group) covered(standby, current string, o *Options, now time.Time) (before int64, ok bool) {
	s, c := g.sources[standby], g.sources[current]
	if ho := g.handover.Load(); s == nil || c == nil || ho != nil && !ho.isOpen() {
		return 0, false // nobody's pace counts while the source changes
	}
	pace, ok := c.slowest.pace(now, c.slowMemory())
	if !ok {
		return 0, false
	}
	line := time.UnixMilli(pace).Add(-o.Margin - keptSlack + s.lagBeside(c, o))
	return line.UnixMicro(), true
}

// slowMemory is for how long a request of a source counts for its slowest pace.
func (s *source) slowMemory() time.Duration {
	interval := s.pace.interval
	if interval == 0 {
		interval = presumedInterval
	}
	return max(slowestMin, 2*interval)
}

// keptFrom returns the sample time from which on everything is kept of a source. The caller holds g.mu.
func (h *Handler) keptFrom(g *group, s *source, current string) int64 {
	it := h.window.first(shelfKey{g.id, s.name})
	if it == nil {
		return fsm.NoneKept
	}
	return it.arrivedMs() + (keptSlack - s.lagBeside(g.sources[current], h.options.Load())).Milliseconds()
}

// keptTime is the time by which what is kept arrives.
func (h *Handler) keptTime(now time.Time) time.Time {
	if l := h.lead.Load(); l != nil {
		return l.time(now)
	}
	return now
}

// clockErrorMax is by how much a clock may be wrong. What is further ahead is a time that no clock has shown, such as one in
// microseconds: it says nothing about when its body was sent.
const clockErrorMax = 24 * time.Hour

// wild says whether a sample's time is none that a clock can have shown. The caller holds g.mu.
func (h *Handler) wild(g *group, ms int64, o *Options) bool {
	now := h.now()
	return ms > now.Add(clockErrorMax+g.behind(h.state.Watermark(g.id), now, o.Policy.GuardFuture)).UnixMilli()
}

// noteLag learns by how much the newest sample of a body lags behind its arrival, at least. It is negative where the
// source's clock is ahead of the leader's.
func (s *source) noteLag(newest int64, now time.Time) {
	lag := now.Sub(time.UnixMilli(newest))
	if !s.lagKnown || lag < s.lag {
		s.lag, s.lagKnown = lag, true
	}
}

// lagBeside is the lag of a standby, whose clock counts as far as it is believed beside the current source's: what it sends
// could otherwise not be released for as long as it is ahead. Where both are ahead alike it is the leader's that is behind.
func (s *source) lagBeside(current *source, o *Options) time.Duration {
	least := -o.Policy.GuardFuture
	if current != nil && current.lagKnown {
		least += min(current.lag, 0)
	}
	return max(s.lag, least)
}
