package ingest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/highlander-io/highlander/fsm"
)

// errNoCurrent is the answer to samples of a group for which the rule names nobody: they must not be dropped, as nobody
// else delivers them.
var errNoCurrent = errors.New("the group has no current source yet; try again")

// election is one change of source on its way through the log.
type election struct {
	group  *group
	done   chan struct{}
	elect  fsm.Elect
	ahead  *handover // of the change; nil if it is the first
	future Future    // nil if the rule wants no change
}

// begin asks the rule and proposes what it says. It returns nil if an election of the group is under way already.
func (h *Handler) begin(l *leadership, g *group) *election {
	e := &election{group: g, done: make(chan struct{})}
	g.mu.Lock()
	if g.electing != nil {
		g.mu.Unlock()
		return nil
	}
	g.electing = e.done
	g.mu.Unlock()

	// Only now: an election that ended before this one began must be seen in the state.
	state, _ := h.state.Group(g.id)
	state.ID = g.id
	g.mu.Lock()
	arrivals := h.arrivals(l, g, state.Current, state.Watermark)
	now, policy := h.now(), h.options.Load().Policy
	policy.GuardFuture += g.behind(state.Watermark, now, policy.GuardFuture)
	g.mu.Unlock()
	elect, change := fsm.Decide(state, arrivals, now, l.since, policy)
	if !change {
		e.end()
		return e
	}
	if state.Current != "" {
		if !l.collected.Load() {
			e.end()
			return e // what members keep is still on its way
		}
		elect.FenceFrom = h.state.WindowStart()
		g.mu.Lock()
		e.ahead = g.propose(elect.FromEpoch + 1)
		g.mu.Unlock()
	}
	e.elect = elect
	entry, err := fsm.Encode(&elect)
	if err != nil { // names were checked on their way in
		panic(fmt.Sprintf("BUG: election cannot be encoded: %v", err))
	}
	e.future = h.node.Propose(entry, proposeTimeout)
	return e
}

// settle waits until the log has decided.
func (h *Handler) settle(ctx context.Context, l *leadership, e *election) error {
	if e.future == nil {
		return nil
	}
	defer e.end()
	response, _, err := e.future.Wait(ctx)
	if err != nil {
		return fmt.Errorf("ingest: change of source: %w", err)
	}
	switch err, _ := response.(error); {
	case errors.Is(err, fsm.ErrEpoch), errors.Is(err, fsm.ErrOverruled):
		e.withdraw()
		return nil // somebody else was elected meanwhile, or an operator spoke: look again
	case err != nil:
		e.withdraw()
		return fmt.Errorf("ingest: change of source: %w", err)
	}
	if e.ahead != nil {
		l.confirm(e.ahead) // the rest is said when the kept samples are passed on
		return nil
	}
	h.log.Info("source changed", "tenant", e.group.id.Tenant, "group", e.group.id.Name,
		"source", e.elect.To, "reason", e.elect.Reason, "epoch", e.elect.FromEpoch+1)
	return nil
}

// withdraw takes back what was prepared for a change that the log has refused.
func (e *election) withdraw() {
	if e.ahead != nil {
		e.group.withdraw(e.ahead)
	}
}

func (e *election) end() {
	e.group.mu.Lock()
	e.group.electing = nil
	e.group.mu.Unlock()
	close(e.done)
}

// elect runs one election for a request that needs a current source, or waits for the one that is under way.
func (h *Handler) elect(ctx context.Context, l *leadership, g *group) error {
	if e := h.begin(l, g); e != nil {
		return h.settle(ctx, l, e)
	}
	g.mu.Lock()
	done := g.electing
	g.mu.Unlock()
	if done == nil {
		return nil
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// quietTicks is how many ticks a group waits of which only the current source is heard: nothing can happen there but an
// operator's wish.
const quietTicks = 4

// tick asks the rule for every group: this is how silence is noticed, which no request announces. All changes go to the
// log together, so that a thousand groups that lose their source at once wait for one fsync and not for a thousand.
func (h *Handler) tick(ctx context.Context, l *leadership) {
	l.ticks++
	h.meet()
	h.release(l)
	var elections []*election
	for i, g := range l.all() {
		h.reconcile(l, g)
		h.checkCoverage(g)
		if (l.ticks+i)%quietTicks != 0 && h.quiet(g) {
			continue
		}
		if e := h.begin(l, g); e != nil && e.future != nil {
			elections = append(elections, e)
		}
	}
	for _, e := range elections {
		if err := h.settle(ctx, l, e); err != nil && ctx.Err() == nil {
			h.log.Warn("source not changed", "group", e.group.id.Name, "source", e.elect.To, "err", err)
		}
	}
}

func (h *Handler) quiet(g *group) bool {
	current, _, _ := h.state.Current(g.id)
	g.mu.Lock()
	defer g.mu.Unlock()
	for name, s := range g.sources {
		if !s.bystander && name != current {
			return false
		}
	}
	return true
}

// arrivals is what the rule needs to know of the group's sources. The caller holds g.mu.
func (h *Handler) arrivals(l *leadership, g *group, current string, watermark int64) map[string]fsm.Arrival {
	var usual time.Duration // the longest usual interval known: pairs scrape alike
	for _, s := range g.sources {
		usual = max(usual, s.pace.interval)
	}
	if usual == 0 {
		usual = presumedInterval
	}
	refused, now := l.refused(), h.now()
	arrivals := make(map[string]fsm.Arrival, len(g.sources)+1)
	for name, s := range g.sources {
		if s.bystander || !s.sound && name != current {
			continue
		}
		a := s.arrival(usual)
		a.KeptFrom = h.keptFrom(g, s, current)
		a.Rate, _ = s.flow.rate(now)
		if s.stuck {
			a.Newest = max(a.Newest, watermark+1)
		}
		if a.Last.Before(refused) {
			a.Last = refused
		}
		if a.GainedAt.Before(refused) {
			a.GainedAt = refused
		}
		arrivals[name] = a
	}
	if _, seen := arrivals[current]; current != "" && !seen {
		// It has sent nothing since this node leads. That is a silence only once a source of its kind would have.
		last := l.since
		if last.Before(refused) {
			last = refused
		}
		arrivals[current] = fsm.Arrival{Last: last, Interval: usual, GainedAt: refused, KeptFrom: fsm.NoneKept}
	}
	return arrivals
}
