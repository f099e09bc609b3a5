package egress

import (
	"context"
	"math"
	"net/http"
	"strings"
)

const (
	// probesMax is how many requests may be spent on finding the offending series of one refused window as long
	// as nothing of it is accepted. One bad series among ten thousand takes 28 in all.
	probesMax = 128
	// probesProvenMax is the same once something of the window was accepted: most of these requests deliver.
	probesProvenMax = 2048
	// aloneMax bounds the attempts to send the rest of a suspect window as one request again.
	aloneMax = 4
)

// refusedPiece is a piece that the endpoint refused, with its words.
type refusedPiece struct {
	piece  *piece
	result result
}

func (w *window) refuse(p *piece, r result) {
	if p.count() == 0 {
		return // metadata and exemplars are in no book, and nobody could replay them to any use
	}
	w.refusals = append(w.refusals, refusedPiece{p, r})
}

// nothing says whether a refusal took nothing, as far as the endpoint says.
func (r result) nothing() bool { return r.outcome == refused && (!r.confirmed || r.written == 0) }

// repeated says whether the endpoint may have this piece already.
func (p *piece) repeated() bool { return p.w.suspect || p.uncertain }

// repeats says whether a refusal is one that an endpoint gives to samples it has already.
func (r result) repeats() bool {
	if r.outcome != refused {
		return false
	}
	text := strings.ToLower(r.answer)
	if r.status == http.StatusConflict && strings.Contains(text, "conflict") { // Thanos
		return true
	}
	for _, words := range [...]string{"out of order", "out-of-order", "duplicate sample", "duplicate timestamp", "duplicate-timestamp"} {
		if strings.Contains(text, words) {
			return true
		}
	}
	return false
}

// takeApart finds out what of a refused piece is refused.
func (s *sender) takeApart(ctx context.Context, p *piece, r result) error {
	if p.repeated() && r.repeats() {
		return s.byEntry(ctx, p, r)
	}
	return s.bisect(ctx, p, r)
}

// byEntry judges a refused piece that may have been delivered before batch by batch, in log order. What was
// delivered before is a run of whole batches, so an endpoint that rolls back whole requests refuses those
// and takes the others; taken apart by series instead, a series' new samples would be judged with its old.
func (s *sender) byEntry(ctx context.Context, p *piece, r result) error {
	c, err := p.w.takeApart()
	if err != nil {
		return err
	}
	runs := c.byOrigin(p.w, p.series(c))
	if len(runs) < 2 {
		return s.bisect(ctx, p, r)
	}
	meta, alone := p.meta, 0
	for i, run := range runs {
		one := p.some(c, run, meta)
		meta = false
		one.uncertain = true
		got, err := s.push(ctx, one)
		if err != nil {
			return err
		}
		if got.nothing() {
			err = s.bisect(ctx, one, got)
		} else {
			err = s.judge(ctx, one, got)
		}
		if err != nil {
			return err
		}
		if got.outcome != delivered || len(runs)-i <= 2 || alone == aloneMax {
			continue
		}
		alone++
		rest := p.some(c, joined(runs[i+1:]), false)
		rest.uncertain = true
		if got, err = s.push(ctx, rest); err != nil {
			return err
		}
		if got.outcome == delivered {
			s.took(rest, got)
			return nil
		}
	}
	return nil
}

// bisect halves a refused piece, breadth first, until single series are left or the budget is spent. Breadth
// first, because the same budget then shows how widespread the refusal is: of a request that was delivered
// before every part is refused, of one with a few bad series only a few are.
func (s *sender) bisect(ctx context.Context, p *piece, r result) error {
	w, spent, before := p.w, 0, p.w.sent.delivered-p.w.sent.redelivered
	queue := []refusedPiece{{p, r}}
	for len(queue) > 0 {
		it := queue[0]
		queue = queue[1:]
		if done, err := s.repeatedEntries(ctx, it); done || err != nil {
			if err != nil {
				return err
			}
			continue
		}
		halves, err := it.piece.halves()
		if err != nil {
			return err
		}
		taken := w.sent.delivered-w.sent.redelivered > before
		if halves == nil || spent+len(halves) > budget(it, taken) {
			if err := s.leaf(ctx, it); err != nil {
				return err
			}
			continue
		}
		spent += len(halves)
		for _, h := range halves {
			w.probes++
			s.metrics.probes.Inc()
			got, err := s.push(ctx, h)
			if err != nil {
				return err
			}
			if got.nothing() {
				queue = append(queue, refusedPiece{h, got})
				continue
			}
			if err := s.judge(ctx, h, got); err != nil {
				return err
			}
		}
		if hopeless, err := s.hopeless(ctx, w); err != nil || hopeless {
			w.given = append(w.given, queue...)
			return err
		}
	}
	return nil
}

// repeatedEntries judges a part by its batches if it holds several and may have been delivered before.
func (s *sender) repeatedEntries(ctx context.Context, it refusedPiece) (done bool, err error) {
	p := it.piece
	if !p.repeated() || !it.result.repeats() {
		return false, nil
	}
	c, err := p.w.takeApart()
	if err != nil || len(c.byOrigin(p.w, p.series(c))) < 2 {
		return false, err
	}
	return true, s.byEntry(ctx, p, it.result)
}

// budget is how many probes a part may have cost, with all that was taken apart beside it. taken: some of that
// was accepted. Of a batch that was delivered before it means that it was delivered in part (the predecessor fell
// while it was taking it apart, or with lanes in flight), and only single series tell which part.
func budget(it refusedPiece, taken bool) int {
	repeated := it.piece.repeated() && it.result.repeats()
	switch {
	case repeated && taken:
		return math.MaxInt
	case !repeated && it.piece.w.accepted:
		return probesProvenMax
	}
	return probesMax
}

// leaf judges what is not taken apart any further.
func (s *sender) leaf(ctx context.Context, it refusedPiece) error {
	p := it.piece
	if !p.repeated() {
		p.w.refuse(p, it.result)
		return nil
	}
	c, err := p.w.takeApart()
	if err != nil {
		return err
	}
	if len(c.groups(p.series(c))) > 1 { // the budget is spent
		it.whole()
		return nil
	}
	return s.bySample(ctx, it)
}

// probesWorth is how many probes a window is worth in which a refusal is not for repetition: few, unless the endpoint has
// shown that it takes, or has, something of it.
func (w *window) probesWorth() int {
	if w.accepted || w.sent.redelivered > 0 {
		return probesProvenMax
	}
	return probesMax
}

// whole gives a part the outcome that its answer speaks of.
func (it refusedPiece) whole() {
	if it.result.repeats() {
		it.piece.w.tookBefore(it.piece.count())
	} else {
		it.piece.w.refuse(it.piece, it.result)
	}
}

// bySample judges the records of one series in order: the earlier ones may have been delivered before, the
// later ones not, and one among them may be what is refused for good.
func (s *sender) bySample(ctx context.Context, it refusedPiece) error {
	parts, err := it.piece.records()
	if err != nil {
		return err
	}
	if parts == nil || !it.result.repeats() && it.piece.w.probes > it.piece.w.probesWorth() {
		it.whole()
		return nil
	}
	for _, p := range parts {
		p.w.probes++
		got, err := s.push(ctx, p)
		if err != nil {
			return err
		}
		if p.repeated() && got.nothing() {
			err = s.bySample(ctx, refusedPiece{p, got})
		} else {
			err = s.judge(ctx, p, got)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
