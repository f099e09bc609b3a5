package ingest

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/google/uuid"
)

const (
	tickInterval   = 500 * time.Millisecond // how often the rule is asked without an arrival
	flushInterval  = 2 * time.Second        // how often the books are committed while there is something
	forgetInterval = time.Minute
	// releaseInterval is how often members are told what they may drop, and get copies of what is on this node alone.
	releaseInterval = 5 * time.Second
	farewell        = time.Second // for the last flush
)

// Lead keeps the leader's side alive until ctx ends: it asks the election rule, commits the books and forgets what has
// gone silent. The caller runs it while the node leads, after everything of earlier terms is applied.
func (h *Handler) Lead(ctx context.Context) error {
	l := newLeadership(uuid.NewString(), h.now())
	h.takeOver(l)
	h.lead.Store(l)
	defer l.tasks.Wait()
	defer l.over.Store(true)
	defer h.metrics.outOfOrder.Reset() // who leads next forgets sources; this node would show them for ever
	defer h.lead.CompareAndSwap(l, nil)
	l.tasks.Go(func() {
		h.collect(ctx, l)
		l.wake()
		l.tasks.Go(func() { h.mend(ctx, l) })
		h.workHandovers(ctx, l)
	})
	releases := time.NewTicker(releaseInterval)
	defer releases.Stop()
	ticks := time.NewTicker(tickInterval)
	defer ticks.Stop()
	flushes := time.NewTicker(flushInterval)
	defer flushes.Stop()
	forgets := time.NewTicker(forgetInterval)
	defer forgets.Stop()
	var failing streak
	for {
		select {
		case <-ctx.Done():
			return h.leave(ctx, l)
		case <-ticks.C:
			h.tick(ctx, l)
			if l.collected.Load() {
				h.collectLate(ctx, l)
			}
		case <-releases.C:
			l.tasks.Go(func() {
				h.releaseCopies(ctx, l) // the answers say whose window is a new one
				h.mend(ctx, l)
			})
		case <-flushes.C:
			failing.books(h.log, h.flush(ctx, l))
		case <-forgets.C:
			h.forget(l)
		}
	}
}

// leave commits what is left, if this node can still commit.
func (h *Handler) leave(ctx context.Context, l *leadership) error {
	if !h.node.IsLeader() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	if err := h.flush(ctx, l); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		h.log.Warn("last books were not committed", "err", err)
	}
	return nil
}

// forget drops sources and groups that have been silent for forget_after, with their metrics. The replicated state
// keeps what it knows of them.
func (h *Handler) forget(l *leadership) {
	o, now := h.options.Load(), h.now()
	for _, g := range l.all() {
		if h.forgetSilent(l, g, now.Add(-o.ForgetAfter)) == 0 {
			l.drop(g)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, until := range l.metadata {
		if now.After(until) {
			delete(l.metadata, key)
		}
	}
	h.metrics.groups.Set(float64(len(l.groups)))
}

// forgetSilent drops silent sources and returns how many are left. What is owed to the books stays until it is committed.
// What is still kept of a source that is forgotten will not be asked for: it would take others' room for ever.
func (h *Handler) forgetSilent(l *leadership, g *group, before time.Time) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	for name, s := range g.sources {
		if l.since.After(before) || !s.pace.last.Before(before) || g.electing != nil || g.handover.Load() != nil {
			continue
		}
		if gone := h.window.release(shelfKey{g.id, name}, math.MaxInt64); len(gone) > 0 {
			for _, it := range gone {
				it.book.drop(&s.books, it.share)
			}
			h.log.Warn("kept samples of a source that was silent for too long were given up",
				"tenant", g.id.Tenant, "group", g.id.Name, "source", name, "requests", len(gone))
		}
		if s.books.empty() {
			delete(g.sources, name)
			h.metrics.forget(g.id, name)
		}
	}
	return len(g.sources)
}

// drop removes a group that is still empty. A request that found it just before keeps a group of its own, whose books
// would be lost: so the group is marked, and arrive looks again.
func (l *leadership) drop(g *group) {
	l.mu.Lock()
	defer l.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.sources) == 0 {
		g.gone = true
		delete(l.groups, g.id)
	}
}
