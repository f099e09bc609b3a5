package history

import (
	"fmt"
	"sort"
)

// Rules say which invariants a scenario suspends. The zero value demands all of them.
type Rules struct {
	// Repeats allows H5: the leader changed, or an answer of the LTS was lost.
	Repeats bool
	// Kept allows H3: samples of a standby may fill a gap.
	Kept bool
	// PerSource asks H4 and H7 of each source's samples alone, where a change of source may overlap.
	PerSource bool
	// Counters asks for H7; sources must then give values that grow with time.
	Counters bool
	// Missing excuses an accepted sample from H1, for instance because it is a dead letter.
	Missing func(Sample) bool
}

// Kind names the invariant that was broken.
type Kind string

// The kinds of violations; see the package comment.
const (
	Lost       Kind = "lost"
	Invented   Kind = "invented"
	Loser      Kind = "loser"
	Order      Kind = "order"
	Repeated   Kind = "repeated"
	TwoSources Kind = "two sources"
	Decreased  Kind = "decreased"
)

// Violation is one broken invariant.
type Violation struct {
	Kind   Kind
	Source string
	Sample Sample
	Detail string
}

func (v Violation) String() string {
	return fmt.Sprintf("%s: %s at %d = %v of source %q: %s",
		v.Kind, v.Sample.Series, v.Sample.Time, v.Sample.Value, v.Source, v.Detail)
}

// origin is what is known about a sample from all requests that carried it.
type origin struct {
	source   string
	outcome  outcome
	received bool
}

// Check names every violation of the rules, losses last and sorted by series and time.
func Check(h History, rules Rules) []Violation {
	c := checker{rules: rules, origins: origins(h), heads: map[string]Sample{}, owners: map[instant]owner{}}
	for _, s := range h.Received {
		c.receive(s)
	}
	c.losses()
	return c.found
}

// origins merges the requests: the strongest outcome of a sample counts, and one uncertain copy is enough for
// a sample to be allowed at the LTS.
func origins(h History) map[Sample]*origin {
	all := map[Sample]*origin{}
	for _, r := range h.Requests {
		outcome := r.outcome()
		for _, s := range r.Samples {
			known, ok := all[s]
			switch {
			case !ok:
				all[s] = &origin{source: r.Source, outcome: outcome}
			case outcome == accepted || known.outcome == standby:
				known.outcome = outcome
			}
		}
	}
	return all
}

type instant struct {
	series string
	time   int64
}

type owner struct {
	source string
	value  float64
}

type checker struct {
	rules   Rules
	origins map[Sample]*origin
	heads   map[string]Sample // newest first delivery by series, or by source and series
	owners  map[instant]owner
	found   []Violation
}

func (c *checker) report(kind Kind, source string, s Sample, detail string) {
	c.found = append(c.found, Violation{kind, source, s, detail})
}

func (c *checker) receive(s Sample) {
	from, ok := c.origins[s]
	if !ok {
		c.report(Invented, "", s, "nobody sent it")
		return
	}
	if from.received {
		if !c.rules.Repeats {
			c.report(Repeated, from.source, s, "arrived before")
		}
		return
	}
	from.received = true
	if from.outcome == standby && !c.rules.Kept {
		c.report(Loser, from.source, s, "every answer was 202")
	}
	c.first(s, from.source)
}

// first checks a first delivery against its predecessors of the same series.
func (c *checker) first(s Sample, source string) {
	at := instant{s.Series, s.Time}
	if o, taken := c.owners[at]; taken {
		kind := Order
		if o.source != source {
			kind = TwoSources
		}
		c.report(kind, source, s, fmt.Sprintf("source %q delivered %v for the same time", o.source, o.value))
		return
	}
	c.owners[at] = owner{source, s.Value}
	key := s.Series
	if c.rules.PerSource {
		key = source + "\x00" + key
	}
	head, ok := c.heads[key]
	if ok && s.Time <= head.Time {
		c.report(Order, source, s, fmt.Sprintf("time %d was delivered before", head.Time))
		return
	}
	if ok && c.rules.Counters && s.Value < head.Value {
		c.report(Decreased, source, s, fmt.Sprintf("%v was delivered before", head.Value))
	}
	c.heads[key] = s
}

func (c *checker) losses() {
	var lost []Violation
	for s, from := range c.origins {
		if from.received || from.outcome != accepted {
			continue
		}
		if c.rules.Missing != nil && c.rules.Missing(s) {
			continue
		}
		lost = append(lost, Violation{Lost, from.source, s, "acknowledged and not at the LTS"})
	}
	sort.Slice(lost, func(i, j int) bool {
		a, b := lost[i].Sample, lost[j].Sample
		if a.Series != b.Series {
			return a.Series < b.Series
		}
		return a.Time < b.Time
	})
	c.found = append(c.found, lost...)
}
