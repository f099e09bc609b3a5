package fsm

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Bounds of what is remembered, the same on every node.
const (
	GroupsMax  = 65536
	SourcesMax = 256 // per group
	HistoryMax = 64  // changes of source per group
	// groupIdleMin is how long nothing must have been counted in a group before it may make room for a new one.
	groupIdleMin = 24 * time.Hour
	// futureMax is how far ahead of its entry's time a sample may be to move watermark and freshness.
	futureMax = time.Minute
)

// group is the state of one group. Names are the only strings it holds, each once.
type group struct {
	id               GroupID
	current          *source
	epoch            uint64
	since            int64
	pinned, promoted string
	watermark        int64
	touched          int64 // latest time of anything counted here
	sources          map[string]*source
	books            SampleBooks
	standby          StandbyBooks
	history          []Change
	fence            *Fence            // open since the last change of source; nil if there is none
	changes          map[string]uint64 // of the current source, by reason
}

type source struct {
	name        string
	adminWeight *uint64
	newest      int64
	received    uint64
	standby     StandbyBooks
}

func (g *group) copy() Group {
	c := Group{
		ID: g.id, Current: g.currentName(), Epoch: g.epoch, Since: g.since, Pinned: g.pinned, Promoted: g.promoted,
		Watermark: g.watermark, Books: g.books, Standby: g.standby,
		History: append([]Change{}, g.history...), Sources: make([]Source, 0, len(g.sources)),
	}
	c.Books.Rejected, c.Changes = cloneCounts(g.books.Rejected), cloneCounts(g.changes)
	for _, s := range g.sortedSources() {
		c.Sources = append(c.Sources, s.copy())
	}
	if g.fence != nil {
		fence := *g.fence
		c.Fence = &fence
	}
	return c
}

func (s *source) copy() Source {
	c := Source{Name: s.name, Newest: s.newest, Received: s.received, Standby: s.standby}
	if s.adminWeight != nil {
		weight := *s.adminWeight
		c.AdminWeight, c.Weight = &weight, weight
	}
	return c
}

func (g *group) currentName() string {
	if g.current == nil {
		return ""
	}
	return g.current.name
}

func (g *group) sortedSources() []*source {
	return slices.SortedFunc(maps.Values(g.sources), compareSources)
}

func compareSources(a, b *source) int { return strings.Compare(a.name, b.name) }

func (s *state) sortedGroups() []*group {
	return slices.SortedFunc(maps.Values(s.groups), func(a, b *group) int { return compareGroups(a.id, b.id) })
}

func compareGroups(a, b GroupID) int {
	return cmp.Or(strings.Compare(a.Tenant, b.Tenant), strings.Compare(a.Name, b.Name))
}

// makeGroup adds a group.
func (s *state) makeGroup(id GroupID) *group {
	id = GroupID{Tenant: strings.Clone(id.Tenant), Name: strings.Clone(id.Name)}
	g := &group{id: id, sources: make(map[string]*source)}
	s.groups[id] = g
	return g
}

// evictGroup makes room by forgetting the group in which nothing happened for the longest time, if that is long
// and no operator has a wish about it.
func (s *state) evictGroup() bool {
	var oldest *group
	for _, g := range s.groups {
		if g.wished() || g.standby.Kept != 0 || g.fence != nil {
			continue
		}
		if oldest == nil || cmp.Or(cmp.Compare(g.touched, oldest.touched), compareGroups(g.id, oldest.id)) < 0 {
			oldest = g
		}
	}
	if oldest == nil || s.marks.clock-oldest.touched < groupIdleMin.Milliseconds() {
		return false
	}
	delete(s.groups, oldest.id)
	return true
}

func (g *group) wished() bool {
	if g.pinned != "" || g.promoted != "" {
		return true
	}
	for _, s := range g.sources {
		if s.adminWeight != nil {
			return true
		}
	}
	return false
}

// bookGroup returns the group in whose books something is counted. Where there is no room for another, that is the one
// without a name: nothing goes uncounted. It does not look for a group to evict, which would take milliseconds per batch.
func (s *state) bookGroup(id GroupID) *group {
	if g := s.groups[id]; g != nil {
		return g
	}
	if len(s.groups) < GroupsMax {
		return s.makeGroup(id)
	}
	if g := s.groups[GroupID{}]; g != nil {
		return g
	}
	return s.makeGroup(GroupID{})
}

// source returns a source that may be new. Where the group is full, the one of least interest makes room: neither
// current nor wished for, without kept samples, with the oldest newest sample. If there is none, the source
// without a name stands for it.
func (g *group) source(name string) *source {
	if s := g.sources[name]; s != nil {
		return s
	}
	if len(g.sources) >= SourcesMax && !g.evictSource() {
		name = ""
		if s := g.sources[name]; s != nil {
			return s
		}
	}
	s := &source{name: strings.Clone(name)}
	g.sources[s.name] = s
	return s
}

func (g *group) evictSource() bool {
	var least *source
	for _, s := range g.sources {
		if s == g.current || s.adminWeight != nil || s.standby.Kept != 0 || s.name == g.pinned || s.name == g.promoted || s.name == "" {
			continue
		}
		if least == nil || cmp.Or(cmp.Compare(s.newest, least.newest), strings.Compare(s.name, least.name)) < 0 {
			least = s
		}
	}
	if least == nil {
		return false
	}
	delete(g.sources, least.name)
	return true
}

func (g *group) touch(at int64) { g.touched = max(g.touched, at) }

// applyElect makes a source current.
func (f *FSM) applyElect(index uint64, e *Elect) error {
	g := f.groups[e.Group]
	if err := g.permits(e); err != nil {
		return fmt.Errorf("fsm: elect %q in group %q: %w", e.To, e.Group.Name, err)
	}
	if g == nil {
		if len(f.groups) >= GroupsMax && !f.evictGroup() {
			return fmt.Errorf("fsm: elect %q in group %q: %w: %d groups", e.To, e.Group.Name, ErrLimit, GroupsMax)
		}
		g = f.makeGroup(e.Group)
	}
	to := g.source(e.To)
	if to.name != e.To {
		return fmt.Errorf("fsm: elect %q in group %q: %w: %d sources", e.To, e.Group.Name, ErrLimit, SourcesMax)
	}
	g.epoch++
	g.record(Change{
		At: e.Time, Epoch: g.epoch, From: g.currentName(), To: to.name, Reason: e.Reason, Boundary: e.Boundary,
	})
	f.openFence(index, g, e)
	if g.promoted != to.name && !yields(e.Reason) {
		g.promoted = "" // another took over
	}
	g.current, g.since = to, e.Time
	g.touch(e.Time)
	return nil
}

// permits asks again, in the order of the log, what the leader decided on what it knew. A nil group is a new one.
func (g *group) permits(e *Elect) error {
	if g == nil {
		if e.FromEpoch != 0 {
			return fmt.Errorf("%w: %d, not %d", ErrEpoch, 0, e.FromEpoch)
		}
		return nil
	}
	switch {
	case g.epoch != e.FromEpoch:
		return fmt.Errorf("%w: %d, not %d", ErrEpoch, g.epoch, e.FromEpoch)
	case g.currentName() == e.To:
		return fmt.Errorf("%w: it is current already", ErrEpoch)
	case g.pinned != "" && g.pinned != e.To:
		return fmt.Errorf("%w: %q is pinned", ErrOverruled, g.pinned)
	case g.promoted != "" && g.promoted == g.currentName() && yields(e.Reason):
		return fmt.Errorf("%w: %q was promoted", ErrOverruled, g.promoted)
	}
	return nil
}

// yields says whether a change for this reason gives way to a promotion. Where the two cross on their way into the log,
// the promotion stays and is carried out next.
func yields(reason string) bool {
	return reason == ReasonWeight || reason == ReasonLag || reason == ReasonCover
}

func (g *group) record(c Change) {
	if len(g.history) >= HistoryMax {
		g.history = append(g.history[:0], g.history[len(g.history)-HistoryMax+1:]...)
	}
	g.history = append(g.history, c)
	if g.changes == nil {
		g.changes = make(map[string]uint64)
	}
	g.changes[c.Reason]++
}

// applySource notes an operator's wish. It changes nobody's turn: the leader's next election does.
func (f *FSM) applySource(o *SourceOp) error {
	g := f.groups[o.Group]
	if g == nil {
		return fmt.Errorf("fsm: %s: %w", o.Op, f.unknownGroup(o.Group))
	}
	if o.Op == OpUnpin {
		g.pinned = ""
		return nil
	}
	s := g.sources[o.Source]
	if s == nil {
		return fmt.Errorf("fsm: %s: %w", o.Op, g.unknownSource(o.Source))
	}
	if err := g.wish(o, s); err != nil {
		return fmt.Errorf("fsm: %s source %q of group %q: %w", o.Op, o.Source, o.Group.Name, err)
	}
	return nil
}

func (g *group) wish(o *SourceOp, s *source) error {
	switch o.Op {
	case OpPin:
		g.pinned, g.promoted = s.name, ""
	case OpPromote:
		if g.pinned != "" && g.pinned != s.name {
			return fmt.Errorf("%w: %q is pinned, unpin it first", ErrOverruled, g.pinned)
		}
		g.promoted = s.name
	case OpWeight:
		weight := o.Weight
		s.adminWeight = &weight
	case OpForget:
		return g.forget(s)
	}
	return nil
}

func (g *group) forget(s *source) error {
	switch {
	case s == g.current:
		return fmt.Errorf("%w: it is the current source", ErrInUse)
	case s.name == g.pinned:
		return fmt.Errorf("%w: it is pinned, unpin it first", ErrInUse)
	case s.standby.Kept != 0:
		return fmt.Errorf("%w: samples of it are kept for a handover", ErrInUse)
	}
	if s.name == g.promoted {
		g.promoted = ""
	}
	delete(g.sources, s.name)
	return nil
}

func (s *state) unknownGroup(id GroupID) error {
	var names []string
	for other := range s.groups {
		if other.Tenant == id.Tenant {
			names = append(names, other.Name)
		}
	}
	what := fmt.Sprintf("group %q", id.Name)
	if id.Tenant != "" {
		what += fmt.Sprintf(" of tenant %q", id.Tenant)
	}
	return unknown(what, names)
}

func (g *group) unknownSource(name string) error {
	return unknown(fmt.Sprintf("source %q of group %q", name, g.id.Name), slices.Collect(maps.Keys(g.sources)))
}

// unknown is an error that lists the right names, as far as they fit on a screen.
func unknown(what string, names []string) error {
	const shown = 20
	slices.Sort(names)
	if len(names) == 0 {
		return fmt.Errorf("%w %s: there are none yet", ErrUnknown, what)
	}
	more := ""
	if len(names) > shown {
		more = fmt.Sprintf(" and %d more", len(names)-shown)
		names = names[:shown]
	}
	return fmt.Errorf("%w %s: want one of: %s%s", ErrUnknown, what, strings.Join(names, ", "), more)
}
