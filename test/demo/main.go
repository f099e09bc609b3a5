// Command demo shows highlander at work: three nodes behind HAProxy, two Prometheus servers that scrape all that runs
// here, and VictoriaMetrics. With CHAOS=1 it kills the current Prometheus, then the leader, then stops
// VictoriaMetrics for a while, and ends with what VictoriaMetrics holds. `make demo` runs it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sort"
	"strings"
	"syscall"
	"time"

	"github.com/highlander-io/highlander/test/harness"
	"github.com/highlander-io/highlander/test/history"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	chaos := os.Getenv("CHAOS") != "" && os.Getenv("CHAOS") != "0"
	os.Exit(harness.OnStage(func(s *harness.Stage) { newDemo(s).run(ctx, chaos) }))
}

type demo struct {
	stage   *harness.Stage
	cluster *harness.Cluster
	vm      *harness.VictoriaMetrics
	servers map[string]*harness.Prometheus
	proxy   string
}

const group = "demo"

func newDemo(s *harness.Stage) *demo {
	d := &demo{stage: s, servers: map[string]*harness.Prometheus{}}
	say("starting VictoriaMetrics, three highlander nodes, HAProxy and two Prometheus servers …")
	d.vm = harness.StartVictoriaMetrics(s)
	to := harness.To("victoria-metrics", d.vm.WriteURL())
	d.cluster = harness.NewCluster(s, 3, to).Set("sources", "failover_timeout", "5s").Start().WaitReady()
	_, d.proxy = harness.StartHAProxy(s, d.cluster.Nodes)
	for _, name := range []string{"a", "b"} {
		d.servers[name] = d.prometheus(name)
	}
	return d
}

// prometheus starts a server of the pair; both scrape the nodes and VictoriaMetrics.
func (d *demo) prometheus(name string) *harness.Prometheus {
	o := harness.PrometheusOptions{
		Name: "prometheus-" + name, Labels: map[string]string{"cluster": group, "__replica__": name},
		Job: "demo", Target: d.vm.Web, WriteURL: "http://" + d.proxy + "/api/v1/write",
	}
	for _, n := range d.cluster.Nodes {
		o.Targets = append(o.Targets, n.Web)
	}
	return harness.StartPrometheus(d.stage, o)
}

func (d *demo) run(ctx context.Context, chaos bool) {
	for _, n := range d.cluster.Nodes {
		say("highlander %s     http://%s/", n.ID, n.Web)
	}
	say("remote write      http://%s/api/v1/write", d.proxy)
	for _, name := range []string{"a", "b"} {
		say("prometheus %s      http://%s/", name, d.servers[name].Web)
	}
	say("VictoriaMetrics   http://%s/vmui/", d.vm.Web)
	say("admin commands    bin/highlander status --storage.path %s", d.cluster.Nodes[0].Dir)
	if chaos {
		d.chaos(ctx)
		return
	}
	say("Ctrl-C stops everything")
	d.watch(ctx, 365*24*time.Hour)
	say("stopping …")
}

// watch prints a line every few seconds; false: Ctrl-C.
func (d *demo) watch(ctx context.Context, span time.Duration) bool {
	end := time.After(span)
	ticker := time.NewTicker(3 * time.Second)
	defer ticker.Stop()
	for {
		d.line()
		select {
		case <-ctx.Done():
			return false
		case <-end:
			return true
		case <-ticker.C:
		}
	}
}

func (d *demo) status() (harness.Status, error) {
	var s harness.Status
	err := fmt.Errorf("no node runs")
	for _, n := range d.cluster.Running() {
		if s, err = n.Status(); err == nil && !s.Stale {
			return s, nil
		}
	}
	return s, err
}

// line says what is going on.
func (d *demo) line() {
	s, err := d.status()
	if err != nil {
		say("no status: %v", err)
		return
	}
	g, _ := s.Group(group)
	to, _ := s.Destination("victoria-metrics")
	states := make([]string, len(g.Sources))
	for i, source := range g.Sources {
		states[i] = source.Name + " " + source.State
	}
	say("leader %-3s  current %-2s (%s)  backlog %5d samples  delivered %7d  %s", or(s.Cluster.Leader), or(g.Current),
		strings.Join(states, ", "), to.Backlog.Samples, to.Samples.Delivered, to.State)
}

func or(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// chaos is the programme of CHAOS=1.
func (d *demo) chaos(ctx context.Context) {
	steps := []func(context.Context) bool{d.killCurrent, d.killLeader, d.stopLTS}
	if !d.watch(ctx, 15*time.Second) {
		return
	}
	for _, step := range steps {
		if !step(ctx) {
			return
		}
	}
	d.cluster.WaitDrained("victoria-metrics")
	d.line()
	d.report()
}

func (d *demo) killCurrent(ctx context.Context) bool {
	var current string
	harness.Eventually(d.stage, "a current source", func() error {
		s, err := d.status()
		if g, _ := s.Group(group); err == nil && g.Current == "" {
			err = fmt.Errorf("group %s has none yet", group)
		} else {
			current = g.Current
		}
		return err
	})
	say("*** kill -9 of prometheus %s, the current source; the other takes over after 5 s of silence", current)
	d.servers[current].Process.Kill()
	if !d.watch(ctx, 12*time.Second) {
		return false
	}
	say("*** prometheus %s comes back, as standby", current)
	d.servers[current].Start()
	return d.watch(ctx, 6*time.Second)
}

func (d *demo) killLeader(ctx context.Context) bool {
	leader := d.cluster.Leader()
	say("*** kill -9 of %s, the leader; the Prometheus servers repeat what was not answered", leader.ID)
	leader.Kill()
	if !d.watch(ctx, 9*time.Second) {
		return false
	}
	say("*** %s comes back", leader.ID)
	leader.Start().WaitReady()
	return d.watch(ctx, 6*time.Second)
}

func (d *demo) stopLTS(ctx context.Context) bool {
	say("*** VictoriaMetrics is stopped; the nodes keep what they accept")
	d.vm.Stop()
	if !d.watch(ctx, 15*time.Second) {
		return false
	}
	say("*** VictoriaMetrics is back")
	d.vm.Start()
	return d.watch(ctx, 9*time.Second)
}

// report ends the demo with what VictoriaMetrics holds.
func (d *demo) report() {
	all := d.vm.Export(`{__name__=~".+"}`)
	series := map[string]bool{}
	replicas := 0
	for _, s := range all {
		series[s.Series] = true
		if strings.Contains(s.Series, "__replica__") {
			replicas++
		}
	}
	say("VictoriaMetrics holds %d samples of %d series; %d of them with a replica label", len(all), len(series), replicas)
	gap, repeated := gaps(d.vm.Export(`up{instance="` + d.cluster.Nodes[0].Web + `"}`))
	say("of the scrapes of %s, one a second: largest gap %.1f s, %d times twice", d.cluster.Nodes[0].ID, gap.Seconds(), repeated)
	if len(all) == 0 || replicas > 0 {
		d.stage.Errorf("this is not what the demo promises")
	}
}

// gaps finds the largest time between two samples of one series, and how many came more than once.
func gaps(samples []history.Sample) (largest time.Duration, repeated int) {
	sort.Slice(samples, func(i, j int) bool { return samples[i].Time < samples[j].Time })
	for i := 1; i < len(samples); i++ {
		step := time.Duration(samples[i].Time-samples[i-1].Time) * time.Millisecond
		if step == 0 {
			repeated++
		}
		largest = max(largest, step)
	}
	return largest, repeated
}

func say(format string, args ...any) {
	fmt.Printf(time.Now().Format("15:04:05 ")+format+"\n", args...)
}
