package main

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/highlander-io/highlander/test/harness"
)

// pair is how a pair of sources says who it is, and on how many nodes their samples go.
type pair struct {
	name   string
	nodes  int
	labels bool // by labels, else by URL
	aim    float64
}

var pairs = []pair{
	{name: "standalone, by URL", nodes: 1, aim: 0.05},
	{name: "standalone, by labels", nodes: 1, labels: true, aim: 0.4},
	{name: "three nodes, by URL", nodes: 3, aim: 0.05},
}

// standby measures what the requests of a standby cost beside those of the current source: that one sends alone, or both do,
// at the same pace. The difference is the standby's.
func standby(s *harness.Stage, o options) {
	costs := map[string][]cost{}
	for round := range o.rounds {
		for _, p := range pairs {
			var c cost
			if code := harness.OnStage(func(inner *harness.Stage) { c = measurePair(inner, p, o, int64(round)) }); code != 0 {
				s.Fatalf("%s failed", p.name)
			}
			costs[p.name] = append(costs[p.name], c)
			fmt.Printf("round %d  %-24s accepted %6.3f  standby %6.3f µs/sample\n", round+1, p.name, c.accepted, c.standby)
		}
	}
	fmt.Printf("\n%-24s %12s %12s %8s %6s\n", "CPU µs/sample", "accepted", "standby", "ratio", "aim")
	for _, p := range pairs {
		list := costs[p.name]
		ratios := make([]float64, len(list))
		for i, c := range list {
			ratios[i] = c.standby / c.accepted
		}
		slices.Sort(ratios)
		accepted, standby := list[len(list)/2].accepted, list[len(list)/2].standby
		fmt.Printf("%-24s %12.3f %12.3f %8.2f %6.2f\n", p.name, accepted, standby, ratios[len(ratios)/2], p.aim)
	}
	fmt.Println()
}

// cost is what a sample of each kind costs, in microseconds of all nodes' processors.
type cost struct{ accepted, standby float64 }

func measurePair(s *harness.Stage, p pair, o options, round int64) cost {
	to := newSink(s)
	sys := nodes(p.nodes)(s, to)
	a, b := p.traffic(2*round, "a", o.pace), p.traffic(2*round+1, "b", o.pace)
	sent := 0
	run := func(sources ...source) float64 {
		before := cpuSeconds(s, sys.processes)
		var all sync.WaitGroup
		for _, from := range sources {
			all.Go(func() {
				send(s, sys.write+from.query, o.connections, o.requests, o.pace, func(i int) []byte { return from.traffic.body(sent + i) })
			})
		}
		all.Wait()
		sent += o.requests
		time.Sleep(time.Second) // cursors and flushes belong to it
		return cpuSeconds(s, sys.processes) - before
	}
	run(a) // the first to come is the current one
	run(a, b)
	alone, both := run(a), run(a, b)
	both, alone = both+run(a, b), alone+run(a) // a machine that becomes slower adds as much to either
	samples := float64(2 * o.requests * seriesPerRequest)
	return cost{accepted: alone * 1e6 / samples, standby: (both - alone) * 1e6 / samples}
}

// source is one of a pair.
type source struct {
	query   string
	traffic *traffic
}

// traffic has the time of its samples go on as fast as they are sent, so that what is kept of a standby is released again.
func (p pair) traffic(seed int64, name string, pace int) source {
	s := source{query: "?highlander_group=bench&highlander_source=" + name, traffic: newTraffic("", seed)}
	if p.labels {
		s = source{traffic: newTraffic("prometheus-k8s-"+name, seed)}
	}
	s.traffic.step = int64(max(1000/max(pace, 1), 1))
	return s
}
