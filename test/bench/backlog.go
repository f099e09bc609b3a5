package main

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/highlander-io/highlander/test/harness"
)

// backlog fills a standalone node while the sink is down, kills it, times its first acknowledgement after the
// restart, and then the drain. vmagent gets the same requests and drains them from its own queue, once as it comes when
// the sink returns, and once restarted with the sink up, so that no pause between retries counts.
func backlog(s *harness.Stage, o options) {
	code := harness.OnStage(func(s *harness.Stage) {
		to := downSink(s)
		n := cluster(s, 1, to).Nodes[0]
		t := newTraffic("", 1000)
		requests := fill(s, n, t, o.connections, o.backlog)
		samples := float64(requests * seriesPerRequest)
		fmt.Printf("backlog of %d MiB: %d requests, %.0f samples\n", o.backlog>>20, requests, samples)

		n.Kill()
		started := time.Now()
		n.Start()
		post(s, n.WriteURL(), t.body(requests))
		fmt.Printf("restart: first acknowledgement after %.2f s (aim 3)\n", time.Since(started).Seconds())

		ours := to.drain(s, n.Process, func() error {
			status, err := n.Status()
			if err != nil {
				return err
			}
			d, _ := status.Destination("sink")
			return unless(d.Backlog.Samples == 0, "%d samples left", d.Backlog.Samples)
		})
		ours.print("highlander", samples)
		n.Stop()

		asIs := agentDrain(s, o, t, requests, false)
		asIs.print("vmagent", samples)
		restarted := agentDrain(s, o, t, requests, true)
		restarted.print("vmagent, restarted", samples)
		fmt.Printf("drained after the return of the sink, vmagent's time by ours: %.1f (aim 5); rate once it flows, ours by vmagent's: %.1f\n\n",
			asIs.sinceUp/ours.sinceUp, restarted.flowing/ours.flowing)
	})
	if code != 0 {
		s.Fatalf("backlog failed")
	}
}

func downSink(s *harness.Stage) *sink {
	to := newSink(s)
	to.counting = true
	to.refuse(true)
	return to
}

// drained is how a backlog went.
type drained struct {
	sinceUp  float64 // seconds from the moment the sink was up again to its last request
	flowing  float64 // seconds from its first request to its last
	bytes    int64
	requests int
	cpu      float64 // seconds
	rss      int64   // peak
}

func (d drained) print(name string, samples float64) {
	fmt.Printf("drain by %-19s %6.1f s after the sink is up; %9.0f samples/s once it flows, %5.0f MB/s in %d requests; %.3f µs CPU a sample; peak RSS %d MiB\n",
		name+":", d.sinceUp, samples/d.flowing, float64(d.bytes)/1e6/d.flowing, d.requests, d.cpu*1e6/samples, d.rss>>20)
}

// drain lets the sink take everything and waits until check finds nothing left.
func (k *sink) drain(s *harness.Stage, p *harness.Process, check func() error) drained {
	processes := []*harness.Process{p}
	before, up := cpuSeconds(s, processes), time.Now()
	k.refuse(false)
	harness.EventuallyWithin(s, 20*time.Minute, "an empty backlog of "+p.Name, check)
	k.mu.Lock()
	defer k.mu.Unlock()
	return drained{
		sinceUp: k.last.Sub(up).Seconds(), flowing: k.last.Sub(k.first).Seconds(),
		bytes: k.bytes, requests: k.requests,
		cpu: cpuSeconds(s, processes) - before, rss: peakRSS(s, processes),
	}
}

// agentDrain lets vmagent collect the requests while the sink refuses, and drain them.
func agentDrain(s *harness.Stage, o options, t *traffic, requests int, restart bool) drained {
	to := downSink(s)
	dir := s.TempDir()
	p, write := harness.StartVMAgent(s, to.url(), "-remoteWrite.tmpDataPath="+dir)
	send(s, write, o.connections, requests, 0, t.body)
	if restart {
		_ = p.Signal(syscall.SIGTERM)
		if _, err := p.Exit(harness.Patience); err != nil {
			s.Fatal(err)
		}
		p, write = harness.StartVMAgent(s, to.url(), "-remoteWrite.tmpDataPath="+dir)
	}
	metrics := strings.TrimSuffix(write, "/api/v1/write") + "/metrics"
	return to.drain(s, p, func() error {
		left, err := pending(metrics)
		if err == nil && left > 0 {
			err = fmt.Errorf("%.0f bytes left", left)
		}
		return err
	})
}

// pending sums what vmagent says it has not sent yet.
func pending(address string) (float64, error) {
	resp, err := http.Get(address)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	body, err := readAll(resp.Body)
	if err != nil {
		return 0, err
	}
	var sum float64
	found := false
	for line := range strings.Lines(body) {
		if !strings.HasPrefix(line, "vmagent_remotewrite_pending_data_bytes") {
			continue
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(line[strings.LastIndexByte(line, ' ')+1:]), 64)
		if err != nil {
			return 0, err
		}
		sum, found = sum+v, true
	}
	if !found {
		return 0, fmt.Errorf("no vmagent_remotewrite_pending_data_bytes in %d bytes of metrics", len(body))
	}
	return sum, nil
}

// joiner fills three nodes while the sink is down, gives one of them an empty disk and times its return.
func joiner(s *harness.Stage, o options) {
	code := harness.OnStage(func(s *harness.Stage) {
		c := cluster(s, 3, downSink(s))
		fill(s, c.Leader(), newTraffic("", 2000), o.connections, o.joiner)
		n := c.Followers()[0]
		n.Kill()
		n.Wipe()
		leader := c.Leader()
		status, err := leader.Status()
		if err != nil {
			s.Fatal(err)
		}
		want := status.Storage.LastIndex
		started := time.Now()
		n.Start()
		harness.EventuallyWithin(s, 20*time.Minute, "the joiner's vote", func() error {
			status, err := leader.Status()
			if err != nil {
				return err
			}
			for _, m := range status.Cluster.Nodes {
				if m.ID == n.ID && m.Voter && m.AppliedIndex >= want {
					return nil
				}
			}
			return fmt.Errorf("members %+v", status.Cluster.Nodes)
		})
		seconds := time.Since(started).Seconds()
		fmt.Printf("joiner: %d MiB of backlog in %.1f s, %.0f MB/s; peak RSS of the joiner %d MiB, of the leader %d MiB\n\n",
			o.joiner>>20, seconds, float64(o.joiner)/1e6/seconds, peakRSS(s, []*harness.Process{n.Process})>>20, peakRSS(s, []*harness.Process{leader.Process})>>20)
	})
	if code != 0 {
		s.Fatalf("joiner failed")
	}
}

// fill writes until a node's backlog has that many bytes and returns the number of requests.
func fill(s *harness.Stage, n *harness.Node, t *traffic, connections int, bytes int64) int {
	const step = 500
	done := 0
	for {
		send(s, n.WriteURL()+namedA, connections, step, 0, func(i int) []byte { return t.body(done + i) })
		done += step
		status, err := n.Status()
		if err != nil {
			s.Fatal(err)
		}
		if d, _ := status.Destination("sink"); int64(d.Backlog.Bytes) >= bytes {
			return done
		}
	}
}

func unless(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf(format, args...)
}
