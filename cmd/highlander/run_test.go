package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/highlander-io/highlander/cmd/server"
	"github.com/highlander-io/highlander/config"
)

// configured runs a command line of `run` and returns what the node was opened with.
func configured(t *testing.T, env map[string]string, line ...string) server.Options {
	t.Helper()
	p := newTestProgram()
	p.env = env
	var got server.Options
	opened := false
	p.open = func(_ context.Context, o server.Options) (node, error) {
		got, opened = o, true
		return nil, context.Canceled
	}
	if status := p.run(append([]string{"run"}, line...)); status != exitDone || !opened {
		t.Fatalf("status %d: %s", status, p.errOut.String())
	}
	return got
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// L3.
func TestPrecedence(t *testing.T) {
	file := write(t, filepath.Join(t.TempDir(), "h.yml"), "storage: {max_bytes: 2GiB}\nsources: {max_lag: 2m}\n")
	env := map[string]string{"HIGHLANDER_STORAGE_MAX_BYTES": "3GiB"}
	for _, tt := range []struct {
		name string
		env  map[string]string
		line []string
		want string
	}{
		{"default", nil, nil, "20GiB"},
		{"file", nil, []string{"--config.file", file}, "2GiB"},
		{"environment", env, []string{"--config.file", file}, "3GiB"},
		{"empty variable", map[string]string{"HIGHLANDER_STORAGE_MAX_BYTES": ""}, []string{"--config.file", file}, "2GiB"},
		{"flag", env, []string{"--config.file", file, "--storage.max-bytes", "4GiB"}, "4GiB"},
		{"flag without file", env, []string{"--storage.max-bytes=4GiB"}, "4GiB"},
		{"file from environment", map[string]string{"HIGHLANDER_CONFIG_FILE": file}, nil, "2GiB"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := configured(t, tt.env, tt.line...)
			if got := o.Config.Storage.MaxBytes.String(); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// What is laid over the file at the start is laid over it again at every reload.
func TestOverridesAtReload(t *testing.T) {
	file := write(t, filepath.Join(t.TempDir(), "h.yml"), "remote_write: [{name: a, url: http://a}]\n")
	o := configured(t, map[string]string{"HIGHLANDER_SOURCES_MAX_LAG": "3m"}, "--config.file", file, "--remote-write.url", "http://x", "--storage.when-full", "drop_oldest")
	write(t, file, "remote_write: [{name: a, url: http://a}, {name: b, url: http://b}]\nstorage: {when_full: reject}\nsources: {max_lag: 9m}\n")
	for range 2 {
		next, _, err := config.Load(o.ConfigFile)
		if err != nil {
			t.Fatal(err)
		}
		if err := o.Overrides(&next); err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, r := range next.RemoteWrite {
			names = append(names, r.Name)
		}
		if !slices.Equal(names, []string{"a", "b", "remote-0"}) || next.Storage.WhenFull != "drop_oldest" || next.Sources.MaxLag.String() != "3m" {
			t.Errorf("got %v, %s, %s", names, next.Storage.WhenFull, next.Sources.MaxLag)
		}
	}
}

// sample is a value for each setting that is not its default.
var sample = map[string]string{
	"node.id": "n7", "storage.path": "/d", "storage.max_bytes": "5GiB", "storage.min_free_bytes": "2GiB", "storage.when_full": "drop_oldest",
	"storage.dead_letter_max_bytes": "1MiB", "web.listen_address": "127.0.0.1:1", "web.config_file": "/w", "web.max_body_bytes": "1MiB",
	"web.enable_lifecycle": "true", "cluster.bind_address": "127.0.0.1:2", "cluster.advertise_address": "127.0.0.1:3", "cluster.join": "a:1,b:2",
	"cluster.tls.ca_file": "/ca", "cluster.tls.cert_file": "/cert", "cluster.tls.key_file": "/key", "cluster.insecure": "true",
	"sources.default_group": "g", "sources.unidentified": "pass", "sources.request_weight": "ignore", "sources.failover_timeout": "20s",
	"sources.preempt_after": "5s", "sources.max_lag": "2m", "sources.min_coverage": "0.8", "sources.forget_after": "2h", "handover.window_bytes": "1MiB", "handover.margin": "2m",
	"handover.clock_skew_guard": "1s",
}

// tlsKeys have to be set together.
var tlsKeys = []string{"cluster.tls.ca_file", "cluster.tls.cert_file", "cluster.tls.key_file"}

// Every scalar key of the file has a flag and an environment variable that do what the key does.
func TestEverySettingAsFlagAndVariable(t *testing.T) {
	for _, s := range config.Settings() {
		keys := []string{s.Key}
		if slices.Contains(tlsKeys, s.Key) {
			keys = tlsKeys
		}
		want := config.Default()
		env := map[string]string{}
		var before, apart []string
		for _, key := range keys {
			value, ok := sample[key]
			if !ok {
				t.Fatalf("no sample for %s", key)
			}
			if err := want.Set(key, value, ""); err != nil {
				t.Fatal(err)
			}
			flag := strings.ReplaceAll(key, "_", "-")
			env[config.EnvName(flag)] = value
			before = append(before, "--"+flag+"="+value)
			apart = append(apart, "--"+flag)
			if !s.Bool() {
				apart = append(apart, value)
			}
		}
		defaults := config.Default()
		for name, o := range map[string]server.Options{
			"variable": configured(t, env), "flag": configured(t, nil, before...), "flag, then value": configured(t, nil, apart...),
		} {
			if got := asText(t, o.Config); got != asText(t, want) || got == asText(t, defaults) {
				t.Errorf("%s as %s: got\n%s", s.Key, name, got)
			}
		}
	}
}

func asText(t *testing.T, c config.Config) string {
	t.Helper()
	text, err := c.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestLists(t *testing.T) {
	o := configured(t, nil, "--remote-write.url", "http://x/?a=1,2", "--remote-write.url=http://y", "--cluster.join", "a:1,b:2", "--cluster.join=c:3")
	if got := fmt.Sprint(o.Config.RemoteWrite[0].Name, o.Config.RemoteWrite[0].URL, o.Config.RemoteWrite[1].Name, o.Config.RemoteWrite[1].URL); got != "remote-0http://x/?a=1,2remote-1http://y" {
		t.Errorf("destinations %s", got)
	}
	if got := o.Config.Cluster.Join; !slices.Equal(got, []string{"a:1", "b:2", "c:3"}) {
		t.Errorf("join %q", got)
	}
	o = configured(t, map[string]string{"HIGHLANDER_REMOTE_WRITE_URL": "http://x/?a=1,2 http://y", "HIGHLANDER_CLUSTER_JOIN": "a:1, b:2", "HIGHLANDER_CLUSTER_REJOIN": "true"})
	if len(o.Config.RemoteWrite) != 2 || o.Config.RemoteWrite[0].URL != "http://x/?a=1,2" || !slices.Equal(o.Config.Cluster.Join, []string{"a:1", "b:2"}) || !o.Rejoin {
		t.Errorf("from the environment: %+v, %q, %t", o.Config.RemoteWrite, o.Config.Cluster.Join, o.Rejoin)
	}
	if o = configured(t, nil, "--cluster.rejoin"); !o.Rejoin {
		t.Error("--cluster.rejoin does nothing")
	}
	if o = configured(t, nil); o.Rejoin {
		t.Error("a node rejoins unasked")
	}
}

func TestRunFailures(t *testing.T) {
	dir := t.TempDir()
	bad := write(t, filepath.Join(dir, "bad.yml"), "node:\n  idd: x\n")
	wrong := write(t, filepath.Join(dir, "wrong.yml"), "\ncluster:\n  bind_address: 10.0.0.1:6746\n")
	for _, tt := range []struct {
		line []string
		want string
	}{
		{[]string{"--config.file", bad}, bad + `:2: unknown key "node.idd"; did you mean "id"?`},
		{[]string{"--config.file", wrong}, wrong + `:3: cluster.bind_address: expected cluster.tls`},
		{[]string{"--config.file", filepath.Join(dir, "none.yml")}, "none.yml: no such file or directory"},
		{nil, "no node in this test"},
	} {
		p := newTestProgram()
		if status := p.run(append([]string{"run"}, tt.line...)); status != exitFailed || !strings.Contains(p.errOut.String(), tt.want) {
			t.Errorf("%q: status %d, %s; want %q", tt.line, status, p.errOut.String(), tt.want)
		}
	}
}

func TestWarningsAreLogged(t *testing.T) {
	file := write(t, filepath.Join(t.TempDir(), "h.yml"), "remote_write: [{name: a, url: http://a, send_exemplars: true}]\n")
	p := newTestProgram()
	p.open = func(context.Context, server.Options) (node, error) { return nil, context.Canceled }
	if status := p.run([]string{"run", "--config.file", file, "--log.format", "json"}); status != exitDone {
		t.Fatal(p.errOut.String())
	}
	if n := strings.Count(p.errOut.String(), `"level":"WARN"`); n != 1 || !strings.Contains(p.errOut.String(), "send_exemplars (line 1)") {
		t.Errorf("%d warnings: %s", n, p.errOut.String())
	}
}

// fakeNode runs until its context ends.
type fakeNode struct {
	running  chan struct{}
	reloaded chan struct{}
	stopped  error
	hang     chan struct{} // if set, a stop waits for it
}

func (n *fakeNode) Run(ctx context.Context) error {
	close(n.running)
	<-ctx.Done()
	if n.hang != nil {
		<-n.hang
	}
	return n.stopped
}

func (n *fakeNode) Reload() error {
	n.reloaded <- struct{}{}
	return errors.New("a bad file") // keeps the node running
}

// runFake starts `run` with a fake node.
func runFake(n *fakeNode, prepare ...func(*testProgram)) (p *testProgram, signals chan os.Signal, status chan int) {
	p = newTestProgram()
	for _, set := range prepare {
		set(p)
	}
	n.running, n.reloaded = make(chan struct{}), make(chan struct{}, 1)
	signals, status = make(chan os.Signal), make(chan int, 1)
	p.errOutShared()
	p.signals = func() (<-chan os.Signal, func()) { return signals, func() {} }
	p.open = func(context.Context, server.Options) (node, error) { return n, nil }
	go func() { status <- p.run([]string{"run"}) }()
	return p, signals, status
}

// errOutShared lets two goroutines of the program log at once.
func (t *testProgram) errOutShared() { t.program.errOut = &lockedWriter{to: &t.errOut} }

type lockedWriter struct {
	mu sync.Mutex
	to io.Writer
}

func (w *lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to.Write(p)
}

func TestSignals(t *testing.T) {
	for _, stop := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		n := &fakeNode{}
		p, signals, status := runFake(n)
		<-n.running
		for range 2 {
			signals <- syscall.SIGHUP
			<-n.reloaded
		}
		signals <- stop
		if got := <-status; got != exitDone {
			t.Errorf("%s: status %d: %s", stop, got, p.errOut.String())
		}
	}
}

func TestRunReportsWhyItStopped(t *testing.T) {
	n := &fakeNode{stopped: errors.New("the disk is gone")}
	p, signals, status := runFake(n)
	<-n.running
	signals <- syscall.SIGTERM
	if got := <-status; got != exitFailed || !strings.Contains(p.errOut.String(), "highlander: the disk is gone\n") {
		t.Errorf("status %d: %s", got, p.errOut.String())
	}
}

// A second signal exits at once, while the first one's stop still hangs.
func TestSecondSignal(t *testing.T) {
	n := &fakeNode{hang: make(chan struct{})}
	exited := make(chan int, 1)
	_, signals, status := runFake(n, func(p *testProgram) { p.exit = func(status int) { exited <- status } })
	<-n.running
	signals <- syscall.SIGTERM
	signals <- syscall.SIGHUP // changes nothing about it
	signals <- syscall.SIGTERM
	if got := <-exited; got != exitFailed {
		t.Errorf("exit %d, want %d", got, exitFailed)
	}
	close(n.hang)
	<-status
}

// A signal while the log is still being read stops the node, too.
func TestSignalWhileOpening(t *testing.T) {
	p := newTestProgram()
	signals := make(chan os.Signal, 1)
	signals <- syscall.SIGTERM
	p.signals = func() (<-chan os.Signal, func()) { return signals, func() {} }
	p.errOutShared()
	p.open = func(ctx context.Context, _ server.Options) (node, error) {
		<-ctx.Done()
		return nil, fmt.Errorf("open: %w", ctx.Err())
	}
	if status := p.run([]string{"run"}); status != exitDone {
		t.Errorf("status %d: %s", status, p.errOut.String())
	}
}

func TestFatal(t *testing.T) {
	p := newTestProgram()
	exited := 0
	p.exit = func(status int) { exited = status }
	p.open = func(_ context.Context, o server.Options) (node, error) {
		o.Fatal(errors.New("fsync failed"))
		return nil, context.Canceled
	}
	p.run([]string{"run"})
	if exited != exitFailed {
		t.Errorf("exit %d, want %d", exited, exitFailed)
	}
}

func TestRecover(t *testing.T) {
	p := newTestProgram()
	var got server.Options
	p.recover = func(_ context.Context, o server.Options) error { got = o; return nil }
	if status := p.run([]string{"cluster", "recover", "--storage.path", "/d", "--node.id=n1"}); status != exitDone {
		t.Fatal(p.errOut.String())
	}
	if got.Config.Storage.Path != "/d" || got.Config.Node.ID != "n1" || got.Logger == nil || !strings.HasPrefix(p.out.String(), "recovered /d as a cluster of one") {
		t.Errorf("%+v, %s", got.Config, p.out.String())
	}
	p.recover = func(context.Context, server.Options) error { return errors.New("in use") }
	if status := p.run([]string{"cluster", "recover"}); status != exitFailed {
		t.Errorf("status %d", status)
	}
}

func TestVersion(t *testing.T) {
	old := version
	defer func() { version = old }()
	version = "1.2.3"
	var text bytes.Buffer
	for _, line := range []string{"version", "--version", "version --output table"} {
		p := newTestProgram()
		if status := p.run(strings.Fields(line)); status != exitDone || !strings.HasPrefix(p.out.String(), "highlander 1.2.3 (go") {
			t.Errorf("%q: status %d, %q", line, status, p.out.String())
		}
		text.Write(p.out.Bytes())
	}
	p := newTestProgram()
	p.run([]string{"version", "--output", "json"})
	if !strings.Contains(p.out.String(), `"version": "1.2.3"`) {
		t.Errorf("json: %s", p.out.String())
	}
	version = ""
	if buildVersion() == "" {
		t.Error("a build without a stamp has no version at all")
	}
}

func TestSourceVersion(t *testing.T) {
	setting := func(key, value string) debug.BuildSetting { return debug.BuildSetting{Key: key, Value: value} }
	for want, settings := range map[string][]debug.BuildSetting{
		"devel":                       nil,
		"0.0.0-0123456789ab":          {setting("vcs.revision", "0123456789abcdef"), setting("vcs.modified", "false")},
		"0.0.0-0123456789ab-modified": {setting("vcs.revision", "0123456789abcdef"), setting("vcs.modified", "true")},
	} {
		if got := sourceVersion(settings); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
