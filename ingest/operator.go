package ingest

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/highlander-io/highlander/fsm"
)

// Introduce makes the replicated state know a source that has only ever been a standby, before an operator's command
// names it: it would learn the name with the next books otherwise. A source that this leader has not seen stays unknown.
func (h *Handler) Introduce(ctx context.Context, id fsm.GroupID, source string) error {
	l := h.lead.Load()
	if l == nil {
		return nil
	}
	if g := l.known(id); g != nil {
		g.mu.Lock()
		if s := g.sources[source]; s != nil && !s.bystander {
			s.books.name = true
		}
		g.mu.Unlock()
	}
	return h.flush(ctx, l)
}

// GiveUp drops what is kept of a source that an operator wants forgotten, and counts it as discarded: who is gone for good
// will not go on with it. A source of which something is kept and that has not been silent for long enough is no such source:
// it would be back with its next request, and what is kept of it may be needed before. A source may be back at any moment, also
// while members are being told: what arrives from now on is not given up, here or there.
func (h *Handler) GiveUp(ctx context.Context, id fsm.GroupID, source string) error {
	l, until := h.lead.Load(), h.window.next()
	state, _ := h.state.Group(id)
	if l == nil || state.Current == source || state.Pinned == source {
		return nil // the log refuses it
	}
	if g := l.known(id); g != nil {
		gone, err := h.giveUp(l, g, source, until)
		if err != nil {
			return err
		}
		if gone > 0 {
			h.log.Info("kept samples of a source that is forgotten were given up",
				"tenant", id.Tenant, "group", id.Name, "source", source, "requests", gone)
		}
	}
	h.tellGone(ctx, l, shelfKey{id, source}, until)
	return h.flush(ctx, l)
}

// giveUp drops what arrived before a time. A request that arrived before it was answered or has failed by then: a silence of less
// than it may take is not long enough.
func (h *Handler) giveUp(l *leadership, g *group, source string, until int64) (requests int, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.sources[source]
	if s == nil || h.window.first(shelfKey{g.id, source}) == nil {
		return 0, nil
	}
	now := h.now()
	last, what := s.pace.last, "it still sends"
	if last.Before(l.since) {
		last, what = l.since, "the leader is a new one and may not have heard of it yet"
	}
	if left := max(s.patience(h.options.Load()), commitTimeout) - now.Sub(last); left > 0 {
		return 0, fmt.Errorf("%w: samples of it are kept for a handover, and %s; stop it, and try again in %v",
			fsm.ErrInUse, what, left.Round(time.Second)+time.Second)
	}
	list := h.window.release(shelfKey{g.id, source}, until)
	for _, it := range list {
		it.book.drop(&s.books, it.share)
	}
	return len(list), nil
}

// tellGone lets members drop what they hold of a source, but for what arrived since. Whoever does not hear it drops it with the
// next releases.
func (h *Handler) tellGone(ctx context.Context, l *leadership, key shelfKey, until int64) {
	h.tellMembers(ctx, l, releaseOrder{Before: math.MinInt64, Paces: h.intervals(l), Sources: []releaseUntil{key.until(until)}})
}

// Forget drops what the leader knows of a source that an operator had the replicated state forget. What is owed
// to the books stays until it is committed; a source that goes on sending is simply a new one, and known by what is kept of it.
func (h *Handler) Forget(id fsm.GroupID, source string) {
	l := h.lead.Load()
	if l == nil {
		return
	}
	l.mu.RLock()
	g := l.groups[id]
	l.mu.RUnlock()
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if s := g.sources[source]; s != nil && s.books.empty() && h.window.first(shelfKey{id, source}) == nil {
		delete(g.sources, source)
		h.metrics.forget(id, source)
	}
}
