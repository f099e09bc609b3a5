package ingest

import (
	"context"

	"github.com/highlander-io/highlander/fsm/wire"
)

// A standby's samples are not needed while the current source delivers the same. What its request tells is that it
// lives and, now and then, how far it is.

// standbyNamed answers a request that URL or headers name as a standby's. Its body stays closed, but for a look about
// twice per preempt_after. A 2.0 body is always looked at: its answer must say what was in it.
func (h *Handler) standbyNamed(ctx context.Context, l *leadership, wk *work) answer {
	c := &wk.claims[0]
	if h.mustLook(c, wk) {
		if a, ok := h.look(wk, c); !ok {
			return a
		}
	}
	return h.conclude(ctx, l, wk)
}

func (h *Handler) mustLook(c *claim, wk *work) bool {
	c.group.mu.Lock()
	defer c.group.mu.Unlock()
	return c.source.lookDue(wk.options, h.now()) || wk.request.protocol == wire.V2
}

// look opens a standby's body for its newest time and its counts.
func (h *Handler) look(wk *work, c *claim) (answer, bool) {
	if wk.raw == nil {
		if a, ok := h.open(wk); !ok {
			return a, false
		}
	}
	h.metrics.looks.Inc()
	newest, counts, err := wire.Newest(wk.raw.b, wk.request.protocol)
	if err != nil {
		return refuse(refused, err.Error()), false
	}
	c.counts = counts
	h.saw(c, newest, counts.Samples(), len(wk.request.body), wk.options)
	return answer{}, true
}

// saw notes what an opened body of a source held.
func (h *Handler) saw(c *claim, newest int64, samples uint64, bytes int, o *Options) {
	current, _, _ := h.state.Current(c.group.id)
	c.group.mu.Lock()
	defer c.group.mu.Unlock()
	now, guard := h.now(), o.Policy.GuardFuture
	ahead := guard + c.group.behind(h.state.Watermark(c.group.id), now, guard)
	reached := newest
	if reached > now.Add(ahead).UnixMilli() {
		reached = c.counts.MinTime // as the state takes it, when it is accepted
	}
	c.source.saw(reached, samples, bytes, c.group.sources[current], o, now, ahead)
	if samples > 0 && !h.wild(c.group, newest, o) {
		c.source.noteLag(newest, h.keptTime(now))
	}
}

// standbyLabelled finds out whether a body without a name belongs to standbys only, by their labels, without checking
// or counting it. It asks the first series first: if that one is of a current source, the body must be read
// whole anyway.
func (h *Handler) standbyLabelled(l *leadership, wk *work) (found bool, a answer) {
	wk.state, wk.others = h.state, false
	if !wk.sight(wk.raw.b[:firstSeries(wk.raw.b, wk.request.protocol)]) {
		return false, answer{}
	}
	for i := range wk.seen {
		wk.seen[i].series = 0
	}
	if !wk.sight(wk.raw.b) {
		return false, answer{}
	}
	return h.claimSightings(l, wk)
}

// sight lists the identities of a body in wk.seen and says whether all of them are standbys of known groups.
func (wk *work) sight(raw []byte) bool {
	err := wire.ScanIdentity(raw, wk.request.protocol, wk.labels(), wk.onIdentity)
	return err == nil && !wk.others && len(wk.seen) > 0
}

// sightingsMax is how many standbys in one body are worth the short way.
const sightingsMax = 8

// noteIdentity is called for every series of a body. The arguments alias it.
func (wk *work) noteIdentity(group, source []byte) {
	if wk.others {
		return
	}
	for i := range wk.seen {
		if s := &wk.seen[i]; s.source == string(source) && s.group == string(group) {
			s.series++
			return
		}
	}
	s := sighting{group: string(group), source: string(source), series: 1}
	var reason string
	s.arrival, reason, _ = wk.resolve(s.group, s.source)
	current, _, known := wk.state.Current(s.arrival.id)
	if reason != "" || s.arrival.unelected || !known || current == s.arrival.source || len(wk.seen) == sightingsMax {
		wk.others = true
		return
	}
	wk.seen = append(wk.seen, s)
}

// claimSightings turns what was seen into claims. Where a look is due but several standbys share the body, the long
// way is taken, as it counts each one's part.
func (h *Handler) claimSightings(l *leadership, wk *work) (found bool, a answer) {
	total := 0
	for i := range wk.seen {
		total += wk.seen[i].series
	}
	for i := range wk.seen {
		s := &wk.seen[i]
		s.arrival.bytes = len(wk.request.body) * s.series / total
		at, err := wk.claimFor(l, h, s.arrival)
		if err != nil {
			return true, refuse(unavailable, err.Error())
		}
		wk.claims[at].place = stood
	}
	if !h.mustLook(&wk.claims[0], wk) {
		return true, answer{}
	}
	if len(wk.claims) > 1 {
		for i := range wk.claims {
			wk.claims[i].place = pending
			wk.claims[i].bytes = 0 // the long way counts them again
		}
		return false, answer{}
	}
	a, _ = h.look(wk, &wk.claims[0])
	return true, a
}
