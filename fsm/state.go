package fsm

import (
	"maps"
	"slices"
)

// Group is a copy of what the state holds of one group. Times are Unix milliseconds.
type Group struct {
	ID        GroupID `json:"id"`
	Current   string  `json:"current"` // empty: no election has been held
	Epoch     uint64  `json:"epoch"`
	Since     int64   `json:"since"`              // time of the last change of source
	Pinned    string  `json:"pinned,omitempty"`   // the source an operator pinned
	Promoted  string  `json:"promoted,omitempty"` // the source an operator promoted, until another takes over
	Watermark int64   `json:"watermark_ms"`       // newest sample accepted; 0: none yet

	Sources []Source     `json:"sources"` // by name
	Books   SampleBooks  `json:"samples"`
	Standby StandbyBooks `json:"standby"` // of all sources, forgotten ones included
	History []Change     `json:"history"` // oldest first, at most HistoryMax

	Fence   *Fence            `json:"fence,omitempty"` // nil: no handover is under way
	Changes map[string]uint64 `json:"changes"`         // of the current source since the group exists, by reason
}

// Source is what the state holds of one source.
type Source struct {
	Name string `json:"name"`
	// Weight is the admin's, else 0: what requests say is only known to the leader.
	Weight      uint64       `json:"weight"`
	AdminWeight *uint64      `json:"admin_weight,omitempty"`
	Newest      int64        `json:"newest_sample_ms"` // newest sample accepted from it; 0: none yet
	Received    uint64       `json:"received"`         // samples of opened bodies
	Standby     StandbyBooks `json:"standby"`
}

// SampleBooks balance: Received = Accepted + Covered + Duplicate + the sum of Rejected.
type SampleBooks struct {
	Received  uint64            `json:"received"`
	Accepted  uint64            `json:"accepted"`
	Covered   uint64            `json:"covered"`
	Duplicate uint64            `json:"duplicate"`
	Rejected  map[string]uint64 `json:"rejected"` // by reason
}

// Balanced says whether the books' equation holds.
func (b *SampleBooks) Balanced() bool {
	return b.Received == b.Accepted+b.Covered+b.Duplicate+total(b.Rejected)
}

// Change is one change of a group's current source.
type Change struct {
	At         int64  `json:"at"` // Unix milliseconds
	Epoch      uint64 `json:"epoch"`
	From       string `json:"from"` // empty: the first
	To         string `json:"to"`
	Reason     string `json:"reason"`
	Boundary   int64  `json:"boundary_ms"`
	KeptUsed   uint64 `json:"kept_used"`
	Fenced     uint64 `json:"fenced"`
	LargestGap int64  `json:"largest_gap_ms"`
}

// Destination is a copy of what the state holds of one destination. The books' equation is
// Accepted = Delivered + Backlog.Samples + DeadLetter + RelabelDropped + the sum of Dropped.
type Destination struct {
	Name       string `json:"name"`
	URL        string `json:"url"`
	Registered uint64 `json:"registered"` // index of its registration
	Cursor     uint64 `json:"cursor"`
	Paused     bool   `json:"paused"`

	Accepted       uint64            `json:"accepted"`
	Delivered      uint64            `json:"delivered"`
	Redelivered    uint64            `json:"redelivered"` // part of Delivered that the LTS had already
	DeadLetter     uint64            `json:"dead_letter"`
	RelabelDropped uint64            `json:"relabel_dropped"`
	Dropped        map[string]uint64 `json:"dropped"` // by reason
	Backlog        Backlog           `json:"backlog"`
}

// Backlog is what a destination does not have yet: accepted batches above its cursor, and dead letters that are
// being replayed. Bytes are those of bodies as stored.
type Backlog struct {
	Entries uint64 `json:"entries"`
	Samples uint64 `json:"samples"`
	Bytes   uint64 `json:"bytes"`
}

// holds says whether part, of what is being replayed, can be a part of the backlog.
func (b Backlog) holds(part Backlog) bool {
	return part.Entries <= b.Entries && part.Samples <= b.Samples && part.Bytes <= b.Bytes
}

// Balanced says whether the books' equation holds.
func (d *Destination) Balanced() bool {
	return d.Accepted == d.Delivered+d.Backlog.Samples+d.DeadLetter+d.RelabelDropped+total(d.Dropped)
}

// DeadLetterInfo is a dead letter without its body.
type DeadLetterInfo struct {
	ID          string  `json:"id"`
	Destination string  `json:"destination"`
	Group       GroupID `json:"group"`
	Source      string  `json:"source"`
	Index       uint64  `json:"index"`
	Samples     uint64  `json:"samples"`
	Bytes       int     `json:"bytes"`
	Status      int     `json:"status"`
	Answer      string  `json:"answer"`
	Time        int64   `json:"time"`
	Replaying   bool    `json:"replaying"`
}

func total(m map[string]uint64) uint64 {
	var n uint64
	for _, v := range m {
		n += v
	}
	return n
}

// Current returns a group's current source and epoch. It does not allocate.
func (f *FSM) Current(id GroupID) (source string, epoch uint64, ok bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	g := f.groups[id]
	if g == nil || g.current == nil {
		return "", 0, false
	}
	return g.current.name, g.epoch, true
}

// Watermark returns a group's watermark, 0 before the first. It does not allocate.
func (f *FSM) Watermark(id GroupID) int64 {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if g := f.groups[id]; g != nil {
		return g.watermark
	}
	return 0
}

// Group returns a copy of one group.
func (f *FSM) Group(id GroupID) (Group, bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	g := f.groups[id]
	if g == nil {
		return Group{}, false
	}
	return g.copy(), true
}

// Groups returns copies of all groups, by tenant and name.
func (f *FSM) Groups() []Group {
	f.mu.RLock()
	defer f.mu.RUnlock()
	groups := make([]Group, 0, len(f.groups))
	for _, g := range f.sortedGroups() {
		groups = append(groups, g.copy())
	}
	return groups
}

// Destination returns a copy of one destination.
func (f *FSM) Destination(name string) (Destination, bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	d := f.destinations[name]
	if d == nil {
		return Destination{}, false
	}
	return d.copy(), true
}

// Destinations returns copies of all destinations, by name.
func (f *FSM) Destinations() []Destination {
	f.mu.RLock()
	defer f.mu.RUnlock()
	list := make([]Destination, 0, len(f.destinations))
	for _, name := range slices.Sorted(maps.Keys(f.destinations)) {
		list = append(list, f.destinations[name].copy())
	}
	return list
}

func (d *Destination) copy() Destination {
	c := *d
	c.Dropped = cloneCounts(d.Dropped)
	return c
}

// cloneCounts never returns nil, so that documents show {} and not null.
func cloneCounts(m map[string]uint64) map[string]uint64 {
	c := make(map[string]uint64, len(m))
	maps.Copy(c, m)
	return c
}
