package ingest

import (
	"github.com/zeebo/xxh3"

	"github.com/highlander-io/highlander/fsm/wire"
)

const (
	// watchedMax bounds how many series of a source are watched for their order.
	watchedMax = 1024
	// probes is how many series of a request are looked at.
	probes = 4
)

// order watches a few series of a source for time going backwards, which happens if two servers send under one name
// or one replays. A request's oldest time against the source's newest would not do: shards overtake each other all the
// time, and only within one series is the order Prometheus' promise.
type order struct {
	last     map[uint64]int64 // newest time by hash of labels
	breaches uint64
}

// check looks at a few series and returns how many went backwards or repeated a time.
func (o *order) check(scan *wire.Request, pick []int32, pairs []wire.Pair, labels []wire.Label) (breaches uint64, _ []wire.Label) {
	n := len(pick)
	if pick == nil {
		n = len(scan.Series)
	}
	for probe := range min(probes, n) {
		i := probe * n / min(probes, n)
		if pick != nil {
			i = int(pick[i])
		}
		counts := &scan.Series[i].Counts
		if counts.Samples() == 0 {
			continue
		}
		labels = scan.Labels(i, labels[:0])
		breaches += o.note(hashLabels(labels, pairs), counts.MinTime, counts.MaxTime)
	}
	o.breaches += breaches
	return breaches, labels
}

func (o *order) note(series uint64, oldest, newest int64) uint64 {
	last, known := o.last[series]
	switch {
	case known && oldest <= last:
		o.last[series] = max(last, newest)
		return 1
	case !known && len(o.last) >= watchedMax:
		for old := range o.last { // any: they are all worth the same
			delete(o.last, old)
			break
		}
	case o.last == nil:
		o.last = make(map[uint64]int64)
	}
	o.last[series] = newest
	return 0
}

// hashLabels leaves the replica labels out, as they are left out of what is stored.
func hashLabels(labels []wire.Label, pairs []wire.Pair) uint64 {
	var h uint64
next:
	for _, l := range labels {
		for _, p := range pairs {
			if l.Name == p.Replica {
				continue next
			}
		}
		h = xxh3.HashStringSeed(l.Name, h)
		h = xxh3.HashStringSeed(l.Value, h)
	}
	return h
}
