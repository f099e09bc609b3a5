package ingest

import (
	"fmt"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/highlander-io/highlander/fsm"
)

// leadership is what a leader has seen with its own eyes since it leads. It ends with it: liveness is nobody's
// memory, and what must survive is in the books, which are committed.
type leadership struct {
	origin string
	since  time.Time
	ahead  time.Duration // by which what is kept was ahead of since when this leadership began
	// refusedAt is when the gate last refused everybody. Nobody can be called silent for that.
	refusedAt atomic.Pointer[time.Time]

	mu       sync.RWMutex
	groups   map[fsm.GroupID]*group
	metadata map[metadataKey]time.Time // unnamed metadata that passed, until it may pass again

	ledger ledger
	owed   owed
	over   atomic.Bool // what is not proposed by now stays out of the books: the next leader has begun them anew
	ticks  int         // only touched by tick

	collected atomic.Bool               // what members kept is here, as far as they answered: elections may begin
	heard     map[string]bool           // peers that were asked for what they keep, true once they have answered; guarded by mu
	fullAt    atomic.Pointer[time.Time] // when there was no room for what a member keeps
	mending   atomic.Bool               // copies are being made of what this node keeps alone
	work      chan struct{}             // changes of source wait for advance
	passing   chan struct{}             // a place for each group that passes on what is kept
	tasks     sync.WaitGroup
}

// time is the wall clock as it was when this node began to lead, or that of the last leader if that was ahead, and what has
// passed since then. Steps of the wall clock do not move it: what is kept is put in order, and measured, by this.
func (l *leadership) time(now time.Time) time.Time { return l.since.Add(l.ahead + now.Sub(l.since)) }

func newLeadership(origin string, now time.Time) *leadership {
	return &leadership{
		origin: origin, since: now,
		groups:   make(map[fsm.GroupID]*group),
		metadata: make(map[metadataKey]time.Time),
		heard:    make(map[string]bool),
		work:     make(chan struct{}, 1),
		passing:  make(chan struct{}, passingMax),
	}
}

// group is what the leader has seen of a group's sources. Everything in it and in its sources is guarded by mu,
// but for names, which never change.
type group struct {
	id       fsm.GroupID
	mu       sync.Mutex
	sources  map[string]*source
	electing chan struct{} // closed when the election that is under way is over; nil if none is
	warned   bool          // several unnamed hosts were warned about
	gone     bool          // dropped from the leadership; look again
	// handover is the last change of source, until its fence has ended. Requests read it without mu.
	handover    atomic.Pointer[handover]
	owed        []fsm.ChangeBooks // of handovers that another one has followed; not in the books yet
	partialSaid bool              // that the current source delivers less than a standby
	watermark   int64             // the last one that behind took for the time
	moved       time.Time         // when it did
}

// source is what the leader has seen of one source.
type source struct {
	name    string
	pace    pace
	flow    flow
	weight  uint64
	unnamed bool // known by its host only
	// bystander marks what is never elected: sources that pass without election, and names that only exist for
	// the books.
	bystander bool
	steady    time.Time // since when it sends without a silence
	fresh     time.Time // since when it is as fresh as the current source; zero: it is not
	fuller    time.Time // since when the current source delivers clearly less; zero: it does not
	newest    int64     // newest believable sample time seen, in Unix milliseconds; 0: none yet
	gain      gain
	// sound is true once something of it was opened and could be read: who only ever sent rubbish is not elected.
	sound    bool
	nextLook time.Time // when the next standby body should be opened
	slowest  slowest
	lag      time.Duration // smallest lag of a newest sample behind its arrival
	lagKnown bool
	stuck    bool // its last request found no room in a window: it has newer samples than can be seen
	order    order
	books    sourceBooks
}

// find returns a group, which it makes if there is room. The names may alias a request: they are copied.
func (l *leadership) find(id fsm.GroupID, groupsMax int) (*group, error) {
	l.mu.RLock()
	g := l.groups[id]
	l.mu.RUnlock()
	if g != nil {
		return g, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if g := l.groups[id]; g != nil {
		return g, nil
	}
	if len(l.groups) >= groupsMax {
		return nil, fmt.Errorf("group %q: there are %d groups already", id.Name, len(l.groups))
	}
	id = fsm.GroupID{Tenant: strings.Clone(id.Tenant), Name: strings.Clone(id.Name)}
	g = &group{id: id, sources: make(map[string]*source)}
	l.groups[id] = g
	return g, nil
}

// known returns a group that was heard of, or nil.
func (l *leadership) known(id fsm.GroupID) *group {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.groups[id]
}

// refused returns when the gate last refused everybody; the zero time if it never did.
func (l *leadership) refused() time.Time {
	if at := l.refusedAt.Load(); at != nil {
		return *at
	}
	return time.Time{}
}

// enter returns a group that is not about to be dropped, with its mu held.
func (l *leadership) enter(id fsm.GroupID, groupsMax int) (*group, error) {
	for {
		g, err := l.find(id, groupsMax)
		if err != nil {
			return nil, err
		}
		g.mu.Lock()
		if !g.gone {
			return g, nil
		}
		g.mu.Unlock()
	}
}

func (l *leadership) all() []*group {
	l.mu.RLock()
	defer l.mu.RUnlock()
	groups := make([]*group, 0, len(l.groups))
	for _, g := range l.groups {
		groups = append(groups, g)
	}
	sort.Slice(groups, func(i, k int) bool { return lessGroup(groups[i].id, groups[k].id) })
	return groups
}

func lessGroup(a, b fsm.GroupID) bool {
	if a.Tenant != b.Tenant {
		return a.Tenant < b.Tenant
	}
	return a.Name < b.Name
}

// source returns a source of the group, which it makes if there is room. The caller holds g.mu.
func (g *group) source(name string, sourcesMax int) (*source, error) {
	if s := g.sources[name]; s != nil {
		return s, nil
	}
	if len(g.sources) >= sourcesMax {
		return nil, fmt.Errorf("source %q: group %q has %d sources already", name, g.id.Name, len(g.sources))
	}
	s := &source{name: strings.Clone(name), bystander: true}
	g.sources[s.name] = s
	return s, nil
}

// arrival is one request, or one source's share of it, on its way in.
type arrival struct {
	id        fsm.GroupID
	source    string
	weight    uint64
	unnamed   bool
	unelected bool
	bytes     int
}

// arrive notes that a source is alive. It happens before anything can be refused: a 503 of ours counts as life.
func (l *leadership) arrive(a arrival, o *Options, now time.Time) (*group, *source, error) {
	g, err := l.enter(a.id, o.MaxGroups)
	if err != nil {
		return nil, nil, err
	}
	defer g.mu.Unlock()
	s, err := g.source(a.source, o.MaxSources)
	if err != nil {
		return nil, nil, err
	}
	s.excuse(l.refused())
	if s.steady.IsZero() || now.Sub(s.pace.last) > s.patience(o) {
		s.steady, s.fresh = now, time.Time{}
	}
	s.pace.beat(now)
	s.flow.add(now, a.bytes)
	s.weight, s.unnamed, s.bystander = a.weight, a.unnamed, a.unelected
	return g, s, nil
}

// excuse takes the time in which the gate refused everybody out of a source's pauses: whoever is named by labels could
// not be heard then. The caller holds the group's mu.
func (s *source) excuse(refused time.Time) {
	if !s.steady.IsZero() && refused.After(s.pace.last) {
		s.pace.last = refused
	}
}

// patience is how long a source may send nothing before that is a silence.
func (s *source) patience(o *Options) time.Duration {
	interval := s.pace.interval
	if interval == 0 {
		interval = presumedInterval
	}
	return max(o.Policy.FailoverTimeout, 2*interval)
}

// lookDue says whether it is time to open a standby's body. The caller holds the group's mu.
func (s *source) lookDue(o *Options, now time.Time) bool {
	if now.Before(s.nextLook) {
		return false
	}
	s.nextLook = now.Add(o.Policy.PreemptAfter / 2)
	return true
}

// saw notes what an opened body of the source held. The caller holds the group's mu; current is the group's
// current source, if the leader has seen it. A clock is believed that is not further ahead of now.
func (s *source) saw(newest int64, samples uint64, bytes int, current *source, o *Options, now time.Time, ahead time.Duration) {
	s.sound = true
	s.flow.sample(samples, bytes)
	if samples == 0 || newest > now.Add(ahead).UnixMilli() {
		return // a clock that is ahead moves nothing
	}
	if newest > s.newest {
		s.newest = newest
		s.gain.note(now.Sub(time.UnixMilli(newest)), now, freshSlack(s, s), s.patience(o)/2)
	}
	switch {
	case current == nil || current == s || current.newest == 0 || s.newest < current.newest-freshSlack(s, current).Milliseconds():
		s.fresh = time.Time{}
	case s.fresh.IsZero():
		s.fresh = now
		s.flow.restart(now) // what it sent to catch up says nothing of what it sends
	}
}

// arrival is what the rule needs to know of a source. interval stands for its own while that is not known.
func (s *source) arrival(interval time.Duration) fsm.Arrival {
	a := fsm.Arrival{
		Last: s.pace.last, Newest: s.newest, Interval: s.pace.interval, Weight: s.weight,
		SteadySince: s.steady, FreshSince: s.fresh, GainedAt: s.gain.at,
		KeptFrom: fsm.NoneKept, FullerSince: s.fuller,
	}
	if a.GainedAt.Before(s.steady) {
		a.GainedAt = s.steady // who is back from a silence had no time to gain anything yet
	}
	if a.Interval == 0 {
		a.Interval = interval
	}
	return a
}

// freshSlack is how far behind the current source a newcomer may be and still be as fresh: two servers scrape the
// same target up to an interval apart, and Prometheus waits up to five seconds for a request to fill.
func freshSlack(a, b *source) time.Duration {
	return max(5*time.Second, a.pace.interval, b.pace.interval)
}

// behind says by how much this leader's clock is behind what the group's sources have shown the time to be; 0 while it may
// be right. The watermark was believed when it was accepted, and time has gone on since it moved: a clock that is short of
// that by much was set back, or is not as good as the last leader's. Samples are believed, and batches stamped, by what it
// would show if it were right. What is believed by that alone proves nothing further: each sample that is a little ahead would
// let the next one be further ahead, and the time of the group, and of the whole log, would go with it. The caller holds g.mu.
func (g *group) behind(watermark int64, now time.Time, guard time.Duration) time.Duration {
	shown := time.UnixMilli(watermark)
	switch {
	case watermark == 0:
		return 0
	case g.moved.IsZero(), shown.After(g.shown(now)) && !shown.After(now.Add(guard/2)):
		g.watermark, g.moved = watermark, now
	}
	if short := g.shown(now).Sub(now); short > guard/2 {
		return short
	}
	return 0
}

// shown is the time as the watermark of then, and what has passed since, tell it.
func (g *group) shown(now time.Time) time.Time {
	return time.UnixMilli(g.watermark).Add(now.Sub(g.moved))
}

// rivals returns, once, the unnamed hosts of a group if there are several: all but one of them are taken for standbys,
// which is right only if they scrape the same. The caller holds g.mu.
func (g *group) rivals() []string {
	if g.warned {
		return nil
	}
	var hosts []string
	for name, s := range g.sources {
		if s.unnamed && !s.bystander {
			hosts = append(hosts, name)
		}
	}
	if len(hosts) < 2 {
		return nil
	}
	g.warned = true
	sort.Strings(hosts)
	return hosts
}
