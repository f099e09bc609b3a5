//go:build linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/highlander-io/highlander/test/harness"
)

// take sends a command that goes into the log, again and again and several at once, until the node answers it with 503 for
// a reason. Somebody else has what becomes free meanwhile.
func take(t testing.TB, n *harness.Node, d *Disk, path string, command any, reason string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*harness.Patience)
	defer cancel()
	var mu sync.Mutex
	var workers sync.WaitGroup
	said, count := "", 0
	for range 8 {
		workers.Go(func() {
			for ctx.Err() == nil {
				status, text, err := n.Admin(ctx, path, command)
				mu.Lock()
				count++
				if err == nil && status == http.StatusServiceUnavailable && said == "" && strings.Contains(text, reason) {
					said = text
					cancel()
				}
				if err != nil && !n.Process.Running() {
					cancel()
				}
				if count%100 == 0 {
					_ = d.Fill(0)
				}
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	if said == "" {
		t.Fatalf("after %d commands none was refused with %q; running: %v", count, reason, n.Process.Running())
	}
	t.Logf("%s: %s is answered after %d commands: %s", n.ID, path, count, said)
}

// exhaust uses up the room of a leader's log on a disk without a byte: first all that may be used up by what can wait,
// which it refuses while it leads on, and then what is kept for delivery, until it gives leadership up.
func (r *rig) exhaust(n *harness.Node, d *Disk) {
	r.t.Helper()
	zero(r.t, n, d)
	long := strings.Repeat("<", 256) // names nothing, and takes six times as much in the log
	wish := map[string]any{"op": "weight", "tenant": long, "group": long, "source": long, "weight": 1}
	take(r.t, n, d, "/v1/source", wish, "kept for delivery")
	if s, err := n.Status(); err != nil || s.Node.Role != "leader" || s.Stale {
		r.t.Errorf("after it refused what can wait: %+v, %v", s.Node, err)
	}
	take(r.t, n, d, "/v1/dead-letter", map[string]any{"op": "replay", "id": long}, "")
}

// helpless takes the last bytes, which are enough for a short leadership, and waits until another node leads, or until none
// comes of several attempts.
func (r *rig) helpless(n *harness.Node, d *Disk) {
	r.t.Helper()
	var since uint64 // the term in which it led last
	harness.Eventually(r.t, n.ID+" to lead no more", func() error {
		s, err := n.Status()
		if err != nil {
			return err
		}
		if s.Node.Role == "leader" || since == 0 {
			take(r.t, n, d, "/v1/dead-letter", map[string]any{"op": "purge"}, "")
			since = s.Cluster.Term
		}
		another := s.Cluster.Leader != "" && s.Cluster.Leader != n.ID
		return unless(s.Node.Role != "leader" && (another || s.Cluster.Term >= since+3), func() string { return fmt.Sprintf("%+v", s.Cluster) })
	})
}

// serves checks that a node answers what needs no leader, and refuses writes with a word about the disk.
func (r *rig) serves(n *harness.Node) {
	r.t.Helper()
	for _, path := range []string{"/metrics", "/", "/-/healthy", "/api/v1/status"} {
		if code, _, err := n.Get(path); err != nil || code != http.StatusOK {
			r.t.Errorf("%s: GET %s answers %d, %v", n.ID, path, code, err)
		}
	}
	for _, args := range [][]string{{"status"}, {"source", "list"}, {"destination", "list"}, {"dead-letter", "list"}} {
		n.Must(args...)
	}
	harness.Eventually(r.t, "503 of "+n.ID, func() error {
		code, answer, err := n.Post("/api/v1/write?highlander_group=g&highlander_source=c", "application/x-protobuf", []byte{0})
		if err != nil {
			return err
		}
		return unless(code == http.StatusServiceUnavailable, func() string { return fmt.Sprint(code, answer) })
	})
	r.alive()
}

// A node without company whose disk has no byte left, and whose log has used up all that it kept in reserve: it waits,
// answers, survives a restart, and goes on by itself when there is room.
func TestNoRoomLeftStandalone(t *testing.T) {
	r := newRig(t, "n1")
	n := r.cluster.Nodes[0]
	r.cluster.Set("storage", "max_bytes", "64MiB").Set("storage", "min_free_bytes", "16MiB").Set("cluster", "join", []any{})
	disk := NewDisk(t, n.Dir, 96)
	r.cluster.Start().WaitReady()
	a, b := r.pair()
	r.lts.Hang()
	r.backlog(400)
	r.exhaust(n, disk)
	r.helpless(n, disk)
	r.saysFull(n, true)
	r.serves(n)
	r.lts.Release()
	n.Kill()
	n.Start().WaitUp()
	zero(t, n, disk)
	r.serves(n)

	if err := disk.Empty(); err != nil {
		t.Fatal(err)
	}
	n.WaitReady()
	r.saysFull(n, false)
	r.answered(a)
	r.answered(b)
	r.alive()
	r.finish(afterwards)
}

// The same of the leader of three: another one leads and delivers, and the full one follows, alive, and has everything
// when there is room.
func TestNoRoomLeftOfTheLeader(t *testing.T) {
	r, disks := diskRig(t, "n2")
	full, disk := r.cluster.Nodes[1], disks["n2"]
	a, b := r.pair()
	if leader := r.cluster.Leader(); leader != full {
		leader.Must("cluster", "transfer-leadership", "n2")
		r.leader(full)
	}
	r.lts.Hang()
	r.backlog(400)
	r.exhaust(full, disk)
	r.helpless(full, disk)
	r.leader(r.others(full)...)
	r.serves(full)
	r.lts.Release()
	harness.Eventually(t, "delivery by another leader", func() error {
		d, err := r.destination(r.leader(r.others(full)...))
		return errors.Join(err, unless(d.Backlog.Samples == 0, func() string { return fmt.Sprintf("%+v", d) }))
	})
	r.serves(full)
	if err := disk.Empty(); err != nil {
		t.Fatal(err)
	}
	full.WaitReady()
	r.answered(a)
	r.answered(b)
	r.alive()
	r.finish(afterwards)
}
