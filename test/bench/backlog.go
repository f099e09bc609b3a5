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
// restart, and then the drain; vmagent drains the same requests from its own queue.
func backlog(s *harness.Stage, o options) {
	code := harness.OnStage(func(s *harness.Stage) {
		to := newSink(s)
		to.counting = true
		to.refuse(true)
		n := cluster(s, 1, to).Nodes[0]
		t := newTraffic(false, 1000)
		requests := fill(s, n, t, o.connections, o.backlog)
		fmt.Printf("backlog of %d MiB: %d requests, %d samples\n", o.backlog>>20, requests, requests*seriesPerRequest)

		n.Kill()
		started := time.Now()
		n.Start()
		post(s, n.WriteURL(), t.body(requests))
		fmt.Printf("restart: first acknowledgement after %.2f s (aim 3)\n", time.Since(started).Seconds())

		before := cpuSeconds(s, []*harness.Process{n.Process})
		to.refuse(false)
		to.mark()
		waitLong(s, "an empty backlog", func() error {
			status, err := n.Status()
			if err != nil {
				return err
			}
			d, _ := status.Destination("sink")
			return unless(d.Backlog.Samples == 0, "%d samples left", d.Backlog.Samples)
		})
		ours := to.rate()
		cpu := (cpuSeconds(s, []*harness.Process{n.Process}) - before) * 1e6 / float64(requests*seriesPerRequest)
		fmt.Printf("drain: %.0f samples/s, %.0f MB/s; %.3f µs CPU a sample; peak RSS since the restart %d MiB (aim under 200)\n",
			ours*float64(seriesPerRequest*requests), to.megabytes(), cpu, peakRSS(s, []*harness.Process{n.Process})>>20)
		n.Stop()

		theirs := agentDrain(s, o, t, requests)
		fmt.Printf("drain of the same by vmagent: %.0f samples/s; ratio %.1f (aim 5)\n\n", theirs*float64(seriesPerRequest*requests), ours/theirs)
	})
	if code != 0 {
		s.Fatalf("backlog failed")
	}
}

// agentDrain lets vmagent collect the requests while the sink refuses, restarts it with the sink up, so that no pause
// between retries counts, and returns drains per second.
func agentDrain(s *harness.Stage, o options, t *traffic, requests int) float64 {
	to := newSink(s)
	to.counting = true
	to.refuse(true)
	dir := s.TempDir()
	p, write := harness.StartVMAgent(s, to.url(), "-remoteWrite.tmpDataPath="+dir)
	send(s, write, o.connections, requests, t.body)
	_ = p.Signal(syscall.SIGTERM)
	if _, err := p.Exit(harness.Patience); err != nil {
		s.Fatal(err)
	}
	to.refuse(false)
	to.mark()
	p, write = harness.StartVMAgent(s, to.url(), "-remoteWrite.tmpDataPath="+dir)
	metrics := strings.TrimSuffix(write, "/api/v1/write") + "/metrics"
	waitLong(s, "an empty queue of vmagent", func() error {
		left, err := pending(metrics)
		if err == nil && left > 0 {
			err = fmt.Errorf("%.0f bytes left", left)
		}
		return err
	})
	fmt.Printf("vmagent: peak RSS while draining %d MiB\n", peakRSS(s, []*harness.Process{p})>>20)
	return to.rate()
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
		to := newSink(s)
		to.counting = true
		to.refuse(true)
		c := cluster(s, 3, to)
		fill(s, c.Leader(), newTraffic(false, 2000), o.connections, o.joiner)
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
		waitLong(s, "the joiner's vote", func() error {
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
		send(s, n.WriteURL(), connections, step, func(i int) []byte { return t.body(done + i) })
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

func waitLong(s *harness.Stage, what string, check func() error) {
	harness.EventuallyWithin(s, 20*time.Minute, what, check)
}

func unless(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf(format, args...)
}
