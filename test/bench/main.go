// Command bench compares the whole highlander binary with Debian's vmagent on the same traffic, and measures what
// happens with a large backlog: restart, a joiner, draining, memory. Runs alternate, so that a slow moment of the
// machine hits both; ratios of one run count, absolute figures do not. `make bench` runs it.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/highlander-io/highlander/test/harness"
)

type options struct {
	rounds      int
	requests    int
	connections int
	pace        int
	backlog     int64
	joiner      int64
}

func main() {
	var o options
	var binary, scenarios string
	flag.StringVar(&binary, "highlander", "", "the binary; built if empty")
	flag.StringVar(&scenarios, "scenarios", "cpu,standby,backlog,joiner", "which to run")
	flag.IntVar(&o.rounds, "rounds", 3, "rounds of the comparison")
	flag.IntVar(&o.requests, "requests", 1000, "requests of a run of the comparison, 2000 samples each")
	flag.IntVar(&o.pace, "pace", 200, "requests per second of each source of a pair, beside a standby")
	flag.IntVar(&o.connections, "connections", 8, "connections that send at once")
	flag.Int64Var(&o.backlog, "backlog", 2<<30, "bytes of the backlog before a restart and a drain")
	flag.Int64Var(&o.joiner, "joiner", 1<<30, "bytes of the backlog that a joiner takes over")
	flag.Parse()
	os.Exit(harness.OnStage(func(s *harness.Stage) {
		if binary != "" {
			if err := os.Setenv("HIGHLANDER_BINARY", binary); err != nil {
				s.Fatal(err)
			}
		}
		for _, scenario := range strings.Split(scenarios, ",") {
			run, ok := map[string]func(*harness.Stage, options){"cpu": compare, "standby": standby, "backlog": backlog, "joiner": joiner}[scenario]
			if !ok {
				s.Fatalf("unknown scenario %q: want cpu, standby, backlog or joiner", scenario)
			}
			run(s, o)
		}
	}))
}

// namedA names the source in the URL.
const namedA = "?highlander_group=bench&highlander_source=a"

// replicaName is of usual length.
const replicaName = "prometheus-k8s-0"

// contestant is one way to get samples from here to the sink.
type contestant struct {
	name    string
	replica string
	start   func(s *harness.Stage, sink *sink) system
	base    string // whose CPU it is compared with
	aim     float64
}

// system is what runs: where to write, and whose CPU counts.
type system struct {
	write     string
	processes []*harness.Process
}

func contestants() []contestant {
	return []contestant{
		{name: "vmagent", start: agent(false)},
		{name: "standalone", start: nodes(1), base: "vmagent", aim: 0.5},
		{name: "three nodes", start: nodes(3), base: "vmagent", aim: 1.5},
		{name: "vmagent, replica label", replica: replicaName, start: agent(false)},
		{name: "vmagent, replica label dropped", replica: replicaName, start: agent(true)},
		{name: "standalone, replica label", replica: replicaName, start: nodes(1), base: "vmagent, replica label", aim: 0.8},
	}
}

// agent starts vmagent with its defaults; drop adds a relabelling that removes the replica label.
func agent(drop bool) func(*harness.Stage, *sink) system {
	return func(s *harness.Stage, to *sink) system {
		var extra []string
		if drop {
			extra = append(extra, "-remoteWrite.relabelConfig="+relabelFile(s))
		}
		p, write := harness.StartVMAgent(s, to.url(), extra...)
		return system{write, []*harness.Process{p}}
	}
}

func relabelFile(s *harness.Stage) string {
	file := s.TempDir() + "/relabel.yml"
	if err := os.WriteFile(file, []byte("- action: labeldrop\n  regex: __replica__\n"), 0o644); err != nil {
		s.Fatal(err)
	}
	return file
}

// nodes starts highlander with its defaults; writes go to the first node, which may have to forward them.
func nodes(n int) func(*harness.Stage, *sink) system {
	return func(s *harness.Stage, to *sink) system {
		c := cluster(s, n, to)
		sys := system{write: c.Leader().WriteURL()}
		for _, node := range c.Nodes {
			sys.processes = append(sys.processes, node.Process)
		}
		return sys
	}
}

func cluster(s *harness.Stage, n int, to *sink) *harness.Cluster {
	c := harness.NewCluster(s, n, harness.Map{"name": "sink", "url": to.url()})
	c.Set("handover", "window_bytes", "1GiB") // no request of a standby is refused, however many there are
	if n == 1 {
		c.Set("cluster", "join", []string{})
	}
	c.Start().WaitReady()
	return c
}

// figure is what a run costs.
type figure struct {
	cpu     float64 // microseconds per sample, user and system, of all processes
	seconds float64
	rss     int64 // peak of the largest process
}

// compare runs every contestant in turn, several times.
func compare(s *harness.Stage, o options) {
	figures := map[string][]figure{}
	list := contestants()
	for round := range o.rounds {
		for _, c := range list {
			var f figure
			if code := harness.OnStage(func(inner *harness.Stage) { f = measure(inner, c, o, round) }); code != 0 {
				s.Fatalf("%s failed", c.name)
			}
			figures[c.name] = append(figures[c.name], f)
			fmt.Printf("round %d  %-32s %6.3f µs/sample  %5.1f s  peak RSS %4d MiB\n", round+1, c.name, f.cpu, f.seconds, f.rss>>20)
		}
	}
	fmt.Printf("\n%-32s %14s %10s %8s %10s\n", "", "CPU µs/sample", "ratio", "aim", "peak RSS")
	for _, c := range list {
		cpu := median(figures[c.name], func(f figure) float64 { return f.cpu })
		rss := median(figures[c.name], func(f figure) float64 { return float64(f.rss) })
		ratio, aim := "", ""
		if c.base != "" {
			ratio = fmt.Sprintf("%.2f", paired(figures[c.name], figures[c.base]))
			aim = fmt.Sprintf("%.1f", c.aim)
		}
		fmt.Printf("%-32s %14.3f %10s %8s %6.0f MiB\n", c.name, cpu, ratio, aim, rss/(1<<20))
	}
	replica := paired(figures["standalone, replica label"], figures["vmagent, replica label dropped"])
	fmt.Printf("with a replica label, against a vmagent that removes it too: %.2f\n\n", replica)
}

// paired is the median of the ratios of runs that were made next to each other.
func paired(a, b []figure) float64 {
	ratios := make([]float64, len(a))
	for i := range a {
		ratios[i] = a[i].cpu / b[i].cpu
	}
	slices.Sort(ratios)
	return ratios[len(ratios)/2]
}

func median(list []figure, of func(figure) float64) float64 {
	values := make([]float64, len(list))
	for i, f := range list {
		values[i] = of(f)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// measure sends the traffic through one contestant until the sink has all of it.
func measure(s *harness.Stage, c contestant, o options, round int) figure {
	to := newSink(s)
	sys := c.start(s, to)
	t := newTraffic(c.replica, int64(round))
	bodies := make([][]byte, o.requests)
	for i := range bodies {
		bodies[i] = t.body(i)
	}
	before := cpuSeconds(s, sys.processes)
	started := time.Now()
	send(s, sys.write+namedA, o.connections, len(bodies), 0, func(i int) []byte { return bodies[i] })
	want := int64(o.requests * seriesPerRequest)
	harness.Eventually(s, "every sample at the sink", func() error {
		if got := to.samples(); got < want {
			return fmt.Errorf("%d of %d samples", got, want)
		}
		return nil
	})
	seconds := time.Since(started).Seconds()
	// What is done after the last answer (cursors, flushes) belongs to it.
	time.Sleep(time.Second)
	used := cpuSeconds(s, sys.processes) - before
	return figure{cpu: used * 1e6 / float64(want), seconds: seconds, rss: peakRSS(s, sys.processes)}
}
