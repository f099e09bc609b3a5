package system

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/highlander-io/highlander/test/harness"
	"github.com/highlander-io/highlander/test/history"
)

// refuses starts a node that must end with status 1 and say why.
func refuses(t *testing.T, n *harness.Node, says ...string) {
	t.Helper()
	n.Start()
	code, err := n.Process.Exit(harness.Patience)
	out := n.Process.Output()
	if err != nil || code != 1 {
		t.Errorf("exit status %d, %v; want 1\n%s", code, err, out)
	}
	for _, s := range says {
		if !strings.Contains(out, s) {
			t.Errorf("%q is not in\n%s", s, out)
		}
	}
	if strings.Contains(out, "goroutine ") {
		t.Errorf("a stack trace is no message for people:\n%s", out)
	}
}

func TestDirectoryInUse(t *testing.T) {
	r := startRig(t, 1)
	n := r.cluster.Nodes[0]
	second := harness.NewNode(t, n.ID, r.lts.Destination())
	second.Set("storage", "path", n.Dir)
	refuses(t, second, n.Dir)
	r.source("a", 1).Burst(t, 5)
	r.settle(history.Rules{})
}

func TestDirectoryOfAnotherNode(t *testing.T) {
	r := startRig(t, 1)
	n := r.cluster.Nodes[0]
	n.Stop()
	n.Set("node", "id", "other")
	refuses(t, n, "n1", "other")
}

func TestUnreadableConfig(t *testing.T) {
	n := harness.NewNode(t, "n1", harness.To("lts", "http://127.0.0.1:1/"))
	n.Config["storgae"] = harness.Map{"path": "x"}
	refuses(t, n, "storgae", "highlander.yml:")
	delete(n.Config, "storgae")
	n.Set("storage", "max_bytes", "many")
	refuses(t, n, "max_bytes")
	n.Set("storage", "max_bytes", "1GiB")
	n.SetDestinations(harness.Map{"url": "http://127.0.0.1:1/"})
	refuses(t, n, "name")
	missing := harness.Run(t, "run", "--config.file", filepath.Join(t.TempDir(), "none.yml"))
	if missing.Code != 1 || !strings.Contains(missing.Stderr, "none.yml") {
		t.Errorf("a missing file: %+v", missing)
	}
	for _, args := range [][]string{{"rum"}, {"status", "surplus"}, {"run", "--no.such.flag"}, {}} {
		if got := harness.Run(t, args...); len(args) > 0 && got.Code != 2 {
			t.Errorf("%v: exit status %d, want 2", args, got.Code)
		}
	}
}

// A bad file keeps the last good one, says why, and shows it in metrics.
func TestReloadOfBadFile(t *testing.T) {
	r := startRig(t, 1)
	n := r.cluster.Nodes[0]
	n.Config["nonsense"] = 1
	n.WriteConfig()
	code, body, err := n.Post("/-/reload", "", nil)
	if err != nil || code < 400 || !strings.Contains(body, "nonsense") {
		t.Errorf("reload of a bad file answers %d %q, %v", code, body, err)
	}
	metric := func(want string) {
		harness.Eventually(t, want, func() error {
			_, body, err := n.Get("/metrics")
			if err != nil {
				return err
			}
			return unless(strings.Contains(body, "\nhighlander_config_last_reload_successful "+want+"\n"), func() string { return "another value" })
		})
	}
	metric("0")
	r.source("a", 1).Burst(t, 5)
	delete(n.Config, "nonsense")
	n.HangUp()
	metric("1")
	r.settle(history.Rules{})
}

// A list of only itself is an error; a list whose order differs is the same list.
func TestJoinLists(t *testing.T) {
	lonely := harness.NewCluster(t, 1, harness.To("lts", "http://127.0.0.1:1/")).Nodes[0]
	refuses(t, lonely, "join")

	r := newRig(t, 3)
	join := r.cluster.Nodes[0].Config["cluster"].(harness.Map)["join"].([]any)
	for _, n := range r.cluster.Nodes {
		join = append(slices.Clone(join[1:]), join[0])
		n.Set("cluster", "join", join)
	}
	r.cluster.Start().WaitReady().Voters(3)
	r.source("a", 1).Burst(t, 5)
	r.settle(history.Rules{})
}

// A node that the others' lists lack waits and says so; with the list mended it finds its place.
func TestJoinListsThatDiffer(t *testing.T) {
	r := newRig(t, 3)
	all := r.cluster.Nodes[0].Config["cluster"].(harness.Map)["join"].([]any)
	odd := r.cluster.Nodes[0]
	odd.Set("cluster", "join", all[1:]) // lacks the node itself
	r.cluster.Nodes[1].Set("cluster", "join", all[:2])
	r.cluster.Start()
	for _, n := range r.cluster.Nodes {
		n.WaitUp()
		harness.Eventually(t, "a reason to wait", func() error {
			out := n.Process.Output()
			return unless(strings.Contains(out, "not a member of a cluster yet"), func() string { return out })
		})
		if n.Ready() == nil {
			t.Errorf("node %s is ready although the lists differ", n.ID)
		}
	}
	for _, n := range r.cluster.Nodes[:2] {
		n.Stop()
		n.Set("cluster", "join", all)
	}
	r.cluster.Start().WaitReady().Voters(3)
	oneCluster(t, r.cluster)
}

// A wrong address, and a cluster where there already are batches, are refused in words.
func TestJoinRefused(t *testing.T) {
	r := startRig(t, 1)
	r.source("a", 1).Burst(t, 5)
	n := r.cluster.Nodes[0]
	other := startRig(t, 1)
	other.cluster.Nodes[0].WaitReady()
	if got := n.Command("cluster", "join", other.cluster.Nodes[0].ClusterAddr); got.Code != 1 || got.Stderr == "" {
		t.Errorf("join of a node that holds batches: %+v, want status 1", got)
	}
	empty := other.cluster.Nodes[0]
	if got := empty.Command("cluster", "join", harness.Address(harness.FreePort())); got.Code != 1 || got.Stderr == "" {
		t.Errorf("join to nobody: %+v, want status 1", got)
	}
	if got := empty.Command("cluster", "join"); got.Code != 2 {
		t.Errorf("join without an address: %+v, want status 2", got)
	}
	r.settle(history.Rules{})
	other.source("b", 2).Burst(t, 5)
	other.settle(history.Rules{})
}

// A second node under a name that is alive is refused, and changes nothing.
func TestTwoLiveNodesWithOneName(t *testing.T) {
	r := startRig(t, 3)
	a, _ := r.pair()
	double := harness.NewNode(t, "n2", r.lts.Destination())
	double.Set("cluster", "join", r.cluster.Nodes[0].Config["cluster"].(harness.Map)["join"])
	double.Start()
	harness.Eventually(t, "a refusal", func() error {
		out := double.Process.Output()
		return unless(!double.Process.Running() || strings.Contains(out, "n2") && strings.Contains(out, "not a member of a cluster yet"), func() string { return out })
	})
	r.flowing(a)
	if double.Process.Running() && double.Ready() == nil {
		t.Error("the second n2 is ready")
	}
	s, err := r.cluster.Leader().Status()
	if err != nil || len(s.Cluster.Nodes) != 3 {
		t.Errorf("members %+v, %v", s.Cluster.Nodes, err)
	}
	double.Kill()
	r.finish(history.Rules{Counters: true})
}

// A node of the first configuration that is lost before the first sample takes its place on a new disk.
func TestLostBeforeFirstEntry(t *testing.T) {
	r := startRig(t, 3)
	n := r.cluster.Followers()[0]
	n.Kill()
	n.Wipe()
	n.Start().WaitReady()
	r.cluster.Voters(3)
	r.source("a", 1).Burst(t, 10)
	r.settle(history.Rules{})
}

// backlogOnDisk leaves a stopped standalone node with batches in its log that the LTS has not got.
func backlogOnDisk(t *testing.T) (*rig, *harness.Node) {
	t.Helper()
	r := startRig(t, 1)
	r.lts.Down()
	a := r.source("a", 1)
	a.Burst(t, 100)
	n := r.cluster.Nodes[0]
	n.Stop()
	return r, n
}

// segments are the files of the log.
func segments(t *testing.T, n *harness.Node) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(n.Dir, "wal", "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no segments in %s: %v", n.Dir, err)
	}
	return files
}

// flip changes one byte in the middle of what a stopped node's log holds and returns the file's name.
func flip(t *testing.T, n *harness.Node) string {
	t.Helper()
	for _, file := range segments(t, n) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if at := strings.Index(string(data), "numbered_total"); at >= 0 {
			data[at] ^= 0x40
			if err := os.WriteFile(file, data, 0o644); err != nil {
				t.Fatal(err)
			}
			return filepath.Base(file)
		}
	}
	t.Fatal("no batch in the log")
	return ""
}

// Damage in the middle: `wal verify` names segment, offset and index, the node refuses to start, and says how to
// go on.
func TestCorruptSegment(t *testing.T) {
	_, n := backlogOnDisk(t)
	n.Must("wal", "verify")
	file := flip(t, n)
	got := n.Command("wal", "verify")
	if got.Code != 1 || !strings.Contains(got.Stdout+got.Stderr, file) {
		t.Errorf("verify of a damaged log: %+v, want status 1 and %s", got, file)
	}
	for _, word := range []string{"offset", "index"} {
		if !strings.Contains(strings.ToLower(got.Stdout+got.Stderr), word) {
			t.Errorf("verify does not name the %s: %+v", word, got)
		}
	}
	refuses(t, n, "corrupt segment", "offset", "index", "move")
}

// In a cluster such a node comes back on an empty directory with everything.
func TestCorruptSegmentInCluster(t *testing.T) {
	r := startRig(t, 3)
	a, _ := r.pair()
	r.lts.Down()
	r.backlog(400)
	n := r.cluster.Followers()[0]
	harness.Eventually(t, "batches in the log of "+n.ID, func() error {
		m, err := n.Metrics()
		return errors.Join(err, unless(m.Sum("highlander_destination_backlog_samples") > 0, func() string { return "none" }))
	})
	n.Stop()
	flip(t, n)
	refuses(t, n)
	n.Wipe()
	n.Start().WaitReady()
	r.cluster.Voters(3)
	r.flowing(a)
	r.lts.Up()
	r.finish(history.Rules{Repeats: true, Counters: true})
	verifyStopped(t, r.cluster)
}

// A torn tail, as a power loss leaves it, disappears whole; everything before it stays.
func TestTornTail(t *testing.T) {
	r, n := backlogOnDisk(t)
	files := segments(t, n)
	torn := false
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if end := len(strings.TrimRight(string(data), "\x00")); strings.Contains(string(data), "numbered_total") && end > 0 {
			// Half a record of what might have been the next write.
			tail := append(slices.Clone(data[end-min(end, 40):end]), data[:20]...)
			f, err := os.OpenFile(file, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt(tail[:30], int64((end+511)/512*512)); err != nil {
				t.Fatal(err)
			}
			f.Close()
			torn = true
		}
	}
	if !torn {
		t.Fatal("no batch in the log")
	}
	n.Start().WaitReady()
	r.lts.Up()
	r.settle(history.Rules{Repeats: true, Counters: true})
}

// Admin commands work on any node, as tables and as JSON, and name the right names for wrong ones.
func TestCommands(t *testing.T) {
	r := startRig(t, 3)
	r.pair()
	follower := r.cluster.Followers()[0]
	harness.Eventually(t, "a follower that knows the group", func() error {
		m, err := follower.Metrics()
		return errors.Join(err, unless(m.Sum("highlander_samples_accepted_total", "group", "g") > 0, func() string { return "not yet" }))
	})
	for _, args := range [][]string{
		{"status"}, {"cluster", "status"}, {"source", "list"}, {"source", "history", "g"}, {"destination", "list"},
		{"dead-letter", "list"}, {"wal", "info"}, {"wal", "verify"}, {"wal", "dump"},
	} {
		if out := follower.Must(args...); strings.TrimSpace(out) == "" {
			t.Errorf("%v prints nothing", args)
		}
		out := strings.TrimSpace(follower.Must(append(args, "--output", "json")...))
		if !strings.HasPrefix(out, "{") && !strings.HasPrefix(out, "[") {
			t.Errorf("%v --output json prints %.80q", args, out)
		}
	}
	for _, tt := range []struct {
		args []string
		says string
	}{
		{[]string{"source", "promote", "g", "c"}, "a"},
		{[]string{"source", "promote", "h", "a"}, "g"},
		{[]string{"destination", "pause", "ltss"}, "lts"},
		{[]string{"cluster", "remove", "n9"}, "n1"},
		{[]string{"cluster", "transfer-leadership", "n9"}, "n1"},
		{[]string{"dead-letter", "show", "nothing"}, "nothing"},
	} {
		got := follower.Ask(tt.args...)
		if got.Code != 1 || !strings.Contains(got.Stderr, tt.says) {
			t.Errorf("%v: %+v, want status 1 and %q on stderr", tt.args, got, tt.says)
		}
	}
	follower.Must("destination", "pause", "lts")
	harness.Eventually(t, "paused", func() error {
		d := r.destination("lts")
		return unless(d.State == "paused", func() string { return fmt.Sprintf("%+v", d) })
	})
	r.backlog(100)
	follower.Must("destination", "resume", "lts")
	follower.Must("cluster", "transfer-leadership", follower.ID)
	r.lead(follower)
	r.finish(history.Rules{Repeats: true, Counters: true})
}
