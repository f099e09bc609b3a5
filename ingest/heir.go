package ingest

import (
	"time"

	"github.com/highlander-io/highlander/fsm"
)

// sourcePace is the usual interval of a source. Members are told all of them with each release, as a new leader that knew none
// would take a minute for usual, and a group that lost its source with its leader would wait for that.
type sourcePace struct {
	Tenant   string `json:"tenant,omitempty"`
	Group    string `json:"group"`
	Source   string `json:"source"`
	Interval int64  `json:"interval_us"`
}

// intervals lists those that are known, but for those of sources that only predecessors have heard of: they are gone.
func (h *Handler) intervals(l *leadership) []sourcePace {
	var list []sourcePace
	o, led := h.options.Load(), h.now().Sub(l.since)
	for _, g := range l.all() {
		g.mu.Lock()
		for name, s := range g.sources {
			if s.pace.last.IsZero() && led > s.patience(o) {
				continue
			}
			if us := s.pace.interval.Microseconds(); us > 0 {
				list = append(list, sourcePace{g.id.Tenant, g.id.Name, name, us})
			}
		}
		g.mu.Unlock()
	}
	return list
}

// takePaces starts a leadership with what the last one has told of its sources' intervals.
func (h *Handler) takePaces(l *leadership) {
	told := h.paces.Load()
	if told == nil {
		return
	}
	o := h.options.Load()
	for _, p := range *told {
		g, err := l.enter(fsm.GroupID{Tenant: p.Tenant, Name: p.Group}, o.MaxGroups)
		if err != nil {
			return
		}
		if s, err := g.source(p.Source, o.MaxSources); err == nil {
			s.pace.interval = time.Duration(p.Interval) * time.Microsecond
		}
		g.mu.Unlock()
	}
}
