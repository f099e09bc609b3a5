package ingest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/highlander-io/highlander/fsm"
	"github.com/highlander-io/highlander/fsm/wire"
)

// rounds is how often a claim is placed again after the log has said that the group's source had changed.
const rounds = 3

var (
	errNoDestination = errors.New("no destination is registered yet; try again")
	errLate          = errors.New("too late to be committed; try again")
	errUnsettled     = errors.New("the group's current source keeps changing; try again")
)

// commit proposes everything of a request that belongs to current sources and waits for the log. What the log refuses
// because its source was replaced meanwhile is placed again: then it is a standby's. In every round all claims are placed
// before the first is proposed, so that a batch that commits proves what was said about the others (see prove).
func (h *Handler) commit(ctx context.Context, l *leadership, wk *work) {
	for round := 1; round <= rounds; round++ {
		for c := range wk.pending() {
			c.round = round
			h.settlePlace(ctx, l, c)
			if c.place == stood {
				h.saw(c, c.counts.MaxTime, c.counts.Samples(), c.bytes, wk.options)
			}
		}
		metadata := true // goes with the first claim
		for c := range wk.pending() {
			c.metadata, metadata = metadata, false
			h.propose(ctx, wk, c)
		}
		for c := range wk.pending() {
			h.await(ctx, wk, c)
		}
	}
	for c := range wk.pending() {
		c.fail(errUnsettled)
	}
}

// pending ranges over the claims whose fate is open.
func (wk *work) pending() iter.Seq[*claim] {
	return func(yield func(*claim) bool) {
		for i := range wk.claims {
			if c := &wk.claims[i]; c.place == pending && !yield(c) {
				return
			}
		}
	}
}

// prepare makes the bodies to store of a claim, without what the fence holds back. What is left pending is to be proposed.
func (h *Handler) prepare(wk *work, c *claim) {
	if err := wk.cut(c); err != nil {
		c.fail(err)
		return
	}
	if c.fence != nil {
		if err := h.cover(wk, c); err != nil {
			c.fail(err)
			return
		}
		if len(c.parts) == 0 {
			c.place = waived
			return
		}
	}
	c.id = wk.requestID(c)
}

// propose hands the batches of a claim to the log, unless it was accepted before.
func (h *Handler) propose(ctx context.Context, wk *work, c *claim) {
	if len(c.parts) == 0 {
		if h.prepare(wk, c); c.place != pending {
			return
		}
	}
	switch h.advice(c) {
	case fsm.Duplicate:
		c.place, c.doubled = kept, true
		return
	case fsm.NoDestination:
		c.fail(errNoDestination)
		return
	}
	deadline, _ := ctx.Deadline()
	left := min(proposeTimeout, time.Until(deadline))
	if left <= 0 || ctx.Err() != nil { // its sender has given up: it must not be committed after what comes next
		c.fail(errLate)
		return
	}
	c.futures = c.futures[:0]
	b := fsm.Batch{
		Group: c.group.id, Source: c.source.name, Epoch: c.epoch,
		RequestID: c.id, Parts: uint32(len(c.parts)), Protocol: wk.request.protocol,
		Time: h.timeOf(c.group, wk.options).UnixMilli(),
	}
	if c.unelected {
		b.Flags |= fsm.FlagUnelected
	}
	if c.fromKept {
		b.Flags |= fsm.FlagKept
	}
	for i := range c.parts {
		b.Part, b.Counts, b.Body = uint32(i+1), c.parts[i].Counts, c.parts[i].Body
		entry := b.Append(make([]byte, 0, b.HeaderSize()+len(b.Body))) // the log keeps it
		c.futures = append(c.futures, h.node.Propose(entry, left))
	}
}

// advice is what Apply would say now. That the source is not current any more is left to Apply, whose word needs no proof.
func (h *Handler) advice(c *claim) fsm.Verdict {
	if c.unelected {
		return h.state.AdmitsUnelected(c.id)
	}
	return h.state.Admits(c.group.id, c.source.name, c.epoch, c.id)
}

// cut makes the bodies to store. A body is kept as it came unless a replica label must go, a series was refused, it is
// shared between sources, or it is too large for one entry.
func (wk *work) cut(c *claim) error {
	fits := len(wk.request.body) <= fsm.MaxBodyBytes && wk.scan.WrittenOut <= wire.WrittenOutMax
	if c.asCame = c.whole && !wk.scan.Replica && fits; c.asCame {
		c.parts = append(c.parts, wire.Part{Body: wk.request.body, Counts: c.counts})
		return nil
	}
	pick := c.pick
	if c.whole {
		pick = nil
	}
	parts, err := wk.scan.Parts(pick, true, c.metadata, fsm.MaxBodyBytes)
	if err != nil {
		return fmt.Errorf("ingest: cut a request: %w", err)
	}
	if len(parts) == 0 {
		return errors.New("ingest: cut a request: nothing is left of it")
	}
	c.parts = parts
	return nil
}

// requestID hashes what makes a request the same one when it is sent again. If it has several parts, where it was
// cut belongs to that: after a change of options or of version a second copy may be cut elsewhere, and a part of it
// must not be taken for the part of the same number of the first.
func (wk *work) requestID(c *claim) fsm.RequestID {
	hash := &wk.hash
	hashRequest(hash, c.group.id, c.source.name, wk.request.body)
	if len(c.parts) > 1 {
		var n [4]byte
		for i := range c.parts {
			binary.LittleEndian.PutUint32(n[:], uint32(len(c.parts[i].Body)))
			_, _ = hash.Write(n[:])
		}
	}
	return fsm.RequestID(hash.Sum128().Bytes())
}

// await learns what the log made of a claim's batches.
func (h *Handler) await(ctx context.Context, wk *work, c *claim) {
	fresh, replaced := 0, false
	for _, f := range c.futures {
		response, _, err := f.Wait(ctx)
		if err != nil {
			c.fail(fmt.Errorf("not committed, try again: %w", err))
			return
		}
		switch verdict, _ := response.(fsm.Verdict); verdict {
		case fsm.Accepted:
			fresh++
		case fsm.Duplicate:
		case fsm.NotCurrent:
			replaced = true
		case fsm.NoDestination:
			c.fail(errNoDestination)
			return
		default:
			c.fail(fmt.Errorf("the log answered %v", response))
			return
		}
	}
	if replaced {
		h.displaced(c)
		return
	}
	c.place = kept
	h.note(wk, c, fresh == len(c.parts))
}

// displaced places a claim again that was proposed for a source which is not current any more. That it is not is the
// log's own word and needs no further proof.
func (h *Handler) displaced(c *claim) {
	if h.standing(c) == stood {
		c.place, c.proven = stood, true
	}
}

// timeOf is the time of a group's next batch.
func (h *Handler) timeOf(g *group, o *Options) time.Time {
	now, watermark := h.now(), h.state.Watermark(g.id)
	g.mu.Lock()
	defer g.mu.Unlock()
	return now.Add(g.behind(watermark, now, o.Policy.GuardFuture))
}

// note remembers what an accepted claim says about its source.
func (h *Handler) note(wk *work, c *claim, fresh bool) {
	h.saw(c, c.counts.MaxTime, c.counts.Samples(), c.bytes, wk.options)
	if !fresh || c.unelected {
		return
	}
	now := h.now()
	c.group.mu.Lock()
	if c.counts.Samples() > 0 && !c.fromKept {
		reached := c.counts.MaxTime
		if h.wild(c.group, reached, wk.options) {
			reached = c.counts.MinTime // it has come at least as far
		}
		if !h.wild(c.group, reached, wk.options) {
			c.source.slowest.note(now, reached, c.source.slowMemory())
		}
	}
	pick := c.pick
	if c.whole {
		pick = nil
	}
	breaches, labels := c.source.order.check(&wk.scan, pick, wk.options.Pairs, wk.label)
	first := c.source.order.breaches == breaches
	c.group.mu.Unlock()
	wk.label = labels
	if breaches == 0 {
		return
	}
	h.metrics.outOfOrder.WithLabelValues(c.group.id.Tenant, c.group.id.Name, c.source.name).Add(float64(breaches))
	if first {
		h.log.Warn("timestamps go backwards within one source; do two servers send under one name?",
			"tenant", c.group.id.Tenant, "group", c.group.id.Name, "source", c.source.name)
	}
}
