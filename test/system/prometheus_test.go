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

// startRealRig starts all but the servers; the current one may be silent for so long.
func startRealRig(t *testing.T, failover string) *realRig {
	t.Helper()
	vm := harness.StartVictoriaMetrics(t)
	c := harness.NewCluster(t, 3, harness.To("vm", vm.WriteURL()))
	c.Set("sources", "failover_timeout", failover)
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
	r := startRealRig(t, "10m")
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
	var got []history.Sample
	harness.Eventually(t, "VictoriaMetrics to hold what the current server scraped, and nothing else", func() error {
		got = distinct(r.vm.Export(numbered))
		diff := harness.Compare(stored(a), got)
		return unless(diff == "", func() string { return diff })
	})
	r.cluster.WaitBooks()
	r.current("a")
	t.Logf("%d samples scraped by a, %d by b, %d at VictoriaMetrics", len(stored(a)), len(stored(b)), len(got))
}

// When the current server is killed, the other one takes over: each series goes on with its numbers, one server
// at a time, and nothing of either server's turn is missing.
func TestPrometheusFailover(t *testing.T) {
	r := startRealRig(t, "6s")
	a := r.prometheus("a", 1, r.cluster.Nodes[0])
	r.current("a")
	b := r.prometheus("b", 2, r.cluster.Nodes[1])
	r.scrapes(1, 6)
	a.Process.Kill()
	r.current("b")
	r.scrapes(2, 6)
	r.exporter.Stop()
	harness.Eventually(t, "the last scrape of b", func() error {
		last := newest(stored(b))
		return unless(newest(r.vm.Export(numbered)) == last, func() string { return fmt.Sprintf("no sample at %d", last) })
	})
	arrived, scraped := r.vm.Export(numbered), stored(b)
	b.Stop()
	a.Start() // to ask it what it had scraped
	turns(t, arrived, append(scraped, stored(a)...))
}

func newest(samples []history.Sample) (at int64) {
	for _, s := range samples {
		at = max(at, s.Time)
	}
	return at
}

// turns checks the numbers of each series: those of the first server, then those of the second, without a repetition in
// either, and without a hole but where a server gave up a scrape that the target had counted, as on a busy machine.
func turns(t *testing.T, samples, scraped []history.Sample) {
	t.Helper()
	series := map[string][]history.Sample{}
	for _, s := range distinct(samples) {
		series[s.Series] = append(series[s.Series], s)
	}
	if len(series) != 10 {
		t.Errorf("%d series arrived, want 10", len(series))
	}
	has := map[string]bool{}
	for _, s := range scraped {
		has[fmt.Sprint(s.Series, s.Value)] = true
	}
	for name, list := range series {
		sort.Slice(list, func(i, j int) bool { return list[i].Time < list[j].Time })
		changes := 0
		for i := 1; i < len(list); i++ {
			before, now := int(list[i-1].Value), int(list[i].Value)
			if before%16 != now%16 {
				changes++
				continue
			}
			if now <= before {
				t.Errorf("%s: scrape %d of server %d follows scrape %d", name, now/16, now%16, before/16)
			}
			for missing := before + 16; missing < now; missing += 16 {
				if has[fmt.Sprint(name, float64(missing))] {
					t.Errorf("%s: scrape %d of server %d is missing", name, missing/16, now%16)
				}
			}
		}
		if changes != 1 {
			t.Errorf("%s: server changed %d times, want 1", name, changes)
		}
	}
}
