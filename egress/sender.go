package egress

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/highlander-io/highlander/fsm"
	"github.com/highlander-io/highlander/fsm/wire"
)

// errStopped ends a session that was asked to stop between two attempts.
var errStopped = errors.New("egress: stopped")

// errRegather ends a session whose window has grown too old while it was retried: it is gathered anew, which
// drops and counts what is too old by now.
var errRegather = errors.New("egress: samples became too old while they waited")

// sender decides windows, one after the other: it returns from process only when every sample of a window is
// delivered, a dead letter, or dropped with a reason.
type sender struct {
	target  *target
	state   *fsm.FSM
	journal *journal
	acks    *acker
	show    *display
	metrics *destinationMetrics
	log     *slog.Logger
	now     func() time.Time
	limit   *atomic.Uint32 // see sealer
	letters int64          // dead_letter_max_bytes

	feed *feed
	soft <-chan struct{} // closed: stop before the next attempt

	pause   *backoff  // outlives the session: a new one must not hurry a failing endpoint
	pending []*window // refused as a whole, and not decided: see misconfigured.go
	proven  bool      // the endpoint accepted something since it was last held
	buried  uint64    // samples made dead letters and not logged yet
	mourned time.Time // when the last were logged
	// reached is the last index that was, or may have been, sent: what a next session has to suspect.
	reached *atomic.Uint64
}

// run decides windows until ctx ends, the session is asked to stop, or something fails that only a new session
// can put right.
func (s *sender) run(ctx context.Context) error {
	for turn := 0; ; turn++ {
		if err := s.replay(ctx); err != nil {
			return err
		}
		w, err := s.feed.next(ctx, s.soft, len(s.pending) < pendingMax, s.idle())
		if err != nil {
			return err
		}
		switch {
		case w != nil:
			if err := s.acks.reserve(ctx, w.stored); err != nil {
				return err
			}
			if err := s.process(ctx, w); err != nil {
				return err
			}
		case len(s.pending) > 0:
			if err := s.reconsider(ctx, turn); err != nil {
				return err
			}
		}
	}
}

// idle is how long the sender waits for work before it looks at undecided windows; zero: for ever.
func (s *sender) idle() time.Duration {
	if len(s.pending) == 0 {
		return 0
	}
	return s.pause.pause(0)
}

// reconsider probes with undecided windows while no other traffic can decide them.
func (s *sender) reconsider(ctx context.Context, turn int) error {
	alive, err := s.alive(ctx, turn)
	if err != nil || !alive {
		return err
	}
	for _, w := range s.again() {
		if err := s.process(ctx, w); err != nil {
			return err
		}
	}
	return nil
}

// conclude commits what is decided, in log order: the windows that were refused as a whole before this one
// was accepted are poison after all.
func (s *sender) conclude(ctx context.Context, w *window) error {
	for len(s.pending) > 0 {
		if err := s.finish(ctx, s.pending[0]); err != nil {
			return err
		}
		s.pending = s.pending[1:]
	}
	return s.finish(ctx, w)
}

// finish makes dead letters of what was refused, and only then lets the cursor pass.
func (s *sender) finish(ctx context.Context, w *window) error {
	if err := s.bury(ctx, w); err != nil {
		return err
	}
	if err := s.acks.add(w); err != nil {
		return err
	}
	putBody(w.body)
	w.body, w.pieces, w.cut = nil, nil, nil
	return nil
}

// resolve sends every piece of a window and takes apart what is refused.
func (s *sender) resolve(ctx context.Context, w *window) error {
	if len(w.pieces) == 0 {
		return nil
	}
	s.reached.Store(max(s.reached.Load(), w.to))
	left := w.pieces
	if s.pause.streak == 0 && len(s.pending) == 0 && w.pieces[len(w.pieces)-1].lane > 0 && w.pieces[0].done == nil && s.encoded(w) {
		var err error
		if left, err = s.together(ctx, w); err != nil {
			return err
		}
	}
	for _, p := range left {
		if p.done != nil {
			if err := s.judge(ctx, p, *p.done); err != nil {
				return err
			}
			continue
		}
		if err := s.decide(ctx, p); err != nil {
			return err
		}
	}
	return s.abandoned(ctx, w)
}

// abandoned goes on with what was not taken apart because nothing seemed to be accepted, if something was.
func (s *sender) abandoned(ctx context.Context, w *window) error {
	list := w.given
	w.given = nil
	for _, it := range list {
		if !w.accepted {
			w.refuse(it.piece, it.result)
			continue
		}
		if err := s.bisect(ctx, it.piece, it.result); err != nil {
			return err
		}
	}
	return nil
}

// encoded makes the bodies of all pieces, as those that are sent side by side cannot make theirs: all come from the
// window's cut, and only one can use it at a time. Most have one already. What cannot be encoded is said by its attempt.
func (s *sender) encoded(w *window) bool {
	for _, p := range w.pieces {
		if p.encode(wire.Protocol(s.limit.Load())) != nil {
			return false
		}
	}
	return true
}

// together sends the lanes of a window side by side, one request of a lane at a time. It returns what was not
// delivered at the first attempt: while an endpoint fails it gets one request at a time, after the pause that it asks for.
func (s *sender) together(ctx context.Context, w *window) ([]*piece, error) {
	lanes := make([][]*piece, w.pieces[len(w.pieces)-1].lane+1)
	for _, p := range w.pieces {
		lanes[p.lane] = append(lanes[p.lane], p)
	}
	results := make([][]result, len(lanes))
	var wg sync.WaitGroup
	for i, lane := range lanes {
		wg.Go(func() {
			for _, p := range lane {
				r := s.attempt(ctx, p)
				results[i] = append(results[i], r)
				if r.outcome != delivered {
					return
				}
			}
		})
	}
	wg.Wait()
	var left []*piece
	var failed []result
	for i, lane := range lanes {
		for k, p := range lane {
			if k < len(results[i]) {
				switch r := results[i][k]; r.outcome {
				case delivered:
					s.took(p, r)
					continue
				case retry, misconfigured:
					failed = append(failed, r)
				case refused:
					if !r.nothing() { // what it took it would refuse the next time
						p.done = &r
					}
				}
			}
			left = append(left, p)
		}
	}
	if ctx.Err() != nil || len(failed) == 0 {
		return left, context.Cause(ctx)
	}
	var asked time.Duration
	for _, r := range failed {
		s.metrics.retries.Inc()
		asked = max(asked, r.after)
	}
	s.show.retrying(failed[0].String())
	return left, s.rest(ctx, asked)
}

// decide sends a piece until it is delivered, and otherwise takes it apart.
func (s *sender) decide(ctx context.Context, p *piece) error {
	r, err := s.push(ctx, p)
	if err != nil {
		return err
	}
	return s.judge(ctx, p, r)
}

func (s *sender) judge(ctx context.Context, p *piece, r result) error {
	switch {
	case r.outcome == delivered:
		s.took(p, r)
		return nil
	case r.outcome == tooLarge:
		return s.split(ctx, p, r)
	case !r.nothing():
		s.tookPart(p, r)
		return nil
	}
	return s.takeApart(ctx, p, r)
}

// took counts a delivered piece. An endpoint that says it wrote less than it was sent is believed.
func (s *sender) took(p *piece, r result) {
	s.show.up()
	if r.confirmed && p.protocol == wire.V2 && r.written < p.count() {
		p.w.sent.drop(DroppedRefused, p.count()-r.written)
		p.w.took(r.written)
		return
	}
	p.w.took(p.count())
}

// tookPart counts a refusal that says how much was written all the same.
func (s *sender) tookPart(p *piece, r result) {
	s.show.up()
	n := min(r.written, p.count())
	p.w.took(n)
	if rest := p.count() - n; p.repeated() && r.repeats() {
		p.w.tookBefore(rest)
	} else {
		p.w.sent.drop(DroppedRefused, rest)
	}
}

// split halves a piece that is too large for the endpoint. The halves hold different series, or, of a single
// series, earlier and later samples; they go one after the other.
func (s *sender) split(ctx context.Context, p *piece, r result) error {
	halves, err := p.halves()
	if err == nil && halves == nil {
		halves, err = p.records()
	}
	if err != nil {
		return err
	}
	if halves == nil {
		p.w.refuse(p, r)
		return nil
	}
	for _, h := range halves {
		if err := s.decide(ctx, h); err != nil {
			return err
		}
	}
	return nil
}

// push attempts a piece until the endpoint has said something about it: delivered, refused or too large.
// Everything else is retried for ever, one request at a time.
func (s *sender) push(ctx context.Context, p *piece) (result, error) {
	for {
		select {
		case <-s.soft:
			return result{}, errStopped
		default:
		}
		r := s.attempt(ctx, p)
		if ctx.Err() != nil && r.outcome != delivered {
			return r, context.Cause(ctx)
		}
		switch r.outcome {
		case delivered, refused, tooLarge:
			if r.outcome == delivered {
				s.pause.reset()
			}
			return r, nil
		case wrongProtocol:
			if s.downgrade(p, r) {
				continue
			}
			s.show.held(r.String())
		case misconfigured:
			s.show.held(r.String())
		case retry, cancelled:
			s.show.retrying(r.String())
		}
		s.metrics.retries.Inc()
		if err := s.rest(ctx, r.after); err != nil {
			return r, err
		}
		if s.aged(p.w) {
			return r, errRegather
		}
	}
}

// rest pauses between two attempts.
func (s *sender) rest(ctx context.Context, asked time.Duration) error {
	timer := time.NewTimer(s.pause.pause(asked))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-s.soft:
		return errStopped
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// aged says whether samples of an untouched window have passed sample_age_limit.
func (s *sender) aged(w *window) bool {
	limit := s.target.Queue.SampleAgeLimit
	if limit <= 0 || !w.hasTime || w.accepted || len(s.pending) > 0 || w.replay {
		return false
	}
	return w.minTime < s.now().Add(-limit).UnixMilli()
}

// downgrade switches the endpoint to 1.0 after it has shown that it does not speak 2.0; false: there is no
// other version to try.
func (s *sender) downgrade(p *piece, r result) bool {
	if p.protocol != wire.V2 {
		return false
	}
	if s.limit.Swap(uint32(wire.V1)) != uint32(wire.V1) {
		s.log.Warn("destination does not speak remote write 2.0, sending 1.0", "err", r.String())
	}
	return true
}

// attempt makes one attempt. The lease is checked immediately before: a node that was deposed must not send.
func (s *sender) attempt(ctx context.Context, p *piece) result {
	if err := p.encode(wire.Protocol(s.limit.Load())); err != nil {
		return result{outcome: misconfigured, answer: fmt.Sprintf("cannot encode: %v", err)}
	}
	if err := s.journal.node.Lease(); err != nil {
		return result{outcome: retry, answer: valid(err.Error())}
	}
	began := time.Now()
	s.metrics.inFlight.Inc()
	r := s.target.client.send(ctx, p.w.tenant, p.protocol, p.body, p.count())
	s.metrics.inFlight.Dec()
	s.metrics.observe(r, len(p.body), time.Since(began))
	p.uncertain = p.uncertain || r.uncertain
	return r
}
