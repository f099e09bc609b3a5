//go:build linux

package faults

import (
	"fmt"
	"slices"
	"time"

	"github.com/highlander-io/highlander/test/harness"
	"github.com/highlander-io/highlander/test/history"
)

// What the nemesis' nodes are configured with, and what its sources do.
const (
	// margin is several times what a request of a source may hang: a shard of the current source that sends nothing for longer
	// than that has no pace, and what is kept for it may go.
	margin = 20 * time.Second
	guard  = 100 * time.Millisecond
	step   = 50 * time.Millisecond // of harness.Source
)

// What a node may use when everything has come to rest after a round.
const (
	residentMax   = 400 << 20
	logMax        = 256 << 20
	goroutinesMax = 300
)

// plantedMax is how many samples are taken out of a record to see whether they are missed.
const plantedMax = 200

// judge holds what happened against what rig.finish does not know of: changes of source, what their fences held back, gaps, and
// what nodes use.
func (n *nemesis) judge(o *operators) {
	n.t.Helper()
	for _, v := range n.cluster.Nodes {
		o.look(v)
	}
	record := o.calls.Record()
	for _, text := range history.Linear(record) {
		n.t.Errorf("not linearizable: %s", text)
	}
	n.t.Logf("%d changes of source, calls %v", len(record.Changes), record.Counts())
	n.missing(record)
	if n.kind.whole {
		n.gaps()
	}
	for _, v := range n.cluster.Nodes {
		n.bounded(v)
	}
}

// missing looks at each acknowledged sample that is not at the LTS: a fence can have held it back, and no more of these than the
// books say; or the books count it with another reason.
func (n *nemesis) missing(record history.Record) {
	n.t.Helper()
	h := n.log.History()
	all, unexplained := losses(h, nil), losses(h, history.Fenced(h, record, guard))
	g, dropped := n.books()
	covered := g.Samples.Covered
	held := uint64(len(all) - len(unexplained))
	if held > covered {
		n.t.Errorf("fences can have held back %d of the acknowledged samples that are missing, the books say %d", held, covered)
	}
	if uint64(len(unexplained)) > dropped {
		for i, v := range unexplained {
			if i < 10 {
				n.t.Errorf("%v, and no fence can have held it back", v)
			}
		}
		n.t.Errorf("%d samples are missing that no fence can have held back, %d are counted", len(unexplained), dropped)
	}
	planted, missed := n.plant(h, record)
	if 10*missed < 9*planted {
		n.t.Errorf("of %d more samples that were taken out of the record %d are missed", planted, missed)
	}
	n.t.Logf("%d acknowledged samples are missing, %d of them without a fence; the books count %d as covered, %d otherwise, "+
		"and %d as received; of %d more that are taken out of the record %d are missed",
		len(all), len(unexplained), covered, dropped, g.Samples.Received, planted, missed)
}

func losses(h history.History, missing func(history.Sample) bool) (list []history.Violation) {
	for _, v := range history.Check(h, history.Rules{Repeats: true, Kept: true, PerSource: true, Missing: missing}) {
		if v.Kind == history.Lost {
			list = append(list, v)
		}
	}
	return list
}

// books are those of the group, and what they count of the LTS as neither delivered nor on its way.
func (n *nemesis) books() (g harness.Group, dropped uint64) {
	n.t.Helper()
	s := n.status()
	g, _ = s.Group("g")
	d, _ := s.Destination(n.lts.Name)
	dropped = d.Samples.DeadLetter
	for _, count := range d.Samples.Dropped {
		dropped += count
	}
	return g, dropped
}

// plant takes acknowledged samples from all over the record out of what arrived, and counts those that are missed then.
func (n *nemesis) plant(h history.History, record history.Record) (planted, missed int) {
	arrived := map[history.Sample]bool{}
	for _, s := range h.Received {
		arrived[s] = true
	}
	h.Received = slices.Clone(h.Received)
	acknowledged := losses(history.History{Requests: h.Requests}, nil) // as if nothing had arrived
	acknowledged = slices.DeleteFunc(acknowledged, func(v history.Violation) bool { return !arrived[v.Sample] })
	gone := map[history.Sample]bool{}
	for i := 0; i < len(acknowledged); i += max(1, len(acknowledged)/plantedMax) {
		gone[acknowledged[i].Sample] = true
	}
	h.Received = slices.DeleteFunc(h.Received, func(s history.Sample) bool { return gone[s] })
	for _, v := range losses(h, history.Fenced(h, record, guard)) {
		if gone[v.Sample] {
			missed++
		}
	}
	return len(gone), missed
}

// gaps looks for holes in what arrived. Both sources have a sample of every series at each step, and what either of them
// was late with it sent later. So there is no hole but, at a change, those samples of the new source that are within the
// guard of the old one's last.
func (n *nemesis) gaps() {
	n.t.Helper()
	times := map[string][]int64{}
	for _, s := range n.log.History().Received {
		times[s.Series] = append(times[s.Series], s.Time)
	}
	largest, found := int64(0), 0
	for series, list := range times {
		slices.Sort(list)
		for i := 1; i < len(list); i++ {
			gap := list[i] - list[i-1]
			largest = max(largest, gap)
			if gap > (step + guard).Milliseconds() {
				if found++; found <= 5 {
					n.t.Errorf("gap: nothing of %s between %d and %d (%d ms), round began at %d",
						series, list[i-1], list[i], gap, n.began.UnixMilli())
				}
			}
		}
	}
	n.t.Logf("largest gap %d ms in %d series", largest, len(times))
}

// bounded waits until a node uses no more than it may at rest: what was busy a moment ago needs another one.
func (n *nemesis) bounded(v *harness.Node) {
	n.t.Helper()
	for name, most := range map[string]float64{
		"process_resident_memory_bytes": residentMax, "go_goroutines": goroutinesMax, "highlander_wal_bytes": logMax,
	} {
		if err := harness.Poll(harness.Patience, func() error {
			value, err := v.Metric(name)
			if err == nil && value > most {
				err = fmt.Errorf("%v is more than %v", value, most)
			}
			return err
		}); err != nil {
			n.t.Errorf("node %s: %s: %v", v.ID, name, err)
		}
	}
}
