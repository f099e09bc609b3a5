package system

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang/snappy"

	"github.com/highlander-io/highlander/test/harness"
	"github.com/highlander-io/highlander/test/history"
)

// A small body that decodes to more than four times web.max_body_bytes is refused by what it declares, before anything is
// decoded; and headers have a bound as well.
func TestBomb(t *testing.T) {
	r := startRig(t, 1)
	n := r.cluster.Nodes[0]
	const memory = "process_resident_memory_bytes"
	before, err := n.Metrics()
	if err != nil {
		t.Fatal(err)
	}
	bomb := snappy.Encode(nil, make([]byte, 4*32<<20+1))
	if len(bomb) > 8<<20 {
		t.Fatalf("the bomb has %d bytes", len(bomb))
	}
	status, answer, _ := r.insist(n, request{
		query: "highlander_group=g&highlander_source=a", contentType: harness.ContentV1, encoding: "snappy", body: bomb,
	})
	if status != 413 || !strings.Contains(answer, "when decoded") {
		t.Errorf("a bomb of %d bytes: %d %s, want 413", len(bomb), status, answer)
	}
	after, err := n.Metrics()
	grown := after.Sum(memory) - before.Sum(memory)
	if t.Logf("the process has grown by %.0f bytes", grown); err != nil || grown > 64<<20 {
		t.Errorf("the process has grown by more than a bomb may cost, %v", err)
	}
	if status, answer, _ := r.write(n, request{query: "highlander_source=" + strings.Repeat("x", 80<<10)}); status != 431 && status != 0 {
		t.Errorf("80 KiB of headers: %d %s, want 431", status, answer)
	}
	r.source("a", 1).Burst(t, 5)
	r.settle(history.Rules{Counters: true})
}

// Connections above half of the files that the process may open are closed: those who are connected go on, and the log
// finds its files.
func TestTooManyConnections(t *testing.T) {
	prlimit, err := exec.LookPath("prlimit")
	if err != nil {
		t.Skip("there is no prlimit")
	}
	r := newRig(t, 1)
	n := r.cluster.Nodes[0]
	n.Prefix = []string{prlimit, "--nofile=256:256"}
	n.Set("storage", "max_bytes", "64MiB") // segments of 1 MiB
	n.Start().WaitReady()
	a := r.source("a", 1).Start(t)
	r.flowing(a)
	var held []net.Conn
	for range 300 {
		conn, err := net.Dial("tcp", n.Web)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		held = append(held, conn)
	}
	_ = held[len(held)-1].SetReadDeadline(time.Now().Add(harness.Patience))
	if _, err := held[len(held)-1].Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !isReset(err) {
		t.Errorf("connection 300 of 128: %v, want it closed", err)
	}
	r.flowing(a)
	for _, conn := range held {
		conn.Close()
	}
	r.noise(20) // new segments
	harness.Eventually(t, "refused connections in the metrics", func() error {
		m, err := n.Metrics()
		return errors.Join(err, unless(m.Sum("highlander_web_connections_refused_total") > 0, func() string { return "none" }))
	})
	r.flowing(a)
	a.Stop()
	r.cluster.WaitDrained(r.lts.Name)
	r.check(onlyJob(r, "g"), history.Rules{Counters: true, Repeats: true})
}

func isReset(err error) bool { return err != nil && strings.Contains(err.Error(), "reset") }

// Strangers at the cluster port, silent ones and chatterers, keep no member out and no write.
func TestStrangersAtTheClusterPort(t *testing.T) {
	late := harness.WatchLateness(t)
	r := startRig(t, 3)
	a := r.source("a", 1).Start(t)
	r.flowing(a)
	follower := r.cluster.Followers()[0]
	follower.Kill()
	term := r.term()
	for i := range 800 { // more silent ones than may wait for their handshake
		for _, n := range r.cluster.Running() {
			conn, err := net.Dial("tcp", n.ClusterAddr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if i%2 == 0 {
				_, _ = conn.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
			}
		}
	}
	r.flowing(a)
	follower.Start().WaitReady()
	r.flowing(a)
	r.sameTerm(term, late, "the strangers came")
	r.finish(history.Rules{Counters: true, Repeats: true})
}

// At the bound of what is kept, standbys get 503 and lose nothing; the current source does not notice.
func TestKeptIsBounded(t *testing.T) {
	const bound = 64 << 10
	late := harness.WatchLateness(t)
	r := newRig(t, 3)
	r.cluster.Set("handover", "window_bytes", "64KiB").Start().WaitReady()
	a, b := r.pair()
	harness.Eventually(t, "503 for the standby", func() error {
		return unless(strings.Contains(b.Summary(), "handover window is full"), b.Summary)
	})
	failed := a.Failed.Load()
	r.flowing(a)
	// A node that is run late may miss its leader for a moment without an election.
	if now := a.Failed.Load(); now != failed && r.leaderships() == 1 && late.Worst() <= harness.StarvedAfter {
		t.Errorf("%d requests of the current source failed meanwhile: %s", now-failed, a.Summary())
	}
	for _, n := range r.cluster.Nodes {
		m, err := n.Metrics()
		if kept := m.Sum("highlander_ingest_kept_bytes"); err != nil || kept > bound {
			t.Errorf("node %s keeps %v bytes, %v; the bound is %d", n.ID, kept, err, bound)
		}
	}
	a.Stop()
	b.Kill()
	r.settle(history.Rules{Counters: true})
}

// While the LTS is down every node says when its storage will be full, and that is about right from the beginning.
func TestStorageFullIn(t *testing.T) {
	const bound = 64 << 20
	r := newRig(t, 3)
	r.cluster.Set("storage", "max_bytes", strconv.Itoa(bound)).Start().WaitReady()
	a := r.source("a", 1)
	a.Series = 500
	a.Start(t)
	r.flowing(a)
	const fullIn = "highlander_storage_full_in_seconds"
	r.everywhere(fullIn+" at rest", func(m harness.Metrics) error {
		return unless(math.IsInf(m.Sum(fullIn), 1), func() string { return fmt.Sprint(m.Sum(fullIn)) })
	})
	r.lts.Down()
	r.backlog(1)
	from, start := r.destination(r.lts.Name).Backlog.Bytes, time.Now()
	r.everywhere(fullIn+" during an outage", func(m harness.Metrics) error {
		rate := (m.Sum("highlander_destination_backlog_bytes") - float64(from)) / time.Since(start).Seconds()
		want, got := (bound-m.Sum("highlander_wal_bytes"))/rate, m.Sum(fullIn)
		return unless(got > want*0.7 && got < want*1.4, func() string { return fmt.Sprintf("%v seconds, want about %v", got, want) })
	})
	r.lts.Up()
	r.finish(history.Rules{Counters: true, Repeats: true})
	r.everywhere(fullIn+" after it", func(m harness.Metrics) error {
		return unless(math.IsInf(m.Sum(fullIn), 1), func() string { return fmt.Sprint(m.Sum(fullIn)) })
	})
}

// everywhere waits until the metrics of every node are as they should be.
func (r *rig) everywhere(what string, check func(harness.Metrics) error) {
	r.t.Helper()
	for _, n := range r.cluster.Running() {
		harness.Eventually(r.t, what+" on "+n.ID, func() error {
			m, err := n.Metrics()
			if err != nil {
				return err
			}
			return check(m)
		})
	}
}
