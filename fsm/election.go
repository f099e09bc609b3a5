package fsm

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"
)

// Reasons for a change of source, in the order of their precedence.
const (
	ReasonFirst   = "first"
	ReasonPin     = "pin"
	ReasonPromote = "promote"
	ReasonWeight  = "weight"
	ReasonSilence = "silence"
	ReasonLag     = "lag"
	ReasonCover   = "coverage"
)

// CoverageHold is for how long, without a break, a standby must send clearly more than the current source until that counts.
// Rates are means over about a minute, which swing where a source sends once a minute.
const CoverageHold = 5 * time.Minute

// NoneKept is Arrival.KeptFrom of a source of which no samples are kept.
const NoneKept = math.MaxInt64

// Arrival is what the leader has seen of a source's requests since it leads, answered 503 or not. It makes no difference
// whether the source is current.
type Arrival struct {
	Last        time.Time     // the last request
	Newest      int64         // newest believable sample time seen in it, Unix milliseconds; 0: none
	Interval    time.Duration // usual time between requests; 0: not known yet
	Weight      uint64        // as the request said
	SteadySince time.Time     // since when it sends without a silence
	FreshSince  time.Time     // since when it is as fresh as the current source; zero: it is not
	// GainedAt is when Newest last gained on real time, that is, moved on by more than the time that passed: a source
	// that is catching up does so all the time, one that lags behind never does. Zero: not yet.
	GainedAt time.Time
	KeptFrom int64 // oldest kept sample, Unix milliseconds; NoneKept: none are kept
	// Rate is samples per second, about; 0: not known. FullerSince is since when the current source's rate, without a
	// break, is below Policy.MinCoverage of this one's, while this one is as fresh; zero: it is not.
	Rate        float64
	FullerSince time.Time
}

// Policy is what the operator decides about elections.
type Policy struct {
	FailoverTimeout, PreemptAfter, MaxLag time.Duration
	// RequestWeight says whether the weight in a request counts. An admin's weight always does.
	RequestWeight bool
	// GuardFuture is how far ahead of the leader's clock a sample may be and still be believed; 0 means one minute.
	GuardFuture time.Duration
	// RequireKept refuses a change for weight or lag unless the newcomer's kept samples reach back to the watermark.
	// It is false where standbys keep nothing: then these changes may leave a gap, but they do happen.
	RequireKept bool
	// MinCoverage is the part of what a standby sends below which a current source is replaced, from 0 (never) to 1.
	MinCoverage float64
}

// Decide is the rule: whether the group's source should change now, and to whom. It is pure. The leader has been one since
// leaderSince and cannot know who was silent before. Arrivals are those of the sources that may be elected.
func Decide(g Group, arrivals map[string]Arrival, now, leaderSince time.Time, p Policy) (Elect, bool) {
	r := rule{g: &g, arrivals: arrivals, now: now, leaderSince: leaderSince, p: p}
	to, reason := r.choose()
	if to == "" || to == g.Current {
		return Elect{}, false
	}
	return Elect{Group: g.ID, FromEpoch: g.Epoch, To: to, Reason: reason, Time: now.UnixMilli(), Boundary: g.Watermark}, true
}

type rule struct {
	g                *Group
	arrivals         map[string]Arrival
	now, leaderSince time.Time
	p                Policy
}

// choose is the rule itself. It names the current source, or nobody, where nothing should change.
func (r *rule) choose() (to, reason string) {
	switch {
	case r.g.Pinned != "":
		return r.g.Pinned, ReasonPin
	case r.g.Promoted != "" && r.present(r.g.Promoted):
		return r.g.Promoted, ReasonPromote
	case r.g.Current == "":
		return r.first(), ReasonFirst
	case r.now.Sub(r.since()) < r.p.FailoverTimeout: // one automatic change at a time
		return "", ""
	}
	// What is kept of the heaviest may not reach back yet. It will in a moment, as the watermark moves on; if a lighter one took
	// over until then, that would be a change too many.
	if to := r.best(r.heavier); to != "" && r.g.Promoted != r.g.Current && r.reachesBack(r.arrivals[to]) {
		return to, ReasonWeight
	}
	if r.silent(r.g.Current) {
		return r.best(r.newer), ReasonSilence
	}
	if to := r.best(r.ahead); to != "" {
		return to, ReasonLag
	}
	return r.best(r.fuller), ReasonCover
}

// heavier: bigger weight, as fresh and as full as the current source, steady, and something is kept of it.
func (r *rule) heavier(name string, a Arrival) bool {
	return r.weight(name) > r.weight(r.g.Current) && (r.reachesBack(a) || a.KeptFrom != NoneKept) && !r.partial(a, r.arrivals[r.g.Current]) &&
		!a.FreshSince.IsZero() && !a.SteadySince.IsZero() && r.now.Sub(a.SteadySince) >= r.p.PreemptAfter
}

// newer: has what the current source did not deliver.
func (r *rule) newer(_ string, a Arrival) bool { return a.Newest > r.g.Watermark }

// ahead: so far before a current source that is not catching up that it must have a fault of its own. Where requests come
// rarely, two usual intervals are no lag: one is the difference between two sources that scrape at different moments.
func (r *rule) ahead(_ string, a Arrival) bool {
	current := r.arrivals[r.g.Current]
	lag := max(r.p.MaxLag, 2*current.Interval, 2*a.Interval)
	gained := latest(current.GainedAt, r.leaderSince, r.since())
	return a.Newest-r.g.Watermark >= lag.Milliseconds() && r.reachesBack(a) &&
		r.now.Sub(gained) >= r.p.FailoverTimeout
}

// fuller: as fresh as a current source that has long been sending too little.
func (r *rule) fuller(_ string, a Arrival) bool {
	return r.partial(r.arrivals[r.g.Current], a) && r.reachesBack(a) &&
		!a.FreshSince.IsZero() && !a.FullerSince.IsZero() && r.now.Sub(a.FullerSince) >= CoverageHold
}

// partial says that a sends too little of what b does, where the operator wants to know.
func (r *rule) partial(a, b Arrival) bool {
	return a.Rate > 0 && a.Rate < r.p.MinCoverage*b.Rate
}

func (r *rule) reachesBack(a Arrival) bool { return !r.p.RequireKept || a.KeptFrom <= r.g.Watermark }

// silent: no request for the longer of the timeout and twice the usual interval. Before this node led it saw nothing.
func (r *rule) silent(name string) bool {
	a := r.arrivals[name]
	return r.now.Sub(latest(a.Last, r.leaderSince)) >= max(r.p.FailoverTimeout, 2*a.Interval)
}

// present: not silent, and seen by this leader unless it is current already. Nobody takes over on the grace of a new leader.
func (r *rule) present(name string) bool {
	return (name == r.g.Current || !r.arrivals[name].Last.IsZero()) && !r.silent(name)
}

// best returns the best source, but the current one, that has arrived, is not silent, whose clock can be believed, and that
// fits: by weight, then by freshness, then by name.
func (r *rule) best(fits func(string, Arrival) bool) string {
	var best string
	for name, a := range r.arrivals {
		if name == r.g.Current || !r.present(name) || !r.believable(a) || !fits(name, a) {
			continue
		}
		if best == "" || r.better(name, best) {
			best = name
		}
	}
	return best
}

func (r *rule) better(a, b string) bool {
	return cmp.Or(cmp.Compare(r.weight(b), r.weight(a)), cmp.Compare(r.arrivals[b].Newest, r.arrivals[a].Newest), strings.Compare(a, b)) < 0
}

// first: whoever came first, of those whose clock can be believed, else of all.
func (r *rule) first() string {
	var best string
	for name, a := range r.arrivals {
		if best == "" || r.earlier(name, a, best, r.arrivals[best]) {
			best = name
		}
	}
	return best
}

func (r *rule) earlier(name string, a Arrival, best string, b Arrival) bool {
	if x, y := r.believable(a), r.believable(b); x != y {
		return x
	}
	return cmp.Or(a.SteadySince.Compare(b.SteadySince), cmp.Compare(r.weight(best), r.weight(name)), strings.Compare(name, best)) < 0
}

func (r *rule) believable(a Arrival) bool {
	guard := cmp.Or(r.p.GuardFuture, futureMax)
	return a.Newest <= r.now.Add(guard).UnixMilli()
}

// weight: an admin's beats a request's.
func (r *rule) weight(name string) uint64 {
	i, known := slices.BinarySearchFunc(r.g.Sources, name, func(s Source, name string) int { return strings.Compare(s.Name, name) })
	if known && r.g.Sources[i].AdminWeight != nil {
		return *r.g.Sources[i].AdminWeight
	}
	if !r.p.RequestWeight {
		return 0
	}
	return r.arrivals[name].Weight
}

// since is when the current source took over. A time ahead of this leader's clock comes from a predecessor's clock and must not
// hold the group for as long as the two differ.
func (r *rule) since() time.Time {
	since := time.UnixMilli(r.g.Since)
	if since.After(r.now) {
		return r.leaderSince
	}
	return since
}

func latest(times ...time.Time) time.Time {
	return slices.MaxFunc(times, time.Time.Compare)
}
