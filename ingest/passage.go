package ingest

import (
	"context"
	"errors"
	"math"
)

const (
	// flightsMax and flightBytesMax bound what is proposed of kept requests and not settled, in requests and in their bytes
	// as decoded.
	flightsMax     = 64
	flightBytesMax = 8 << 20
)

// passage is the way of a new source's kept requests into the log. Several are on it at once, but never two that share a
// series: a request is proposed once all that came before it and share a series with it have committed. So the order of each
// series holds whichever of them fail, without a word about the order in which the log takes or refuses proposals.
type passage struct {
	h      *Handler
	ho     *handover
	key    shelfKey
	flying []*flight
	bytes  int
	series map[uint64]struct{} // that flying ones store, by SeriesHash
	known  map[*keptItem]bool  // what was in the window at the last look
	tried  map[*keptItem]bool  // whose proposal failed; it may have committed all the same
	latest int64               // arrival of the latest one that was proposed
}

// flight is one kept request on its way.
type flight struct {
	item   *keptItem
	work   *work
	ctx    context.Context
	cancel context.CancelFunc
}

func (f *flight) claim() *claim { return &f.work.claims[0] }

func (h *Handler) newPassage(ho *handover) *passage {
	return &passage{
		h: h, ho: ho, key: shelfKey{ho.group.id, ho.change.To},
		series: make(map[uint64]struct{}), tried: make(map[*keptItem]bool), latest: math.MinInt64,
	}
}

// pass passes on what the window holds now. After an error everything that has not committed is still there, in its place.
func (p *passage) pass(ctx context.Context) error {
	items := p.h.window.shelf(p.key)
	before := p.known
	p.known = make(map[*keptItem]bool, len(items))
	for _, it := range items {
		p.known[it] = true
	}
	for _, it := range items {
		if it.arrived < p.latest && !before[it] {
			p.refuse(it)
			continue
		}
		if err := p.send(ctx, it); err != nil {
			return errors.Join(err, p.settle(0))
		}
	}
	return p.settle(0)
}

// refuse drops what a member has offered only after younger requests had been passed on: it could only follow them.
func (p *passage) refuse(it *keptItem) {
	g := p.ho.group
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.sources[it.owner.source]
	if s == nil || !p.h.window.remove(it) {
		return
	}
	it.book.drop(&s.books, it.share)
	p.h.log.Warn("kept samples were found too late: younger ones have been passed on",
		"tenant", g.id.Tenant, "group", g.id.Name, "source", s.name)
}

// send proposes one request, after those that it must not overtake.
func (p *passage) send(ctx context.Context, it *keptItem) error {
	f := &flight{item: it}
	f.work = newWork(&request{named: it.named, protocol: it.protocol, client: it.client, body: it.body}, p.h.options.Load())
	c, err := p.h.claimKept(f.work, p.ho, it)
	if err == nil && c.place == pending {
		if p.h.prepare(f.work, c); c.place == failed {
			err = errors.New(c.failure)
		}
	}
	if err == nil {
		err = p.clear(f)
	}
	if err != nil {
		f.work.release()
		return err
	}
	p.latest = max(p.latest, it.arrived)
	f.ctx, f.cancel = context.WithTimeout(ctx, passTimeout)
	if c.place == pending {
		p.h.propose(f.ctx, f.work, c)
	}
	p.flying = append(p.flying, f)
	p.bytes += len(f.work.rawBytes())
	for _, hash := range c.stored {
		p.series[hash] = struct{}{}
	}
	return nil
}

// clear waits until a flight has room and shares no series with those before it.
func (p *passage) clear(f *flight) error {
	for len(p.flying) > 0 {
		full := len(p.flying) >= flightsMax || p.bytes+len(f.work.rawBytes()) > flightBytesMax
		if !full && !p.meets(f) {
			return nil
		}
		if err := p.settle(len(p.flying) - 1); err != nil {
			return err
		}
	}
	return nil
}

func (p *passage) meets(f *flight) bool {
	for _, hash := range f.claim().stored {
		if _, flies := p.series[hash]; flies {
			return true
		}
	}
	return false
}

// settle waits for the eldest flights until so many are left. If one fails it waits for all the others as well.
func (p *passage) settle(left int) (err error) {
	for len(p.flying) > left {
		f := p.flying[0]
		p.flying = p.flying[1:]
		if failed := p.land(f); failed != nil {
			err, left = errors.Join(err, failed), 0
		}
	}
	return err
}

// land learns what became of a flight and enters it into the books.
func (p *passage) land(f *flight) error {
	defer f.work.release()
	defer f.cancel()
	c := f.claim()
	p.bytes -= len(f.work.rawBytes())
	for _, hash := range c.stored {
		delete(p.series, hash)
	}
	if c.place == pending {
		p.h.await(f.ctx, f.work, c)
	}
	switch c.place {
	case failed:
		p.tried[f.item] = true
		return errors.New(c.failure)
	case pending, stood:
		return errReplaced
	}
	g := p.ho.group
	g.mu.Lock()
	defer g.mu.Unlock()
	p.account(f)
	if p.h.window.remove(f.item) {
		c.enter(&c.source.books)
		f.item.book.use(&c.source.books, f.item.share)
	}
	return nil
}

// account enters what became of a flight into the handover's account. Of what a predecessor has passed on already the books know: what
// it delivered Apply has counted, and what it held back is in the delta that told of it.
func (p *passage) account(f *flight) {
	c, used := f.claim(), uint64(0)
	if !c.doubled || p.tried[f.item] {
		used = c.counts.Samples() - c.covered
	}
	if !p.ho.again {
		p.ho.count(used, c.covered)
		return
	}
	p.ho.count(used, 0)
	c.covered, c.doubled = p.ho.recount(c.fenced), false
}

// open lets live requests pass, if nothing is left in the window. What is put into it is put there under the group's lock:
// it is either seen here, or told that its source is current.
func (p *passage) open() bool {
	g := p.ho.group
	g.mu.Lock()
	defer g.mu.Unlock()
	if p.h.window.first(p.key) != nil {
		return false
	}
	p.ho.passed = p.h.window.next()
	g.open(p.ho, p.h.now())
	return true
}
