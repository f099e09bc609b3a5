package ingest

import (
	"sort"
	"time"

	"github.com/highlander-io/highlander/fsm"
)

// States of a source.
const (
	StateCurrent = "current"
	StateStandby = "standby"
	StateSilent  = "silent"
)

// SourceStatus is what the leader knows of a source beside the replicated state.
type SourceStatus struct {
	Name       string
	State      string
	Weight     uint64        // the admin's, else what its requests say
	LastSeen   time.Time     // of its last request; zero: not since this node leads
	Interval   time.Duration // usual time between its requests; 0: not known yet
	Newest     int64         // newest sample time seen, also in a standby's bodies; Unix milliseconds
	Coverage   float64       // its samples per second against the current source's; see Covered
	Covered    bool          // whether enough was seen to say Coverage
	OutOfOrder uint64        // series, of a few that are watched, whose time went backwards
}

// Sources returns what the leader knows of a group's sources, by name: those of the replicated state and those that
// have only ever been standbys. It returns nil on a node that does not lead.
func (h *Handler) Sources(id fsm.GroupID) []SourceStatus {
	l := h.lead.Load()
	if l == nil {
		return nil
	}
	now, o := h.now(), h.options.Load()
	state, _ := h.state.Group(id)
	byName := make(map[string]*SourceStatus, len(state.Sources))
	for i := range state.Sources {
		s := &state.Sources[i]
		byName[s.Name] = &SourceStatus{Name: s.Name, State: StateSilent, Weight: s.Weight, Newest: s.Newest}
	}
	l.mu.RLock()
	g := l.groups[id]
	l.mu.RUnlock()
	if g != nil {
		g.describe(byName, state.Current, o, now)
	}
	for i := range state.Sources {
		if w := state.Sources[i].AdminWeight; w != nil {
			byName[state.Sources[i].Name].Weight = *w
		}
	}
	if s := byName[state.Current]; s != nil {
		s.State = StateCurrent
	}
	list := make([]SourceStatus, 0, len(byName))
	for _, s := range byName {
		list = append(list, *s)
	}
	sort.Slice(list, func(i, k int) bool { return list[i].Name < list[k].Name })
	return list
}

// describe adds what the leader has seen.
func (g *group) describe(byName map[string]*SourceStatus, current string, o *Options, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var reference float64
	if s := g.sources[current]; s != nil {
		reference, _ = s.flow.rate(now)
	}
	for name, s := range g.sources {
		if s.bystander && name == "" {
			continue // exists for the books only
		}
		status := byName[name]
		if status == nil {
			status = &SourceStatus{Name: name}
			byName[name] = status
		}
		status.State = StateStandby
		if now.Sub(s.pace.last) > s.patience(o) {
			status.State = StateSilent
		}
		status.Weight, status.LastSeen, status.Interval = s.weight, s.pace.last, s.pace.interval
		status.Newest, status.OutOfOrder = max(status.Newest, s.newest), s.order.breaches
		if name == current {
			status.Coverage, status.Covered = 1, true
		} else if rate, known := s.flow.rate(now); known && reference > 0 {
			status.Coverage, status.Covered = rate/reference, true
		}
	}
}

// warnRivals says once that a group has several sources known by their host only.
func (h *Handler) warnRivals(g *group) {
	g.mu.Lock()
	hosts := g.rivals()
	g.mu.Unlock()
	if hosts == nil {
		return
	}
	h.log.Warn("several hosts send without saying who they are; only one of them is let through. "+
		"Name them with highlander_group and highlander_source, or by labels",
		"tenant", g.id.Tenant, "group", g.id.Name, "source", hosts)
}
