package system

import (
	"fmt"
	"sort"
	"testing"

	"github.com/highlander-io/highlander/test/harness"
	"github.com/highlander-io/highlander/test/history"
)

const numbered = `numbered_total{job="numbered"}`

// realRig is three nodes between real Prometheus servers and a real VictoriaMetrics.
type realRig struct {
	t        *testing.T
	cluster  *harness.Cluster
	vm       *harness.VictoriaMetrics
	exporter *harness.Exporter
}

func startRealRig(t *testing.T) *realRig {
	t.Helper()
	vm := harness.StartVictoriaMetrics(t)
	c := harness.NewCluster(t, 3, harness.To("vm", vm.WriteURL()))
	c.Set("sources", "failover_timeout", "3s")
	return &realRig{t, c.Start().WaitReady(), vm, harness.StartExporter(t, 10)}
}

// prometheus starts a server of group prod that names itself by labels and writes to one node.
func (r *realRig) prometheus(name string, number int, node *harness.Node) *harness.Prometheus {
	r.t.Helper()
	return harness.StartPrometheus(r.t, harness.PrometheusOptions{
		Name: name, Labels: map[string]string{"cluster": "prod", "__replica__": name},
		Target: r.exporter.Address, Params: map[string]string{"scraper": fmt.Sprint(number)},
		Interval: "500ms", WriteURL: node.WriteURL(),
	})
}

// scrapes waits until a server has scraped n more times.
func (r *realRig) scrapes(number, n int) {
	r.t.Helper()
	want := r.exporter.Scrapes(number) + n
	harness.Eventually(r.t, fmt.Sprintf("%d scrapes by %d", want, number), func() error {
		got := r.exporter.Scrapes(number)
		return unless(got >= want, func() string { return fmt.Sprint(got) })
	})
}

func (r *realRig) current(name string) {
	r.t.Helper()
	(&rig{t: r.t, cluster: r.cluster}).current("prod", name)
}

// stored is what a server has scraped, labelled as it leaves highlander: with its group, without its replica.
func stored(p *harness.Prometheus) []history.Sample {
	samples := p.Samples(numbered)
	for i := range samples {
		samples[i].Series = `__name__="numbered_total",cluster="prod"` + samples[i].Series[len(`__name__="numbered_total"`):]
	}
	return samples
}

func distinct(samples []history.Sample) []history.Sample {
	seen := map[history.Sample]bool{}
	var out []history.Sample
	for _, s := range samples {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}

// A real pair: everything that the current server has scraped is at VictoriaMetrics and nothing of the standby,
// across the death of the leader and an outage of VictoriaMetrics.
func TestPrometheusPair(t *testing.T) {
	r := startRealRig(t)
	a := r.prometheus("a", 1, r.cluster.Nodes[0])
	r.current("a")
	b := r.prometheus("b", 2, r.cluster.Nodes[1])
	r.scrapes(2, 4)

	leader := r.cluster.Leader()
	leader.Kill()
	r.scrapes(1, 4)
	leader.Start().WaitReady()
	r.vm.Stop()
	r.scrapes(1, 6)
	r.vm.Start()
	r.scrapes(1, 4)

	r.exporter.Stop()
	r.settled(a, r.vm)
	if r.cluster.WaitBooks(); t.Failed() {
		return
	}
	got := distinct(r.vm.Export(numbered))
	if diff := harness.Compare(stored(a), got); diff != "" {
		t.Errorf("what the current server scraped and what VictoriaMetrics holds differ: %s", diff)
	}
	r.current("a")
	t.Logf("%d samples scraped by a, %d by b, %d at VictoriaMetrics", len(stored(a)), len(stored(b)), len(got))
}

// settled waits until VictoriaMetrics has the newest sample of a server.
func (r *realRig) settled(p *harness.Prometheus, vm *harness.VictoriaMetrics) {
	r.t.Helper()
	want := stored(p)
	harness.Eventually(r.t, "the samples of "+p.Name, func() error {
		have := map[history.Sample]bool{}
		for _, s := range vm.Export(numbered) {
			have[s] = true
		}
		missing := 0
		for _, s := range want {
			if !have[s] {
				missing++
			}
		}
		return unless(missing == 0, func() string { return fmt.Sprintf("%d of %d samples are missing", missing, len(want)) })
	})
}

// When the current server is killed, the other one takes over: each series goes on with its numbers, one server
// at a time, and nothing of either server's turn is missing.
func TestPrometheusFailover(t *testing.T) {
	r := startRealRig(t)
	a := r.prometheus("a", 1, r.cluster.Nodes[0])
	r.current("a")
	b := r.prometheus("b", 2, r.cluster.Nodes[1])
	r.scrapes(1, 6)
	a.Process.Kill()
	r.current("b")
	r.scrapes(2, 6)
	r.exporter.Stop()
	last := float64(16*r.exporter.Scrapes(2) + 2)
	harness.Eventually(t, "the last scrape of b", func() error {
		for _, s := range r.vm.Export(numbered) {
			if s.Value == last {
				return nil
			}
		}
		return fmt.Errorf("no sample with value %v", last)
	})
	turns(t, r.vm.Export(numbered))
	b.Stop()
}

// turns checks the numbers of each series: those of the first server, then those of the second, without a hole
// or a repetition in either.
func turns(t *testing.T, samples []history.Sample) {
	t.Helper()
	series := map[string][]history.Sample{}
	for _, s := range distinct(samples) {
		series[s.Series] = append(series[s.Series], s)
	}
	if len(series) != 10 {
		t.Errorf("%d series arrived, want 10", len(series))
	}
	for name, list := range series {
		sort.Slice(list, func(i, j int) bool { return list[i].Time < list[j].Time })
		changes := 0
		for i := 1; i < len(list); i++ {
			before, now := int(list[i-1].Value), int(list[i].Value)
			switch {
			case before%16 != now%16:
				changes++
			case now != before+16:
				t.Errorf("%s: scrape %d of server %d follows scrape %d", name, now/16, now%16, before/16)
			}
		}
		if changes != 1 {
			t.Errorf("%s: server changed %d times, want 1", name, changes)
		}
	}
}
