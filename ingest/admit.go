package ingest

import (
	"context"
	"fmt"

	"github.com/highlander-io/highlander/fsm"
	"github.com/highlander-io/highlander/fsm/wire"
)

// admit is the leader's way with a request: whose is it, are they current, is it sound, commit it, answer.
func (h *Handler) admit(ctx context.Context, l *leadership, rq *request, o *Options) answer {
	wk := newWork(rq, o)
	defer wk.release()
	a := h.process(ctx, l, wk)
	a.protocol = rq.protocol
	return a
}

func (h *Handler) process(ctx context.Context, l *leadership, wk *work) answer {
	if wk.request.source != "" {
		if _, err := wk.claimFor(l, h, wk.request.arrival(wk.options)); err != nil {
			return refuse(unavailable, err.Error())
		}
		if c := &wk.claims[0]; h.standing(c) == stood {
			c.place = stood
			return h.standbyNamed(ctx, l, wk)
		}
	}
	if a, ok := h.open(wk); !ok {
		return a
	}
	if wk.request.source == "" {
		switch found, a := h.standbyLabelled(l, wk); {
		case a.reason != "":
			return a
		case found:
			return h.conclude(ctx, l, wk)
		}
	}
	wk.scan.MaxStored = fsm.MaxBodyBytes
	if err := wk.scan.Scan(wk.raw.b, wk.request.protocol, wk.labels()); err != nil {
		return refuse(refused, err.Error())
	}
	if most := writtenOut * wk.options.MaxDecodedBytes; wk.scan.WrittenOut > most {
		return refuse(tooLarge, fmt.Sprintf("its labels, exemplars and metadata take %d bytes when each is written out, at most %d are taken; send smaller requests",
			wk.scan.WrittenOut, most))
	}
	need := int64(len(wk.raw.b)) + int64(len(wk.scan.Series))*scannedBytes
	switch {
	case wk.raw.charge(need):
	case need > h.budget.max.Load():
		return refuse(tooLarge, fmt.Sprintf("%d series in one request; send smaller ones", len(wk.scan.Series)))
	default:
		return refuse(unavailable, overloaded)
	}
	return h.opened(ctx, l, wk)
}

// writtenOut is how much larger than a decoded body its texts may be when each series has its own, as in 1.0: an endpoint may
// speak nothing else.
const writtenOut = 8

// scannedBytes is about what is remembered of a series besides its bytes. It is charged when the number of series is known,
// that is, after the fact: what exceeds the budget for that long is bounded by how many scans run at once.
const scannedBytes = 128

// opened goes on with a scanned request.
func (h *Handler) opened(ctx context.Context, l *leadership, wk *work) answer {
	switch {
	case wk.request.source != "" && wk.scan.Bad == 0:
		wk.claims[0].takeAll(wk)
	case wk.request.source != "":
		wk.distribute()
	case len(wk.scan.Series) > 0:
		if err := wk.split(l, h); err != nil {
			return refuse(unavailable, err.Error())
		}
	case wk.scan.Counts.Metadata > 0:
		return h.strayMetadata(ctx, l, wk)
	}
	h.commit(ctx, l, wk)
	return h.conclude(ctx, l, wk)
}

// open decodes the body.
func (h *Handler) open(wk *work) (answer, bool) {
	o, body := wk.options, wk.request.body
	size, err := wire.DecodedLen(body)
	if err != nil {
		return refuse(refused, err.Error()), false
	}
	if int64(size) > o.MaxDecodedBytes {
		return refuse(tooLarge, fmt.Sprintf("the body is larger than %d bytes when decoded", o.MaxDecodedBytes)), false
	}
	wk.raw = newBuffer(&h.budget)
	if !wk.raw.charge(int64(size)) {
		return refuse(unavailable, overloaded), false
	}
	wk.raw.b, err = wire.Decompress(wk.raw.b, body, int(o.MaxDecodedBytes))
	if err != nil {
		wk.raw.b = nil
		return refuse(refused, err.Error()), false
	}
	return answer{}, true
}

// standing says where a claim stands by the replicated state: pending if its source is current, with the epoch, or if
// nobody is.
func (h *Handler) standing(c *claim) place {
	if c.unelected {
		return pending
	}
	current, epoch, ok := h.state.Current(c.group.id)
	switch {
	case !ok:
		c.epoch = 0
		return pending
	case current == c.source.name:
		c.epoch = epoch
		return pending
	}
	return stood
}

// empty is true if there is nothing to keep of a claim.
func (c *claim) empty() bool {
	return len(c.pick) == 0 && (!c.whole || c.counts.Series == 0 && c.counts.Metadata == 0)
}

// settlePlace finds out where a claim stands, and has a source elected if the group has none.
func (h *Handler) settlePlace(ctx context.Context, l *leadership, c *claim) {
	for range rounds {
		c.place = h.standing(c)
		switch {
		case c.place == stood:
			return
		case c.empty():
			c.place = waived
			return
		case c.unelected:
			return
		case c.epoch > 0:
			if open, err := h.cross(ctx, c); err != nil {
				c.fail(err)
				return
			} else if open {
				return
			}
			continue // replaced while it waited
		}
		c.group.mu.Lock()
		c.source.sound = true
		c.group.mu.Unlock()
		if err := h.elect(ctx, l, c.group); err != nil {
			c.fail(err)
			return
		}
	}
	c.fail(errNoCurrent)
}

func (c *claim) fail(err error) { c.place, c.failure = failed, err.Error() }

// conclude makes sure of what was not committed, enters the books, and answers.
func (h *Handler) conclude(ctx context.Context, l *leadership, wk *work) answer {
	if err := h.keep(ctx, wk); err != nil {
		return refuse(unavailable, err.Error())
	}
	if err := h.prove(ctx, wk); err != nil {
		return refuse(unavailable, "cannot confirm that this node leads: "+err.Error())
	}
	a := wk.answer()
	if a.outcome == unavailable {
		return a // it will come again, and be counted then
	}
	if !wk.covered() {
		h.enterBooks(l, wk)
		return a
	}
	id := wk.sentID()
	if l.owed.enter(id) {
		h.enterBooks(l, wk)
	}
	if err := h.flush(ctx, l); err != nil {
		return refuse(unavailable, "what was delivered before cannot be counted now; try again: "+err.Error())
	}
	l.owed.settle(id)
	return a
}

// covered says whether a fence held something of the request back. That is answered like what was accepted, but no batch tells
// of it: unless the books do before the answer, a leader that dies takes the count with it. If they cannot, the request comes
// again, and is in the books already.
func (wk *work) covered() bool {
	for i := range wk.claims {
		if wk.claims[i].covered > 0 {
			return true
		}
	}
	return false
}

// prove makes sure that this node led when it took a source for a standby. It did if anything that was proposed
// later has committed: a batch of the same request will do.
func (h *Handler) prove(ctx context.Context, wk *work) error {
	unproven, committed := 0, 0 // the last rounds of either
	stands := false
	for i := range wk.claims {
		switch c := &wk.claims[i]; {
		case c.place == kept && !c.doubled:
			committed = max(committed, c.round)
		case c.place == stood && !c.proven:
			stands, unproven = true, max(unproven, c.round)
		}
	}
	if !stands || committed > 0 && committed >= unproven {
		return nil
	}
	return h.node.Confirm(ctx)
}

// enterBooks counts what Apply does not see.
func (h *Handler) enterBooks(l *leadership, wk *work) {
	for i := range wk.claims {
		c := &wk.claims[i]
		c.group.mu.Lock()
		switch {
		case c.place != stood:
			c.enter(&c.source.books)
		case c.kept != nil:
			c.kept.book.answer(&c.source.books, c.kept.share)
		default:
			c.source.books.discard(c.bytes)
		}
		if c.fence != nil {
			c.fence.count(0, c.covered) // in the same delta
		}
		c.group.mu.Unlock()
	}
	if len(wk.orphans) > 0 {
		h.enterOrphans(l, wk)
	}
}

// enter counts of an opened claim what Apply does not see.
func (c *claim) enter(b *sourceBooks) {
	if c.doubled {
		b.duplicate += c.counts.Samples() - c.covered
	}
	b.covered += c.covered
	c.rejects.enter(b)
}

func (r rejections) enter(b *sourceBooks) {
	for i := range r {
		b.reject(r[i].reason, r[i].samples)
	}
}

// enterOrphans books what belongs to nobody under the default group and a source without a name.
func (h *Handler) enterOrphans(l *leadership, wk *work) {
	a := arrival{unelected: true}
	a.id.Tenant, a.id.Name = wk.request.tenant, wk.options.DefaultGroup
	g, s, err := l.arrive(a, wk.options, h.now())
	if err != nil {
		return // at the limit of groups there is no page in the books; the answer names the series all the same
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	wk.orphans.enter(&s.books)
}

// answer sums up the claims: the worst outcome, every reason, and what was written.
func (wk *work) answer() answer {
	a := answer{outcome: accepted}
	if len(wk.claims) > 0 {
		a.outcome = standby
	}
	a.kept = wk.notes
	var text rejectionText
	for i := range wk.claims {
		c := &wk.claims[i]
		switch c.place {
		case failed:
			return refuse(unavailable, c.failure)
		case stood:
			a.written.add(c.counts)
			continue
		case kept, waived:
			a.written.add(c.counts)
			a.outcome = max(a.outcome, accepted)
		case pending:
			panic("BUG: ingest: a claim was left where it was")
		}
		text.add(c.rejects)
	}
	text.add(wk.orphans)
	if text.series > 0 {
		a.outcome, a.reason = refused, text.String(len(wk.scan.Series))
	}
	return a
}
