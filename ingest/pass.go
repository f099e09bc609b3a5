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

// passKept passes on what was kept of the new source, in the order of arrival of each series, then opens the handover to
// live requests.
func (h *Handler) passKept(ctx context.Context, ho *handover) {
	p := h.newPassage(ho)
	for {
		switch err := p.pass(ctx); {
		case err == nil:
			if p.open() {
				h.explain(ho)
				return
			}
		case errors.Is(err, errReplaced), ctx.Err() != nil:
			return
		default:
			h.log.Warn("kept samples are not passed on yet", "tenant", p.key.group.Tenant, "group", p.key.group.Name, "source", p.key.source, "err", err)
			if !pause(ctx, passPause) {
				return
			}
		}
	}
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
			"source", ho.change.To, "epoch", ho.epoch, "kept_used", t.used-ho.fence.past.used)
		return
	}
	h.log.Info("source changed", "tenant", ho.group.id.Tenant, "group", ho.group.id.Name, "from", ho.change.From, "source", ho.change.To,
		"reason", ho.change.Reason, "epoch", ho.epoch, "boundary_ms", ho.state.Boundary, "kept_used", t.used, "fenced", t.fenced,
		"largest_gap_ms", t.gap, "series", len(ho.fence.lines))
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
