package egress

import (
	"context"
	"fmt"
	"slices"

	"github.com/highlander-io/highlander/fsm/wire"
)

const (
	// unrelatedMax is how many requests in a row may yield nothing accepted before the endpoint, not the
	// samples, is held to be at fault.
	unrelatedMax = 3
	// hopelessAfter is the number of probes without a success after which an empty request is tried.
	hopelessAfter = 8
	// overtakeEvery is every which probe of a held endpoint also tries the windows behind the first.
	overtakeEvery = 4
	// pendingMax bounds the undecided windows, those included that hold nothing to refuse.
	pendingMax = 16
)

// process decides a window, together with those that wait for it. A window of which nothing was accepted
// stays undecided until another one is accepted (then it was poison) or until it is clear that the endpoint
// accepts nothing (then it is sent again when the endpoint is mended). Windows behind it go out meanwhile: what
// is accepted of them is the proof.
func (s *sender) process(ctx context.Context, w *window) error {
	queue := []*window{w}
	for len(queue) > 0 {
		w, queue = queue[0], queue[1:]
		if err := s.resolve(ctx, w); err != nil {
			return err
		}
		if w.accepted || len(s.pending) == 0 && len(w.refusals) == 0 {
			s.proven = s.proven || w.accepted
			if err := s.conclude(ctx, w); err != nil {
				return err
			}
			continue
		}
		if len(w.refusals) == 0 { // nothing to refuse: it proves nothing, and waits its turn
			s.pending = append(s.pending, w)
			continue
		}
		again, err := s.suspicious(ctx, w)
		if err != nil {
			return err
		}
		queue = append(again, queue...)
	}
	return nil
}

// suspicious takes in a window of which nothing was accepted. It returns what is to be decided anew after the
// endpoint was held to be misconfigured and accepts something again.
func (s *sender) suspicious(ctx context.Context, w *window) ([]*window, error) {
	w.slim()
	s.pending = append(s.pending, w)
	empty := false
	if !s.proven {
		var err error
		if empty, err = s.askEmpty(ctx, w); err != nil {
			return nil, err
		}
	}
	if !empty && s.unrelated() < unrelatedMax {
		s.show.retrying(s.refusal())
		return nil, nil
	}
	return s.hold(ctx)
}

// unrelated counts the requests in a row of which nothing was accepted.
func (s *sender) unrelated() int {
	n := 0
	for _, w := range s.pending {
		if len(w.refusals) > 0 {
			n++
		}
	}
	return n
}

func (s *sender) refusal() string {
	for _, w := range slices.Backward(s.pending) {
		if len(w.refusals) > 0 {
			return fmt.Sprintf("nothing of a request was accepted: %s", w.refusals[0].result)
		}
	}
	return "nothing of a request was accepted"
}

// hopeless says, after some probes without a success, whether the endpoint refuses an empty request as well.
func (s *sender) hopeless(ctx context.Context, w *window) (bool, error) {
	if w.accepted || w.probes < hopelessAfter || s.proven {
		return false, nil
	}
	return s.askEmpty(ctx, w)
}

// askEmpty sends a request without series, once per window.
func (s *sender) askEmpty(ctx context.Context, w *window) (refusedToo bool, err error) {
	if w.asked {
		return w.emptyRefused, nil
	}
	protocol := min(w.protocol, wire.Protocol(s.limit.Load()))
	empty := wholePiece(&window{tenant: w.tenant, protocol: protocol, body: emptyBody(protocol)})
	r, err := s.push(ctx, empty)
	if err != nil {
		return false, err
	}
	w.asked, w.emptyRefused = true, r.outcome != delivered
	return w.emptyRefused, nil
}

// hold waits until a misconfigured endpoint accepts something again. Nothing is decided meanwhile.
func (s *sender) hold(ctx context.Context) ([]*window, error) {
	s.proven = false
	s.show.held(s.refusal())
	for turn := 0; ; turn++ {
		if err := s.lookAhead(ctx); err != nil {
			return nil, err
		}
		if err := s.rest(ctx, 0); err != nil {
			return nil, err
		}
		alive, err := s.alive(ctx, turn)
		if err != nil {
			return nil, err
		}
		if alive {
			return s.again(), nil
		}
		s.show.held(s.refusal())
	}
}

// again hands out the undecided windows, to be decided anew in log order.
func (s *sender) again() []*window {
	list := s.pending
	s.pending, s.proven = nil, true
	for _, w := range list {
		w.reset()
	}
	return list
}

// lookAhead takes in further windows to probe with, so that one window of poison at an endpoint that refuses
// empty requests is told apart from an endpoint that refuses everything.
func (s *sender) lookAhead(ctx context.Context) error {
	if len(s.pending) >= unrelatedMax {
		return nil
	}
	w, err := s.feed.ready(ctx)
	if err != nil || w == nil {
		return err
	}
	if len(w.pieces) > 0 {
		s.reached.Store(max(s.reached.Load(), w.to))
	}
	s.pending = append(s.pending, w)
	return s.acks.reserve(ctx, w.stored)
}

// alive probes a held endpoint: with the first undecided request, for that is what must go next, and with one
// series of it, because it may hold poison. Now and then one series of each window behind it is tried as well,
// because all of it may be poison; not always, because what is accepted then overtakes the first window.
func (s *sender) alive(ctx context.Context, turn int) (bool, error) {
	first := s.pending[0].pieces[0]
	r, err := s.push(ctx, first)
	if err != nil {
		return false, err
	}
	if !r.nothing() && r.outcome != tooLarge {
		first.done = &r // and is not sent again
		return true, nil
	}
	for i, w := range s.pending {
		if len(w.pieces) == 0 || i > 0 && turn%overtakeEvery != overtakeEvery-1 {
			continue
		}
		c, err := w.takeApart()
		if err != nil {
			return false, err
		}
		groups := c.groups(c.good)
		if len(groups) == 0 {
			continue
		}
		one := wholePiece(w).some(c, groups[turn%len(groups)], false)
		if r, err = s.push(ctx, one); err != nil {
			return false, err
		}
		if !r.nothing() && r.outcome != tooLarge {
			one.done = &r
			w.carve(c, one)
			return true, nil
		}
		w.slim()
	}
	return false, nil
}
