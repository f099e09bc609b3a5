package ingest

import (
	"fmt"

	"github.com/highlander-io/highlander/fsm"
	"github.com/highlander-io/highlander/fsm/wire"
)

// Reasons of highlander's own for which series are refused, beside those of package wire.
const (
	reasonUnidentified = "unidentified" // nothing names them, and sources.unidentified is reject
	reasonBadIdentity  = "bad_identity" // their labels name something that cannot be a name
)

// resolve says whose a series is by what its labels say; or why it is nobody's.
func (wk *work) resolve(groupLabel, sourceLabel string) (a arrival, reason, detail string) {
	rq, o := wk.request, wk.options
	a = arrival{source: sourceLabel, weight: rq.weight}
	a.id = fsm.GroupID{Tenant: rq.tenant, Name: rq.group}
	if a.id.Name == "" {
		a.id.Name = groupLabel
	}
	if sourceLabel == "" {
		switch o.Unidentified {
		case Reject:
			return a, reasonUnidentified, "neither URL, headers nor labels name a source"
		case Pass:
			a.unelected = true
		}
		a.source, a.unnamed = rq.client, true
	}
	if a.id.Name == "" {
		a.id.Name = o.DefaultGroup
	}
	if err := checkName(groupLabel, o.MaxNameBytes); err != nil {
		return a, reasonBadIdentity, fmt.Sprintf("the label that names the group: %v: %.64q", err, groupLabel)
	}
	if err := checkName(sourceLabel, o.MaxNameBytes); err != nil {
		return a, reasonBadIdentity, fmt.Sprintf("the label that names the source: %v: %.64q", err, sourceLabel)
	}
	return a, "", ""
}

// split divides a scanned request among the sources that its labels name.
func (wk *work) split(l *leadership, h *Handler) error {
	total := max(1, len(wk.scan.Series))
	refusing := false
	for i := range wk.scan.Identities {
		id := &wk.scan.Identities[i]
		a, reason, detail := wk.resolve(id.Group, id.Source)
		if reason != "" {
			refusing = true
			wk.owners = append(wk.owners, owner{reason: reason, detail: detail})
			continue
		}
		a.bytes = len(wk.request.body) * id.Series / total
		at, err := wk.claimFor(l, h, a)
		if err != nil {
			return err
		}
		wk.owners = append(wk.owners, owner{claim: at})
	}
	if len(wk.claims) == 1 && !refusing && wk.scan.Bad == 0 {
		wk.claims[0].takeAll(wk)
		return nil
	}
	wk.distribute()
	return nil
}

// claimFor returns the index of a source's claim.
func (wk *work) claimFor(l *leadership, h *Handler, a arrival) (int32, error) {
	g, s, err := l.arrive(a, wk.options, h.now())
	if err != nil {
		return 0, err
	}
	if a.unnamed && !a.unelected {
		h.warnRivals(g)
	}
	at, known := wk.find(s)
	if !known {
		c := wk.add()
		c.group, c.source, c.unelected = g, s, a.unelected
	}
	wk.claims[at].bytes += a.bytes
	return at, nil
}

// linearClaims is up to how many claims are searched one by one.
const linearClaims = 8

// find returns the index of a source's claim, or that of the next one.
func (wk *work) find(s *source) (at int32, known bool) {
	if len(wk.claims) <= linearClaims {
		for i := range wk.claims {
			if wk.claims[i].source == s {
				return int32(i), true
			}
		}
		return int32(len(wk.claims)), false
	}
	if wk.bySrc == nil {
		wk.bySrc = make(map[*source]int32)
	}
	for i := len(wk.bySrc); i < len(wk.claims); i++ {
		wk.bySrc[wk.claims[i].source] = int32(i)
	}
	if at, known = wk.bySrc[s]; known {
		return at, true
	}
	return int32(len(wk.claims)), false
}

// takeAll gives a claim the whole request.
func (c *claim) takeAll(wk *work) {
	c.counts = wk.scan.Counts
	c.whole, c.scanned = true, true
}

// distribute gives each series to its claim, or to the rejected. Without labels that name anything there is one
// claim, the first.
func (wk *work) distribute() {
	for i := range wk.claims {
		wk.claims[i].scanned = true
	}
	for i := range wk.scan.Series {
		s := &wk.scan.Series[i]
		var of owner
		if len(wk.owners) > 0 {
			of = wk.owners[s.Identity]
		}
		if of.reason != "" {
			wk.orphans.add(of.reason, of.detail, s.Counts.Samples())
			continue
		}
		c := &wk.claims[of.claim]
		if s.Reason != "" {
			c.rejects.add(s.Reason, s.Detail, s.Counts.Samples())
			continue
		}
		c.pick = append(c.pick, int32(i))
		addCounts(&c.counts, &s.Counts)
	}
}

func addCounts(c, o *wire.Counts) {
	if o.Samples() > 0 {
		if c.Samples() == 0 {
			c.MinTime, c.MaxTime = o.MinTime, o.MaxTime
		}
		c.MinTime, c.MaxTime = min(c.MinTime, o.MinTime), max(c.MaxTime, o.MaxTime)
	}
	c.Series += o.Series
	c.Floats += o.Floats
	c.Histograms += o.Histograms
	c.Exemplars += o.Exemplars
	c.Metadata += o.Metadata
}
