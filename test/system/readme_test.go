package system

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/highlander-io/highlander/test/harness"
	"github.com/highlander-io/highlander/test/history"
)

func readme(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(harness.Root(), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// The configuration file of README passes `config check`, and so does what `config default` prints.
func TestREADMEConfiguration(t *testing.T) {
	checked := 0
	for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(readme(t), -1) {
		if !strings.Contains(block[1], "storage:") {
			continue
		}
		checked++
		check(t, block[1])
	}
	if checked != 1 {
		t.Errorf("README has %d configuration files of highlander, want 1", checked)
	}
	got := harness.Run(t, "config", "default")
	if got.Code != 0 {
		t.Fatalf("config default: %+v", got)
	}
	check(t, got.Stdout)
}

func check(t *testing.T, config string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "highlander.yml")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := harness.Run(t, "config", "check", file); got.Code != 0 {
		t.Errorf("config check: %+v\n%s", got, config)
	}
}

// Every metric that README tells people to look at exists by the contract, and every command can be asked for help.
func TestREADMENames(t *testing.T) {
	text := readme(t)
	for _, name := range regexp.MustCompile(`highlander_[a-z_]+`).FindAllString(text, -1) {
		known := strings.HasPrefix(name, "highlander_group") || name == "highlander_source" || name == "highlander_weight"
		for _, metric := range contract {
			known = known || metric == name
		}
		if !known {
			t.Errorf("README names %s, which is no metric of the contract", name)
		}
	}
	commands := regexp.MustCompile("`highlander ((?:status|cluster|source|destination|dead-letter|wal|config|tls|version)(?: [a-z-]+)?)").FindAllStringSubmatch(text, -1)
	if len(commands) < 8 {
		t.Errorf("README names %d commands, want more", len(commands))
	}
	for _, c := range commands {
		args := append(strings.Fields(c[1]), "--help")
		if got := harness.Run(t, args...); got.Code != 0 {
			t.Errorf("highlander %v: %+v", args, got)
		}
	}
}

// Three nodes with certificates made by `highlander tls`, one of them replaced, and a stranger without any.
func TestClusterOverTLS(t *testing.T) {
	r := newRig(t, 3)
	dir := t.TempDir()
	must := func(args ...string) {
		if got := harness.Run(t, args...); got.Code != 0 {
			t.Fatalf("%v: %+v", args, got)
		}
	}
	must("tls", "ca", "--dir", dir)
	for _, n := range r.cluster.Nodes {
		must("tls", "node", "--dir", dir, "--host", "127.0.0.1", n.ID)
		n.Set("cluster", "tls", harness.Map{
			"ca_file":   filepath.Join(dir, "ca.crt"),
			"cert_file": filepath.Join(dir, n.ID+".crt"), "key_file": filepath.Join(dir, n.ID+".key"),
		})
	}
	r.cluster.Start().WaitReady().Voters(3)
	a, _ := r.pair()
	n := r.cluster.Followers()[0]
	n.Kill()
	n.Wipe()
	n.Start().WaitReady()
	r.cluster.Voters(3)

	stranger := harness.NewNode(t, "n4", r.lts.Destination())
	stranger.Set("cluster", "join", r.cluster.Nodes[0].Config["cluster"].(harness.Map)["join"])
	stranger.Start().WaitUp()
	harness.Eventually(t, "a refusal", func() error {
		out := stranger.Process.Output()
		return unless(strings.Contains(out, "not a member of a cluster yet"), func() string { return out })
	})
	r.flowing(a)
	if stranger.Ready() == nil {
		t.Error("a node without a certificate is ready")
	}
	r.cluster.Voters(3)
	stranger.Kill()
	r.finish(history.Rules{Repeats: true, Counters: true})
}
