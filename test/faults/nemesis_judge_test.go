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

// judge holds what happened against what rig.finish does not know of: changes of source, gaps, and what nodes use.
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
	if n.kind.whole {
		n.gaps()
	}
	for _, v := range n.cluster.Nodes {
		n.bounded(v)
	}
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

// bounded looks at what a node uses at rest.
func (n *nemesis) bounded(v *harness.Node) {
	n.t.Helper()
	for name, most := range map[string]float64{
		"process_resident_memory_bytes": residentMax, "go_goroutines": goroutinesMax, "highlander_wal_bytes": logMax,
	} {
		value, err := metric(v, name)
		if err == nil && value > most {
			err = fmt.Errorf("%v is more than %v", value, most)
		}
		if err != nil {
			n.t.Errorf("node %s: %s: %v", v.ID, name, err)
		}
	}
}
