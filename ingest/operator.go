package ingest

import (
	"context"

	"github.com/highlander-io/highlander/fsm"
)

// CommitBooks commits what the books hold of the leader's own knowledge now and not at the next interval. With it the
// replicated state learns the names of sources that have only ever been standbys, before an operator's command names one.
func (h *Handler) CommitBooks(ctx context.Context) error {
	if l := h.lead.Load(); l != nil {
		return h.flush(ctx, l)
	}
	return nil
}

// Forget drops what the leader knows of a source that an operator had the replicated state forget. What is owed
// to the books stays until it is committed; a source that goes on sending is simply a new one.
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
	if s := g.sources[source]; s != nil && s.books.empty() {
		delete(g.sources, source)
		h.metrics.forget(id, source)
	}
}
