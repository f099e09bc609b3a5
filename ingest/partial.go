package ingest

import (
	"time"

	"github.com/highlander-io/highlander/fsm"
)

// partialRatio is below which part of what a standby sends a current source delivers too little, if the operator does not say.
const partialRatio = 0.9

// checkCoverage watches for a current source that is alive but delivers only part of what a standby does: some of its shards
// may be stuck, or it has lost targets. It is said aloud. Nothing is changed for it unless Policy.MinCoverage says so,
// as highlander cannot know which of the two is right: an operator promotes the other.
func (h *Handler) checkCoverage(g *group) {
	current, _, _ := h.state.Current(g.id)
	now, o := h.now(), h.options.Load()
	g.mu.Lock()
	defer g.mu.Unlock()
	standby := g.compareRates(g.sources[current], o, now)
	switch {
	case standby == nil:
		g.partialSaid = false
	case !g.partialSaid && now.Sub(standby.fuller) >= fsm.CoverageHold:
		g.partialSaid = true
		h.log.Warn("the current source delivers less than a standby; promote the other if it is right",
			"tenant", g.id.Tenant, "group", g.id.Name, "source", current, "standby", standby.name)
	}
}

// compareRates notes which standbys send clearly more than the current source, and returns the one that has for longest.
// The caller holds g.mu.
func (g *group) compareRates(current *source, o *Options, now time.Time) *source {
	ratio := o.Policy.MinCoverage
	if ratio == 0 {
		ratio = partialRatio
	}
	var reference float64
	known := false
	if current != nil {
		reference, known = current.flow.rate(now)
	}
	var longest *source
	for _, s := range g.sources {
		rate, ok := s.flow.rate(now)
		if !known || !ok || s == current || s.bystander || s.fresh.IsZero() || now.Sub(s.pace.last) > s.patience(o) || reference >= ratio*rate {
			s.fuller = time.Time{}
			continue
		}
		if s.fuller.IsZero() {
			s.fuller = now
		}
		if longest == nil || s.fuller.Before(longest.fuller) {
			longest = s
		}
	}
	return longest
}
