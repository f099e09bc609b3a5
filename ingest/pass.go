package ingest

import (
	"context"
	"errors"
	"time"

	"github.com/highlander-io/highlander/fsm"
)

const (
	passTimeout = 10 * time.Second       // for one kept request
	passPause   = 100 * time.Millisecond // before one is tried again
	// passingMax is how many groups pass on what is kept at the same time.
	passingMax = 4
)

// errReplaced ends passing: another source has become current.
var errReplaced = errors.New("ingest: the source was replaced")

// passKept passes on what was kept of the new source, in the order of arrival, then opens the handover to live requests.
// Both ends are under the group's lock: what is put into the window at the same time is either passed on here, or told that
// its source is current.
func (h *Handler) passKept(ctx context.Context, ho *handover) {
	g := ho.group
	key := shelfKey{g.id, ho.change.To}
	for {
		it := h.window.first(key)
		if it == nil {
			g.mu.Lock()
			if it = h.window.first(key); it == nil {
				g.open(ho, h.now())
				g.mu.Unlock()
				break
			}
			g.mu.Unlock()
		}
		switch err := h.passItem(ctx, ho, it); {
		case err == nil:
		case errors.Is(err, errReplaced), ctx.Err() != nil:
			return
		default:
			h.log.Warn("kept samples are not passed on yet", "tenant", g.id.Tenant, "group", g.id.Name, "source", key.source, "err", err)
			if !pause(ctx, passPause) {
				return
			}
		}
	}
	h.explain(ho)
}

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// explain says once what a change of source was about. The leader that made the change has said it, or has died before it
// could: whoever takes an open handover over says what it added.
func (h *Handler) explain(ho *handover) {
	t := ho.sum()
	if ho.again {
		h.log.Info("handover continued after a change of leader", "tenant", ho.group.id.Tenant, "group", ho.group.id.Name,
			"source", ho.change.To, "epoch", ho.epoch, "kept_used", t.used)
		return
	}
	h.log.Info("source changed", "tenant", ho.group.id.Tenant, "group", ho.group.id.Name, "from", ho.change.From, "source", ho.change.To,
		"reason", ho.change.Reason, "epoch", ho.epoch, "boundary_ms", ho.state.Boundary, "kept_used", t.used, "fenced", t.fenced,
		"largest_gap_ms", t.gap, "series", len(ho.fence.lines))
}

// passItem passes one kept request through the fence and enters it into the books.
func (h *Handler) passItem(ctx context.Context, ho *handover, it *keptItem) error {
	ctx, cancel := context.WithTimeout(ctx, passTimeout)
	defer cancel()
	o := h.options.Load()
	wk := newWork(&request{named: it.named, protocol: it.protocol, client: it.client, body: it.body}, o)
	defer wk.release()
	c, err := h.claimKept(wk, ho, it)
	if err != nil {
		return err
	}
	if c.place == pending {
		h.propose(ctx, wk, c)
	}
	if c.place == pending {
		h.await(ctx, wk, c)
	}
	switch c.place {
	case failed:
		return errors.New(c.failure)
	case pending, stood:
		return errReplaced
	}
	used := uint64(0)
	if !c.doubled {
		used = c.counts.Samples() - c.covered
	}
	fenced := c.covered
	if ho.again {
		fenced = 0 // what a predecessor passed on or held back is covered once more, and in its figures already
	}
	ho.count(used, fenced)
	g := ho.group
	g.mu.Lock()
	defer g.mu.Unlock()
	if h.window.remove(it) {
		c.enter(&c.source.books)
		it.book.use(&c.source.books, it.share)
	}
	return nil
}

// claimKept opens a kept request and makes its owner's claim. What cannot be read is waived: it was answered 202 unread, and
// its sender would have been told 400.
func (h *Handler) claimKept(wk *work, ho *handover, it *keptItem) (*claim, error) {
	g := ho.group
	g.mu.Lock()
	s, err := g.source(it.owner.source, wk.options.MaxSources)
	g.mu.Unlock()
	if err != nil {
		return nil, err
	}
	c := wk.add()
	c.group, c.source, c.epoch, c.bytes = g, s, ho.epoch, it.share
	c.fence, c.fromKept = ho, true
	if a, ok := h.open(wk); !ok {
		if a.outcome == unavailable {
			return nil, errors.New(a.reason)
		}
		return h.unreadable(c, a.reason), nil
	}
	wk.scan.MaxStored = fsm.MaxBodyBytes
	if err := wk.scan.Scan(wk.raw.b, it.protocol, wk.labels()); err != nil {
		return h.unreadable(c, err.Error()), nil
	}
	if it.named.source == "" {
		wk.ownersOf(it.owner)
	}
	if it.named.source != "" && wk.scan.Bad == 0 {
		c.takeAll(wk)
	} else {
		wk.distribute()
		c.metadata = it.named.source != ""
	}
	if c.empty() {
		c.place = waived
	}
	return c, nil
}

func (h *Handler) unreadable(c *claim, reason string) *claim {
	h.log.Warn("kept samples cannot be read", "tenant", c.group.id.Tenant, "group", c.group.id.Name, "source", c.source.name, "err", reason)
	c.place = waived
	return c
}

// ownersOf gives the first claim what the labels name as a source's, and nobody the rest.
func (wk *work) ownersOf(key shelfKey) {
	for i := range wk.scan.Identities {
		id := &wk.scan.Identities[i]
		a, reason, detail := wk.resolve(id.Group, id.Source)
		if reason == "" && (a.id != key.group || a.source != key.source) {
			reason = "other"
		}
		wk.owners = append(wk.owners, owner{reason: reason, detail: detail})
	}
}
