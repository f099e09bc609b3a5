package egress

import (
	"context"
	"net/http"
	"strings"
)

const (
	// probesMax is how many requests may be spent on finding the offending series of one refused window as long
	// as nothing of it is accepted. One bad series among ten thousand takes 28 in all.
	probesMax = 128
	// probesProvenMax is the same once something of the window was accepted: most of these requests deliver.
	probesProvenMax = 2048
	// probesEntryMin is the least of them that a single batch gets where batches are judged one by one.
	probesEntryMin = 16
	// aloneMax bounds the attempts to send the rest of a suspect window as one request again.
	aloneMax = 4
)

// refusedPiece is a piece that the endpoint refused, with its words.
type refusedPiece struct {
	piece  *piece
	result result
}

func (w *window) refuse(p *piece, r result) {
	if p.samples == 0 {
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
	if r.status == http.StatusConflict {
		return true
	}
	text := strings.ToLower(r.answer)
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
	return s.bisect(ctx, p, r, probesMax)
}

// byEntry judges a refused piece that may have been delivered before batch by batch, in log order. What was
// delivered before is a run of whole batches, so an endpoint that rolls back whole requests refuses those
// and takes the others; taken apart by series instead, a series' new samples would be judged with its old.
func (s *sender) byEntry(ctx context.Context, p *piece, r result) error {
	c, err := p.w.takeApart()
	if err != nil {
		return err
	}
	runs := c.byOrigin(p.series(c))
	if len(runs) < 2 {
		return s.bisect(ctx, p, r, probesMax)
	}
	budget := max(probesMax/len(runs), probesEntryMin)
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
			err = s.bisect(ctx, one, got, budget)
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
func (s *sender) bisect(ctx context.Context, p *piece, r result, budget int) error {
	w, spent := p.w, 0
	queue := []refusedPiece{{p, r}}
	for len(queue) > 0 {
		it := queue[0]
		queue = queue[1:]
		halves, err := it.piece.halves()
		if err != nil {
			return err
		}
		if w.accepted && !(it.piece.repeated() && it.result.repeats()) {
			budget = max(budget, probesProvenMax)
		}
		if halves == nil || spent+len(halves) > budget {
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

// leaf judges what is not taken apart any further.
func (s *sender) leaf(ctx context.Context, it refusedPiece) error {
	p := it.piece
	if !p.repeated() || !it.result.repeats() {
		p.w.refuse(p, it.result)
		return nil
	}
	c, err := p.w.takeApart()
	if err != nil {
		return err
	}
	if len(c.groups(p.series(c))) > 1 { // the budget is spent
		p.w.tookBefore(p.samples)
		return nil
	}
	return s.bySample(ctx, it)
}

// bySample judges the records of one series in order: the earlier ones may have been delivered before, the
// later ones not.
func (s *sender) bySample(ctx context.Context, it refusedPiece) error {
	parts, err := it.piece.records()
	if err != nil {
		return err
	}
	if parts == nil || it.piece.w.probes >= 2*probesMax {
		it.piece.w.tookBefore(it.piece.samples)
		return nil
	}
	for _, p := range parts {
		p.w.probes++
		got, err := s.push(ctx, p)
		if err != nil {
			return err
		}
		if p.repeated() && got.repeats() && got.nothing() {
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
