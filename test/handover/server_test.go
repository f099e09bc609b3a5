package handover

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/highlander-io/highlander/test/harness"
)

// server is a Prometheus server of Debian, in a network namespace if it has one. Its data directory survives its process.
type server struct {
	name    string
	number  int // of its scrapes
	web     string
	process *harness.Process
	road    *road // to its node; nil in a namespace
	data    string

	t       testing.TB
	command []string
}

var client = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// startServer starts Prometheus with a configuration and more flags and waits until it is ready.
func startServer(t testing.TB, name string, ns *namespace, config harness.Map, flags ...string) *server {
	t.Helper()
	home := t.TempDir()
	s := &server{name: name, web: harness.Address(harness.FreePort()), data: filepath.Join(home, "data"), t: t}
	s.command = []string{harness.Debian(t, "prometheus", "prometheus")}
	if ns != nil {
		_, port, _ := net.SplitHostPort(s.web)
		s.web = net.JoinHostPort(ns.inside, port)
		s.command = append(ns.exec(t), s.command...)
	}
	file := filepath.Join(home, "prometheus.yml")
	data, err := yaml.Marshal(config)
	if err == nil {
		err = os.WriteFile(file, data, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.command = append(s.command, "--config.file="+file, "--storage.tsdb.path="+s.data,
		"--web.listen-address="+s.web, "--storage.remote.flush-deadline=30s")
	s.command = append(s.command, flags...)
	s.start()
	return s
}

// start starts the process, again if it was ended.
func (s *server) start() {
	s.t.Helper()
	s.process = harness.Start(s.t, s.name, s.command[0], s.command[1:]...)
	harness.Eventually(s.t, s.name+" ready", func() error {
		if !s.process.Running() {
			s.t.Fatalf("%s has ended:\n%s", s.name, s.process.Output())
		}
		_, err := s.get("/-/ready")
		return err
	})
}

// stop is a graceful stop: what was not sent yet is flushed.
func (s *server) stop() {
	s.t.Helper()
	_ = s.process.Signal(syscall.SIGTERM)
	if _, err := s.process.Exit(harness.Patience); err != nil {
		s.t.Fatal(err)
	}
}

func (s *server) get(path string) (string, error) {
	resp, err := client.Get("http://" + s.web + path)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s answers %s: %s", s.name, path, resp.Status, body)
	}
	return string(body), err
}

// metric adds up a metric over all series whose text has the given piece in it.
func (s *server) metric(name, piece string) float64 {
	s.t.Helper()
	var page string
	harness.Eventually(s.t, "metrics of "+s.name, func() (err error) {
		page, err = s.get("/metrics")
		return err
	})
	sum := 0.0
	for line := range strings.Lines(page) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || !strings.Contains(rest, piece) || !strings.HasPrefix(rest, "{") && !strings.HasPrefix(rest, " ") {
			continue
		}
		fields := strings.Fields(line)
		v, err := strconv.ParseFloat(fields[len(fields)-1], 64)
		if err != nil {
			s.t.Fatalf("%s: %q: %v", s.name, line, err)
		}
		sum += v
	}
	return sum
}

// stored is how many samples of the last hour a selector finds, without stale markers.
func (s *server) stored(selector string) (int, error) {
	body, err := s.get("/api/v1/query?query=" + url.QueryEscape(selector+"[1h]"))
	if err != nil {
		return 0, err
	}
	var answer struct {
		Data struct{ Result []struct{ Values [][2]any } }
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		return 0, err
	}
	n := 0
	for _, series := range answer.Data.Result {
		n += len(series.Values)
	}
	return n, nil
}
