package ingest

import (
	"context"

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
