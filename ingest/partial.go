package ingest

import "time"

const (
	// partialRatio is below which part of what a standby sends a current source delivers too little.
	partialRatio = 0.9
	// partialTime is for how long that has to be so before it is said.
	partialTime = time.Minute
)

// checkCoverage says aloud that a current source is alive but delivers only part of what a standby does: some of its
// shards may be stuck, or it has lost targets. Nothing is changed for it, as highlander cannot know which of the two is
// right: an operator promotes the other.
func (h *Handler) checkCoverage(g *group) {
	current, _, _ := h.state.Current(g.id)
	now := h.now()
	g.mu.Lock()
	defer g.mu.Unlock()
	c := g.sources[current]
	if c == nil {
		return
	}
	fuller := g.fuller(c, now)
	switch {
	case fuller == "":
		g.partialSince, g.partialSaid = time.Time{}, false
	case g.partialSince.IsZero():
		g.partialSince = now
	case !g.partialSaid && now.Sub(g.partialSince) >= partialTime:
		g.partialSaid = true
		h.log.Warn("the current source delivers less than a standby; promote the other if it is right",
			"tenant", g.id.Tenant, "group", g.id.Name, "source", current, "standby", fuller)
	}
}

// fuller returns a standby that is not silent and sends clearly more than the current source. The caller holds g.mu.
func (g *group) fuller(c *source, now time.Time) string {
	rate, known := c.flow.rate(now)
	if !known {
		return ""
	}
	for name, s := range g.sources {
		if s == c || s.bystander || now.Sub(s.pace.last) > partialTime {
			continue
		}
		if other, known := s.flow.rate(now); known && rate < partialRatio*other {
			return name
		}
	}
	return ""
}
