package ingest

import (
	"context"
	"errors"
	"fmt"

	"github.com/highlander-io/highlander/fsm"
	"github.com/highlander-io/highlander/fsm/wire"
)

// errEpochAhead is the answer where the state knows of a change that this leader has not prepared. It would be a fault of
// its own; a later try finds it mended or the leader replaced.
var errEpochAhead = errors.New("the group's source is changing; try again")

// cross waits until the handover that a current source's claim falls into is open, and notes it as the claim's. It is one
// look at a pointer where there is none. False: the source was replaced meanwhile.
func (h *Handler) cross(ctx context.Context, c *claim) (bool, error) {
	ho := c.group.handover.Load()
	if ho == nil {
		c.fence = nil
		return true, nil
	}
	for ho != nil && ho.epoch > c.epoch { // not in the log when the claim's standing was asked
		ho = ho.before.Load()
	}
	if ho == nil {
		c.fence = nil
		return true, nil
	}
	if ho.epoch < c.epoch {
		return false, errEpochAhead
	}
	if c.fence != ho {
		c.fence, c.parts, c.covered = ho, c.parts[:0], 0 // cut by another fence, or by none
	}
	select {
	case <-ho.opened:
		return true, nil
	case <-ho.void:
		return false, nil
	case <-ctx.Done():
		return false, fmt.Errorf("a change of source is under way; try again: %w", context.Cause(ctx))
	}
}

// cover takes from a claim's parts what was delivered before the turn of its source.
func (h *Handler) cover(wk *work, c *claim) error {
	ho := c.fence
	if c.counts.Samples() == 0 {
		return nil
	}
	if !c.fromKept {
		now := h.now()
		if c.counts.MaxTime <= ho.fence.max {
			ho.below.Store(&now)
		} else {
			ho.above.Store(true)
		}
		if c.counts.MinTime > ho.fence.max {
			if ho.watching(wk.options.Margin, now) {
				ho.watch(wk, c)
			}
			return nil
		}
	}
	parts := c.parts
	c.parts = nil
	for i := range parts {
		if err := h.coverPart(wk, c, parts[i]); err != nil {
			return fmt.Errorf("ingest: cover: %w", err)
		}
	}
	return nil
}

// watch looks for first samples in a request that needs no fence.
func (ho *handover) watch(wk *work, c *claim) {
	ho.mu.Lock()
	defer ho.mu.Unlock()
	meet := func(i int) {
		if s := &wk.scan.Series[i]; s.Reason == "" && s.Counts.Samples() > 0 {
			ho.meetLocked(wk.scan.SeriesHash(i, wk.labels()), s.Counts.MinTime)
		}
	}
	if !c.whole {
		for _, i := range c.pick {
			meet(int(i))
		}
		return
	}
	for i := range wk.scan.Series {
		meet(i)
	}
}

// coverPart covers one body that would be stored otherwise. What is stored is covered, not what came: so a request that is
// shared between sources, or whose replica labels must go, needs no way of its own.
func (h *Handler) coverPart(wk *work, c *claim, part wire.Part) error {
	line, seen := c.fence.fence.line, c.fence.meet
	if c.fromKept {
		line = c.fence.fence.keptLine
		seen = func(hash uint64, first int64) {
			c.stored = append(c.stored, hash)
			c.fence.meet(hash, first)
		}
	}
	scan := &wk.scan
	if c.asCame {
		if !wk.raw.charge(wk.raw.charged + int64(len(wk.raw.b))) { // for what is left of it
			return errors.New(overloaded)
		}
	} else {
		raw, err := h.decodePart(part)
		if err != nil {
			return err
		}
		defer raw.release()
		scan = &wk.second
		scan.MaxStored = fsm.MaxBodyBytes
		if err := scan.Scan(raw.b, wk.request.protocol, wk.labels()); err != nil {
			return err
		}
	}
	if err := c.countFenced(wk, scan); err != nil {
		return err
	}
	out, covered, err := scan.Cover(wk.uncovered[:0], wk.labels(), line, seen)
	if err != nil {
		return err
	}
	wk.uncovered = out
	if covered == 0 {
		c.parts = append(c.parts, part)
		return nil
	}
	c.covered += covered
	scan = &wk.second
	scan.MaxStored = fsm.MaxBodyBytes
	if err := scan.Scan(out, wk.request.protocol, wk.labels()); err != nil {
		return err
	}
	if scan.Counts.Samples() == 0 && scan.Counts.Metadata == 0 && scan.Counts.Exemplars == 0 {
		return nil
	}
	parts, err := scan.Parts(nil, false, true, fsm.MaxBodyBytes)
	c.parts = append(c.parts, parts...)
	return err
}

// countFenced counts what the lines of earlier turns hold back of a kept body. Where the turn has begun before, its own lines
// hold back what a predecessor has passed on as well, which is not the same.
func (c *claim) countFenced(wk *work, scan *wire.Request) error {
	if !c.fromKept || !c.fence.again {
		return nil
	}
	out, fenced, err := scan.Cover(wk.uncovered[:0], wk.labels(), c.fence.fence.line, nil)
	wk.uncovered, c.fenced = out, c.fenced+fenced
	return err
}

// decodePart decodes a body that would be stored; the buffer has room for what is left of it, too.
func (h *Handler) decodePart(part wire.Part) (*buffer, error) {
	size, err := wire.DecodedLen(part.Body)
	if err != nil {
		return nil, err
	}
	raw := newBuffer(&h.budget)
	if !raw.charge(2 * int64(size)) {
		raw.release()
		return nil, errors.New(overloaded)
	}
	if raw.b, err = wire.Decompress(raw.b, part.Body, size); err != nil {
		raw.release()
		return nil, err
	}
	return raw, nil
}

// uncoveredPooledMax is the largest buffer of covered bodies that a desk keeps.
const uncoveredPooledMax = 4 << 20
