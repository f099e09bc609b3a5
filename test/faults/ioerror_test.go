//go:build linux

package faults

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/highlander-io/highlander/test/harness"
)

// fatal is the last thing that a node says which ends by itself.
const fatal = "fatal, this process ends"

// ended waits until a node has ended by itself with status 1, and demands that it said why.
func (r *rig) ended(n *harness.Node, why ...string) {
	r.t.Helper()
	code, err := n.Process.Exit(harness.Patience)
	if err != nil || code != 1 {
		r.t.Fatalf("node %s: status %d, %v; want 1", n.ID, code, err)
	}
	said := n.Process.Output()
	said = said[strings.LastIndex(said, "msg=starting"):]
	for _, want := range why {
		if !strings.Contains(said, want) {
			r.t.Errorf("node %s ended without a word of %q:\n%s", n.ID, want, said)
		}
	}
	if strings.Contains(said, "panic") || strings.Contains(said, "goroutine ") {
		r.t.Errorf("node %s crashed:\n%s", n.ID, said)
	}
}

// The disk under the leader, then that under a follower, begins to fail for real: the node ends with a message and
// acknowledges nothing that it could not keep; the others go on; once the disk is mended it starts again with what it had.
func TestDiskBreaks(t *testing.T) {
	r := newRig(t)
	disks := map[string]*Disk{}
	r.cluster.Set("storage", "max_bytes", "64MiB").Set("storage", "min_free_bytes", "16MiB")
	for _, n := range r.cluster.Nodes {
		disks[n.ID] = NewFailingDisk(t, n.Dir, 96)
	}
	r.cluster.Start().WaitReady()
	a, b := r.pair()
	for _, role := range []string{"leader", "follower"} {
		victim := r.cluster.Leader()
		if role == "follower" {
			victim = r.cluster.Followers()[0]
		}
		r.only(victim)
		if err := disks[victim.ID].Break(); err != nil {
			t.Fatal(err)
		}
		r.ended(victim, fatal)
		r.flowing(a)
		if err := disks[victim.ID].Mend(); err != nil {
			t.Fatal(err)
		}
		victim.Start().WaitReady()
		r.flowing(a)
	}
	r.answered(b)
	r.alive()
	r.finish(afterwards)
}

// strace lets system calls of a node fail. The returned function ends that.
func (r *rig) strace(n *harness.Node, args ...string) (end func()) {
	r.t.Helper()
	args = append([]string{"-f", "-o", "/dev/null", "-p", fmt.Sprint(n.Process.PID())}, args...)
	p := harness.Start(r.t, "strace-"+n.ID, harness.Debian(r.t, "strace", "strace"), args...)
	harness.Eventually(r.t, "strace of "+n.ID, func() error {
		if !p.Running() {
			r.t.Skipf("NOT TESTED: no ptrace here: %s", p.Output())
		}
		return unless(strings.Contains(p.Output(), "attached"), p.Output)
	})
	return func() {
		_ = p.Signal(syscall.SIGTERM)
		if _, err := p.Exit(harness.Patience); err != nil {
			r.t.Error(err)
		}
	}
}

// segments are the files of a node's log, oldest first.
func segments(t testing.TB, n *harness.Node) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(n.Dir, "wal", "*.wal"))
	if err != nil || len(files) == 0 {
		t.Fatalf("segments of %s: %v, %v", n.ID, files, err)
	}
	slices.Sort(files)
	return files
}

// Each call that the log, term and vote depend on fails in turn, under load: the node ends, says what failed, acknowledges
// nothing afterwards, and is back after a start.
func TestFailedCalls(t *testing.T) {
	r := newRig(t)
	r.cluster.Set("storage", "max_bytes", "64MiB")
	r.cluster.Start().WaitReady()
	a, b := r.pair()

	cases := []struct {
		name   string
		args   func(*harness.Node) []string
		follow bool // on a follower that gets a new leader
		why    string
	}{
		{"write of the log", func(n *harness.Node) []string {
			tail := segments(t, n)
			return []string{"-P", tail[len(tail)-1], "-e", "inject=pwrite64:error=EIO"}
		}, false, "wal: append index"},
		{"sync of the log", func(*harness.Node) []string {
			return []string{"-e", "trace=io_getevents,fdatasync", "-e", "inject=io_getevents,fdatasync:error=EIO"}
		}, false, "wal: sync index"},
		{"sync of term and vote", func(n *harness.Node) []string {
			return []string{"-P", filepath.Join(n.Dir, "vote"), "-e", "inject=fsync:error=EIO"}
		}, true, "term and vote: sync"},
	}
	for _, c := range cases {
		t.Log(c.name)
		victim := r.cluster.Leader()
		if c.follow {
			victim = r.cluster.Followers()[0]
		}
		r.strace(victim, c.args(victim)...)
		if c.follow {
			r.newTerm(victim)
		}
		r.ended(victim, c.why, "input/output error")
		r.cluster.Start().WaitReady()
		r.flowing(a)
	}

	r.answered(b)
	r.alive()
	r.finish(afterwards)
}

// newTerm brings a node into a later term than it is in, which it may not survive.
func (r *rig) newTerm(n *harness.Node) {
	r.t.Helper()
	if leader := r.cluster.Leader(); leader != n {
		leader.Kill()
		return
	}
	// It was elected meanwhile, perhaps before its term could fail: whoever is to follow it begins another one.
	harness.Eventually(r.t, n.ID+" to end", func() error {
		if !n.Process.Running() {
			return nil
		}
		told := n.Command("cluster", "transfer-leadership")
		return fmt.Errorf("transfer-leadership: status %d, %s", told.Code, told.Stderr)
	})
}

// The drain comes to a place of the log that cannot be read: the node ends, another one drains from its own disk.
func TestUnreadableSegment(t *testing.T) {
	r := newRig(t)
	r.cluster.Set("storage", "max_bytes", "64MiB")
	r.cluster.Start().WaitReady()
	a := r.bulk("a", 1)
	r.lts.Down()
	a.Burst(t, 9)
	r.restart() // what was just written is not read from memory any more
	leader := r.cluster.Leader()
	first := segments(t, leader)[0]
	r.strace(leader, "-P", first, "-e", "inject=pread64:error=EIO")
	harness.Eventually(t, "the leader to lead with strace in it, or to have read already", func() error {
		if !leader.Process.Running() {
			return nil
		}
		return r.tryLead(leader)
	})
	r.lts.Up()
	r.ended(leader, "wal: read", filepath.Base(first), "input/output error")
	r.cluster.WaitDrained("lts")
	leader.Start().WaitReady()
	a.Burst(t, 2)
	r.alive()
	r.settle(afterwards)
}

// Snapshots that cannot be written are no reason to stop: the log is only kept longer, and given back when they can be.
func TestSnapshotsFail(t *testing.T) {
	r, _ := diskRig(t)
	leader := r.cluster.Leader()
	dir := filepath.Join(leader.Dir, "snapshots")
	if err := run("chattr", "+i", dir); err != nil {
		t.Skipf("NOT TESTED: no immutable directories here: %v", err)
	}
	a := r.bulk("a", 1)
	said := "snapshot failed"
	for i := 0; i < 100 && !strings.Contains(leader.Process.Output(), said); i++ {
		a.Burst(t, 4)
	}
	harness.Eventually(t, "a failed snapshot", func() error {
		return unless(strings.Contains(leader.Process.Output(), said), func() string { return "none yet" })
	})
	r.alive()
	if err := run("chattr", "-i", dir); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "a snapshot", func() error {
		files, err := os.ReadDir(dir)
		return cmp.Or(err, unless(len(files) > 0, func() string { return "none yet" }))
	})
	r.alive()
	r.settle(afterwards)
}
