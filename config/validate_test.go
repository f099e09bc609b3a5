package config

import (
	"strings"
	"testing"
)

// C3: one case per rule at least, each naming key, line and what was expected.
func TestValidateErrors(t *testing.T) {
	lts := func(lines string) string {
		return "remote_write:\n  - name: a\n    url: http://x\n" + lines
	}
	tests := []struct{ name, text, want string }{
		{"node id", "node:\n  id: a b", `line 2: node.id: expected a name without spaces, slashes and control characters, got "a b"`},
		{"node id slash", "node:\n  id: a/b", `line 2: node.id: expected a name without`},
		{"node id long", "node:\n  id: " + strings.Repeat("a", 129), `line 2: node.id: expected at most 128 bytes`},
		{"path", "storage:\n  path: ''", `line 2: storage.path: expected a directory, got nothing`},
		{"max_bytes", "storage:\n  max_bytes: 0", `line 2: storage.max_bytes: expected more than 0, got 0`},
		{"when_full", "storage:\n  when_full: panic", `line 2: storage.when_full: expected reject or drop_oldest, got "panic"`},
		{"listen", "web:\n  listen_address: '6745'", `line 2: web.listen_address: expected HOST:PORT or :PORT, got "6745"`},
		{"listen port", "web:\n  listen_address: ':70000'", `line 2: web.listen_address: expected a port from 0 to 65535, got ":70000"`},
		{"body", "web:\n  max_body_bytes: 2GiB", `line 2: web.max_body_bytes: expected more than 0 and at most 1GiB, got 2GiB`},
		{"body zero", "web:\n  max_body_bytes: 0", `line 2: web.max_body_bytes: expected more than 0`},
		{"bind", "cluster:\n  bind_address: localhost", `line 2: cluster.bind_address: expected HOST:PORT or :PORT, got "localhost"`},
		{"public bind", "cluster:\n  bind_address: 10.0.0.1:6746", `line 2: cluster.bind_address: expected cluster.tls with a bind address that others can reach`},
		{"public name", "cluster:\n  bind_address: n1.example:6746", `line 2: cluster.bind_address: expected cluster.tls`},
		{"unspecified bind", "cluster:\n  bind_address: 0.0.0.0:6746\n  insecure: true", `cluster.advertise_address: expected an address that the other nodes can dial, since cluster.bind_address "0.0.0.0:6746" is none (for example 10.0.0.1:6746)`},
		{"empty host bind", "cluster:\n  bind_address: :6746\n  insecure: true", `cluster.advertise_address: expected an address that the other nodes can dial`},
		{"unspecified advertise", "cluster:\n  advertise_address: '[::]:6746'", `line 2: cluster.advertise_address: expected an address that the other nodes can dial, got "[::]:6746"`},
		{"advertise port", "cluster:\n  advertise_address: a:0", `line 2: cluster.advertise_address: expected a port from 1 to 65535, got "a:0"`},
		{"join", "cluster:\n  join: [a:1, b]", `line 2: cluster.join: expected HOST:PORT, got "b"`},
		{"join twice", "cluster:\n  join: [a:1, a:1]", `line 2: cluster.join: expected every node once, got "a:1" twice`},
		{"half tls", "cluster:\n  tls:\n    ca_file: /ca", `cluster.tls.cert_file: expected a file, since other keys of cluster.tls are set`},
		{"label name", "sources:\n  labels:\n    - {group: '', replica: r}", `line 3: sources.labels[0].group: expected the name of a label, got ""`},
		{"metric name", "sources:\n  labels:\n    - {group: g, replica: __name__}", `line 3: sources.labels[0].replica: expected the name of a label, got "__name__"`},
		{"same labels", "sources:\n  labels:\n    - {group: g, replica: g}", `line 3: sources.labels[0]: expected two different labels, got "g" twice`},
		{"same pairs", "sources:\n  labels:\n    - {group: g, replica: r}\n    - {group: g, replica: r}", `line 4: sources.labels[1]: expected every pair once`},
		{"default group", "sources:\n  default_group: ''", `line 2: sources.default_group: expected a name of 1 to 128 bytes`},
		{"unidentified", "sources:\n  unidentified: drop", `line 2: sources.unidentified: expected elect or pass or reject, got "drop"`},
		{"request weight", "sources:\n  request_weight: maybe", `line 2: sources.request_weight: expected accept or ignore, got "maybe"`},
		{"failover", "sources:\n  failover_timeout: 0s", `line 2: sources.failover_timeout: expected more than 0s, got 0s`},
		{"coverage below 0", "sources:\n  min_coverage: -0.1", `line 2: sources.min_coverage: expected a number from 0 to 1, got -0.1`},
		{"coverage above 1", "sources:\n  min_coverage: 90", `line 2: sources.min_coverage: expected a number from 0 to 1, got 90`},
		{"coverage is no number", "sources:\n  min_coverage: .nan", `line 2: sources.min_coverage: expected a number from 0 to 1, got NaN`},
		{"lag", "sources:\n  max_lag: 0s", `line 2: sources.max_lag: expected more than 0s, got 0s`},
		{"forget", "sources:\n  forget_after: 10s", `line 2: sources.forget_after: expected more than sources.failover_timeout (15s), got 10s`},
		{"margin", "handover:\n  margin: 0s", `line 2: handover.margin: expected more than the longest scrape interval and at most 15m, got 0s`},
		{"long margin", "handover:\n  margin: 16m", `line 2: handover.margin: expected more than the longest scrape interval and at most 15m, got 16m`},
		{"window", "handover:\n  window_bytes: 2GiB", `line 2: handover.window_bytes: expected at most 1GiB, got 2GiB`},
		{"no name", "remote_write:\n  - url: http://x", `line 2: remote_write[0].name: expected a name`},
		{"bad name", "remote_write:\n  - name: a b\n    url: http://x", `line 2: remote_write[0].name: expected a name without spaces`},
		{"name twice", lts("  - name: a\n    url: http://y"), `line 4: remote_write[1].name: expected a name of its own, got "a" like remote_write[0]`},
		{"reserved name", "remote_write:\n  - name: remote-0\n    url: http://x", `line 2: remote_write[0].name: expected a name that is not reserved for --remote-write.url, got "remote-0"`},
		{"no url", "remote_write:\n  - name: a", `line 2: remote_write[0].url: expected a URL such as http://lts.example/api/v1/write, got ""`},
		{"url scheme", "remote_write:\n  - name: a\n    url: ftp://x", `line 3: remote_write[0].url: expected a URL such as http://lts.example/api/v1/write, got "ftp://x"`},
		{"message", lts("    protobuf_message: v2"), `line 4: remote_write[0].protobuf_message: expected prometheus.WriteRequest or io.prometheus.write.v2.Request, got "v2"`},
		{"timeout", lts("    remote_timeout: 0s"), `line 4: remote_write[0].remote_timeout: expected more than 0s, got 0s`},
		{"auth header", lts("    headers: {authorization: x}"), `line 4: remote_write[0].headers: expected basic_auth, authorization or oauth2 instead of the header "authorization"`},
		{"own header", lts("    headers: {content-type: x}"), `line 4: remote_write[0].headers: expected headers that the protocol does not set itself, got "content-type"`},
		{"no header", lts("    headers: {'a b': x}"), `line 4: remote_write[0].headers: expected the name of a header, got "a b"`},
		{"relabel", lts("    write_relabel_configs:\n      - {action: hashmod, target_label: a}"), `line 4: remote_write[0].write_relabel_configs[0]: relabel configuration for hashmod requires non-zero modulus`},
		{"relabel null", lts("    write_relabel_configs: [null]"), `line 4: remote_write[0].write_relabel_configs[0]: expected a relabelling rule, got nothing`},
		{"queue samples", lts("    queue_config:\n      max_samples_per_send: 0"), `line 5: remote_write[0].queue_config.max_samples_per_send: expected 1 or more, got 0`},
		{"queue bytes", lts("    queue_config:\n      max_bytes_per_send: 1"), `line 5: remote_write[0].queue_config.max_bytes_per_send: expected 1KiB or more, got 1B`},
		{"queue shards", lts("    queue_config:\n      max_shards: 0"), `line 5: remote_write[0].queue_config.max_shards: expected 1 to 64, got 0`},
		{"long url", "remote_write:\n  - name: a\n    url: http://x/" + strings.Repeat("a", 8<<10), `line 3: remote_write[0].url: expected a URL of at most 8KiB`},
		{"transfer encoding", lts("    headers: {Transfer-Encoding: x}"), `line 4: remote_write[0].headers: expected headers that the protocol does not set itself`},
		{"queue backoff", lts("    queue_config:\n      min_backoff: 0s"), `line 5: remote_write[0].queue_config.min_backoff: expected more than 0s, got 0s`},
		{"queue max backoff", lts("    queue_config:\n      max_backoff: 1ms"), `line 5: remote_write[0].queue_config.max_backoff: expected min_backoff (30ms) or more, got 1ms`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, _, err := Parse([]byte(tt.text))
			if err != nil {
				t.Fatalf("parse: %v", err)
			}
			err = c.Validate()
			if err == nil {
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got  %q\nwant %q", err, tt.want)
			}
		})
	}
}

func TestValidateAccepts(t *testing.T) {
	for name, text := range map[string]string{
		"defaults":                 "",
		"localhost":                "cluster: {bind_address: 'localhost:1'}",
		"loopback 6":               "cluster: {bind_address: '[::1]:1'}",
		"public with tls":          "cluster: {bind_address: '10.0.0.1:1', tls: {ca_file: a, cert_file: b, key_file: c}}",
		"public insecure":          "cluster: {bind_address: '10.0.0.1:1', insecure: true}",
		"unspecified, advertising": "cluster: {bind_address: ':1', advertise_address: 'n1:1', insecure: true}",
		"no labels":                "sources: {labels: []}",
		"no preemption delay":      "sources: {preempt_after: 0s}",
		"any port":                 "web: {listen_address: '127.0.0.1:0'}",
		"no dead letters":          "storage: {dead_letter_max_bytes: 0, min_free_bytes: 0}",
		"oauth2":                   "remote_write: [{name: a, url: http://x, oauth2: {client_id: i, client_secret: s, token_url: http://y, scopes: [z]}}]",
		"http_headers":             "remote_write: [{name: a, url: http://x, http_headers: {X-A: {values: [b]}}}]",
	} {
		c := mustParse(t, text)
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestValidateReportsAll(t *testing.T) {
	c := mustParse(t, "storage: {when_full: x}\nsources: {unidentified: y}\n")
	err := c.Validate()
	if err == nil || len(strings.Split(err.Error(), "\n")) != 2 {
		t.Errorf("got %v, want two errors", err)
	}
}

// A flag may mend what the file alone would get wrong, and is named where it is to blame itself.
func TestValidateAfterFlags(t *testing.T) {
	c := mustParse(t, "cluster:\n  bind_address: 10.0.0.1:6746\n")
	before := c
	if err := c.Set("cluster.insecure", "true", "--cluster.insecure"); err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil {
		t.Errorf("a flag does not mend the file: %v", err)
	}
	if err := c.Set("cluster.bind_address", "x", "--cluster.bind-address"); err != nil {
		t.Fatal(err)
	}
	err := c.Validate()
	if want := `--cluster.bind-address: cluster.bind_address: expected HOST:PORT or :PORT, got "x"`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if err := before.Validate(); err == nil || !strings.HasPrefix(err.Error(), "line 2:") {
		t.Errorf("a copy was changed: %v", err)
	}
}

func TestErrorsDoNotShowSecrets(t *testing.T) {
	for _, text := range []string{
		"remote_write: [{name: a, url: 'ftp://u:hunter2@x'}]",
		"remote_write: [{name: a, url: 'http://u:hunter2@x:port'}]",
		"remote_write: [{name: a, url: 'ftp://x?token=hunter2'}]",
		"remote_write: [{name: a, url: http://x, headers: {authorization: hunter2}}]",
		"remote_write: [{name: a, url: http://x, basic_auth: {password: hunter2, password_file: f}}]",
	} {
		c, _, err := Parse([]byte(text))
		if err == nil {
			err = c.Validate()
		}
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
