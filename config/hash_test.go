package config

import (
	"strings"
	"testing"
)

// The hash of the defaults is shown next to that of older versions during a rolling upgrade: it stays.
func TestHashGolden(t *testing.T) {
	c := Default()
	if got, want := c.Hash(), "e3b0c44298fc1c14"; got != want {
		t.Errorf("defaults: got %s, want %s", got, want)
	}
	c = mustParse(t, full)
	if got, want := c.Hash(), "349d042b58153376"; got != want {
		t.Errorf("full: got %s, want %s", got, want)
	}
}

// C5.
func TestHash(t *testing.T) {
	c := mustParse(t, full)
	base := c.Hash()
	same := map[string][2]string{
		"name":       {"id: n7", "id: n8"},
		"path":       {"path: /var/lib/h", "path: /data"},
		"disk":       {"max_bytes: 5GB", "max_bytes: 6GB"},
		"address":    {"advertise_address: n7.example:6746", "advertise_address: n8.example:6746"},
		"bind":       {"10.0.0.1:6746", "10.0.0.2:6746"},
		"listen":     {"127.0.0.1:1", "127.0.0.1:2"},
		"tls files":  {"/cert", "/other"},
		"password":   {"password: p", "password: q"},
		"file":       {"password: p", "password_file: /p"},
		"proxy":      {"proxy.example", "proxy2.example"},
		"formatting": {"max_backlog_bytes: 1GiB", "max_backlog_bytes: 1024MiB"},
	}
	for name, change := range same {
		c := mustParse(t, replace(t, change))
		if got := c.Hash(); got != base {
			t.Errorf("%s: a hash of its own", name)
		}
	}
	seen := map[string]string{base: "base"}
	differ := map[string][2]string{
		"when full":  {"drop_oldest", "reject"},
		"letters":    {"dead_letter_max_bytes: 1MiB", "dead_letter_max_bytes: 2MiB"},
		"labels":     {"{group: a, replica: b}", "{group: a, replica: c}"},
		"no labels":  {"[{group: a, replica: b}]", "[]"},
		"default":    {"default_group: g", "default_group: h"},
		"failover":   {"failover_timeout: 1m", "failover_timeout: 2m"},
		"margin":     {"margin: 5m", "margin: 6m"},
		"dest name":  {"name: lts", "name: ltt"},
		"dest url":   {"lts.example/write", "lts.example/push"},
		"message":    {"protobuf_message: io.prometheus.write.v2.Request", "protobuf_message: prometheus.WriteRequest"},
		"tenant":     {"X-Scope-OrgID: t", "X-Scope-OrgID: u"},
		"header":     {"X-Scope-OrgID: t", "X-Scope-OrgID: t, X-B: c"},
		"user":       {"username: u", "username: v"},
		"relabel":    {"regex: x", "regex: y"},
		"backlog":    {"max_backlog_bytes: 1GiB", "max_backlog_bytes: 2GiB"},
		"shards":     {"max_shards: 4", "max_shards: 5"},
		"age":        {"sample_age_limit: 1h", "sample_age_limit: 2h"},
		"per send":   {"max_samples_per_send: 5", "max_samples_per_send: 6"},
		"bytes send": {"max_bytes_per_send: 1MiB", "max_bytes_per_send: 2MiB"},
	}
	for name, change := range differ {
		c := mustParse(t, replace(t, change))
		if other, ok := seen[c.Hash()]; ok {
			t.Errorf("%s: the same hash as %s", name, other)
		}
		seen[c.Hash()] = name
	}
}

func replace(t *testing.T, change [2]string) string {
	t.Helper()
	if strings.Count(full, change[0]) == 0 {
		t.Fatalf("the sample has no %q", change[0])
	}
	return strings.ReplaceAll(full, change[0], change[1])
}

func TestHashIgnoresOrderOfDestinations(t *testing.T) {
	a := mustParse(t, "remote_write: [{name: a, url: http://x}, {name: b, url: http://y}]")
	b := mustParse(t, "remote_write: [{name: b, url: http://y}, {name: a, url: http://x}]")
	c := mustParse(t, "remote_write: [{name: b, url: http://x}, {name: a, url: http://y}]")
	if a.Hash() != b.Hash() {
		t.Error("the order of destinations decides")
	}
	if a.Hash() == c.Hash() {
		t.Error("swapped URLs do not decide")
	}
}
