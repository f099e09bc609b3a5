package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"gopkg.in/yaml.v3"
)

// Map is a part of a configuration file.
type Map = map[string]any

// Node is one highlander node: a configuration, a data directory and, while it runs, a process.
type Node struct {
	ID          string
	Dir         string // data directory
	Web         string // address of the web port
	ClusterAddr string
	// Config is written to the node's file at every Start and Reload; tests change it as they like.
	Config Map
	// Args are added to the command line of `run`.
	Args []string
	// Prefix goes before the binary, for instance to enter a network namespace; it must not fork.
	Prefix []string
	// Seams are set in the build for tests, which is then started instead of the shipped binary. It also is if Seams is
	// empty but not nil.
	Seams []string
	// Client reaches the web port where http://Web cannot be dialled from here; nil: the usual one.
	Client *http.Client

	t       testing.TB
	home    string
	Process *Process // the last one started; nil before
}

// NewNode makes a standalone node that is not started yet.
func NewNode(t testing.TB, id string, destinations ...Map) *Node {
	home := t.TempDir()
	n := &Node{
		ID: id, Dir: filepath.Join(home, "data"), home: home, t: t,
		Web: Address(FreePort()), ClusterAddr: Address(FreePort()),
	}
	n.Config = Map{
		"node":    Map{"id": id},
		"storage": Map{"path": n.Dir},
		"web":     Map{"listen_address": n.Web, "enable_lifecycle": true},
		"cluster": Map{"bind_address": n.ClusterAddr},
	}
	n.SetDestinations(destinations...)
	return n
}

// To describes a destination that retries soon.
func To(name, url string) Map {
	return Map{
		"name": name, "url": url, "remote_timeout": "5s",
		"queue_config": Map{"min_backoff": "30ms", "max_backoff": "500ms"},
	}
}

// SetDestinations replaces remote_write in the node's configuration.
func (n *Node) SetDestinations(destinations ...Map) {
	list := make([]any, len(destinations))
	for i, d := range destinations {
		list[i] = d
	}
	n.Config["remote_write"] = list
}

// Set sets a key of a section, for instance Set("sources", "failover_timeout", "2s").
func (n *Node) Set(section, key string, value any) {
	m, ok := n.Config[section].(Map)
	if !ok {
		m = Map{}
		n.Config[section] = m
	}
	m[key] = value
}

// ConfigFile is the path of the node's configuration file.
func (n *Node) ConfigFile() string { return filepath.Join(n.home, "highlander.yml") }

// WriteConfig writes the configuration file.
func (n *Node) WriteConfig() {
	n.t.Helper()
	data, err := yaml.Marshal(n.Config)
	if err == nil {
		err = os.WriteFile(n.ConfigFile(), data, 0o644)
	}
	if err != nil {
		n.t.Fatal(err)
	}
}

// Start writes the configuration and starts the process, without waiting for it.
func (n *Node) Start() *Node {
	n.t.Helper()
	if n.Process != nil && n.Process.Running() {
		n.t.Fatalf("BUG: node %s runs already", n.ID)
	}
	n.WriteConfig()
	args := append([]string{"run", "--config.file", n.ConfigFile()}, n.Args...)
	binary, env := n.binary()
	command := append(append(append([]string(nil), n.Prefix...), binary), args...)
	n.Process = StartEnv(n.t, n.ID, env, command[0], command[1:]...)
	return n
}

func (n *Node) binary() (path string, env []string) {
	if n.Seams == nil {
		return Binary(n.t), nil
	}
	return SeamsBinary(n.t), []string{"HIGHLANDER_SEAMS=" + strings.Join(n.Seams, ",")}
}

// Kill is kill -9.
func (n *Node) Kill() { n.Process.Kill() }

// Stop sends SIGTERM and requires exit status 0.
func (n *Node) Stop() {
	n.t.Helper()
	_ = n.Process.Signal(syscall.SIGTERM)
	code, err := n.Process.Exit(Patience)
	if err != nil || code != 0 {
		n.t.Fatalf("node %s: SIGTERM: exit status %d, %v; want 0", n.ID, code, err)
	}
}

// Pause is SIGSTOP.
func (n *Node) Pause() { _ = n.Process.Signal(syscall.SIGSTOP) }

// Resume is SIGCONT.
func (n *Node) Resume() { _ = n.Process.Signal(syscall.SIGCONT) }

// Wipe deletes the data directory of a node that does not run.
func (n *Node) Wipe() {
	n.t.Helper()
	if n.Process != nil && n.Process.Running() {
		n.t.Fatalf("BUG: node %s still runs", n.ID)
	}
	if err := os.RemoveAll(n.Dir); err != nil {
		n.t.Fatal(err)
	}
}

// URL is an address on the web port.
func (n *Node) URL(path string) string { return "http://" + n.Web + path }

// WriteURL takes remote write.
func (n *Node) WriteURL() string { return n.URL("/api/v1/write") }

var web = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

func (n *Node) client() *http.Client {
	if n.Client != nil {
		return n.Client
	}
	return web
}

// Get fetches a page of the web port.
func (n *Node) Get(path string) (status int, body string, err error) {
	resp, err := n.client().Get(n.URL(path))
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(data), err
}

// Post posts to the web port.
func (n *Node) Post(path, contentType string, body []byte) (status int, answer string, err error) {
	resp, err := n.client().Post(n.URL(path), contentType, bytes.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(data), err
}

// Status fetches the status document.
func (n *Node) Status() (Status, error) {
	var s Status
	code, body, err := n.Get("/api/v1/status")
	if err != nil {
		return s, err
	}
	if code != http.StatusOK {
		return s, fmt.Errorf("node %s: status answers %d: %s", n.ID, code, body)
	}
	return s, json.Unmarshal([]byte(body), &s)
}

// Ready says why the node is not ready, nil if it is.
func (n *Node) Ready() error {
	if !n.Process.Running() {
		return fmt.Errorf("node %s has ended", n.ID)
	}
	code, body, err := n.Get("/-/ready")
	if err != nil {
		return err
	}
	if code != http.StatusOK {
		return fmt.Errorf("node %s: /-/ready answers %d: %s", n.ID, code, body)
	}
	return nil
}

// WaitReady waits until the node is ready; it fails at once if the process has ended.
func (n *Node) WaitReady() *Node {
	n.t.Helper()
	n.await("ready", n.Ready)
	return n
}

// WaitUp waits until the node answers at all: a member without a majority is healthy and not ready.
func (n *Node) WaitUp() *Node {
	n.t.Helper()
	n.await("healthy", func() error {
		code, body, err := n.Get("/-/healthy")
		if err == nil && code != http.StatusOK {
			err = fmt.Errorf("node %s: /-/healthy answers %d: %s", n.ID, code, body)
		}
		return err
	})
	return n
}

func (n *Node) await(what string, check func() error) {
	n.t.Helper()
	Eventually(n.t, "node "+n.ID+" "+what, func() error {
		if !n.Process.Running() {
			code, _ := n.Process.Exit(time.Second)
			n.t.Fatalf("node %s ended with status %d while it was to become %s", n.ID, code, what)
		}
		return check()
	})
}

// Result is what a command printed.
type Result struct {
	Code           int
	Stdout, Stderr string
}

// Run runs the binary with arguments and returns what it printed.
func Run(t testing.TB, args ...string) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, Binary(t), args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		t.Fatalf("highlander %v: %v", args, err)
	}
	return Result{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

// Command runs an admin command against the node's socket.
func (n *Node) Command(args ...string) Result {
	n.t.Helper()
	return Run(n.t, append(args, "--storage.path", n.Dir)...)
}

// electing is what commands say that found no leader, or lost it: an election may fall anywhere.
var electing = []string{"the cluster has no leader", "not possible at the moment", "this node is not the leader", "outcome unknown", "hand leadership over"}

// Ask runs an admin command, again while the cluster is busy with itself.
func (n *Node) Ask(args ...string) (r Result) {
	n.t.Helper()
	_ = Poll(Patience, func() error {
		r = n.Command(args...)
		says := func(text string) bool { return strings.Contains(r.Stderr, text) }
		if r.Code != 0 && slices.ContainsFunc(electing, says) {
			return errors.New(r.Stderr)
		}
		return nil
	})
	return r
}

// Must is Ask, and requires exit status 0; it returns what the command printed.
func (n *Node) Must(args ...string) string {
	n.t.Helper()
	r := n.Ask(args...)
	if r.Code != 0 {
		n.t.Fatalf("highlander %v: exit status %d\n%s%s", args, r.Code, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// Reload writes the configuration and asks the node over HTTP to take it.
func (n *Node) Reload() {
	n.t.Helper()
	n.WriteConfig()
	code, body, err := n.Post("/-/reload", "", nil)
	if err != nil || code != http.StatusOK {
		n.t.Fatalf("node %s: reload answers %d %s, %v", n.ID, code, body, err)
	}
}

// HangUp writes the configuration and sends SIGHUP; the node takes it in its own time.
func (n *Node) HangUp() {
	n.t.Helper()
	n.WriteConfig()
	if err := n.Process.Signal(syscall.SIGHUP); err != nil {
		n.t.Fatal(err)
	}
}
