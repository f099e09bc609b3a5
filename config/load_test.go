package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// full sets every key of the file to something that is not its default.
const full = `
node: {id: n7}
storage: {path: /var/lib/h, max_bytes: 5GB, min_free_bytes: 100MB, when_full: drop_oldest, dead_letter_max_bytes: 1MiB}
web: {listen_address: "127.0.0.1:1", config_file: /w.yml, max_body_bytes: 1MiB, enable_lifecycle: true}
cluster:
  bind_address: 10.0.0.1:6746
  advertise_address: n7.example:6746
  join: [n7.example:6746, n8.example:6746]
  tls: {ca_file: /ca, cert_file: /cert, key_file: /key}
  insecure: true
sources:
  labels: [{group: a, replica: b}]
  default_group: g
  unidentified: pass
  request_weight: ignore
  failover_timeout: 1m
  preempt_after: 1s
  max_lag: 2m
  min_coverage: 0.9
  forget_after: 1d
handover: {window_bytes: 1MiB, margin: 5m, clock_skew_guard: 1s}
remote_write:
  - name: lts
    url: https://lts.example/write
    protobuf_message: io.prometheus.write.v2.Request
    remote_timeout: 10s
    headers: {X-Scope-OrgID: t}
    basic_auth: {username: u, password: p}
    tls_config: {insecure_skip_verify: true}
    proxy_url: http://proxy.example
    write_relabel_configs: [{source_labels: [a], regex: x, action: drop}]
    max_backlog_bytes: 1GiB
    queue_config: {max_samples_per_send: 5, max_bytes_per_send: 1MiB, max_shards: 4, min_backoff: 1s, max_backoff: 2s, sample_age_limit: 1h}
`

func mustParse(t *testing.T, text string) Config {
	t.Helper()
	c, warnings, err := Parse([]byte(text))
	if err != nil {
		t.Fatalf("parse: %v", err)
	}
	if len(warnings) > 0 {
		t.Fatalf("unexpected warnings: %v", warnings)
	}
	return c
}

func TestParseEveryKey(t *testing.T) {
	c := mustParse(t, full)
	if err := c.Validate(); err != nil {
		t.Fatalf("validate: %v", err)
	}
	byDefault := Default()
	for _, s := range Settings() {
		if got := s.get(&c); got == s.get(&byDefault) {
			t.Errorf("%s is still at its default %q", s.Key, got)
		}
	}
	r := c.RemoteWrite[0]
	want := QueueConfig{MaxSamplesPerSend: 5, MaxBytesPerSend: MiB, MaxShards: 4, MinBackoff: Duration(time.Second),
		MaxBackoff: Duration(2 * time.Second), SampleAgeLimit: Duration(time.Hour)}
	if r.QueueConfig != want {
		t.Errorf("queue_config = %+v, want %+v", r.QueueConfig, want)
	}
	if r.Name != "lts" || r.URL != "https://lts.example/write" || r.ProtobufMessage != MessageV2 ||
		time.Duration(r.RemoteTimeout) != 10*time.Second || r.Headers["X-Scope-OrgID"] != "t" || r.MaxBacklogBytes != GiB {
		t.Errorf("remote_write = %+v", r)
	}
	if r.HTTP.BasicAuth == nil || r.HTTP.BasicAuth.Password != "p" || !r.HTTP.TLSConfig.InsecureSkipVerify || r.HTTP.ProxyURL.Host != "proxy.example" {
		t.Errorf("HTTP client = %+v", r.HTTP)
	}
	if len(r.WriteRelabelConfigs) != 1 || r.WriteRelabelConfigs[0].TargetLabel != "" || string(r.WriteRelabelConfigs[0].Action) != "drop" {
		t.Errorf("write_relabel_configs = %+v", r.WriteRelabelConfigs)
	}
	if c.Storage.MaxBytes != 5e9 || time.Duration(c.Sources.ForgetAfter) != 24*time.Hour {
		t.Errorf("max_bytes %d, forget_after %s", c.Storage.MaxBytes, c.Sources.ForgetAfter)
	}
}

func TestParseKeepsDefaults(t *testing.T) {
	for name, text := range map[string]string{
		"empty":         "",
		"comment":       "# nothing\n",
		"empty values":  "node:\nstorage:\n  max_bytes:\ncluster: {join: }\nremote_write:\n",
		"empty mapping": "sources: {}\n",
	} {
		c := mustParse(t, text)
		c.origins = nil
		if !reflect.DeepEqual(c, Default()) {
			t.Errorf("%s: %+v, want the defaults", name, c)
		}
	}
}

func TestParseRemoteWriteDefaults(t *testing.T) {
	c := mustParse(t, "remote_write: [{name: a, url: http://x, queue_config: {max_shards: 2}}]")
	want := DefaultRemoteWrite()
	want.Name, want.URL, want.QueueConfig.MaxShards = "a", "http://x", 2
	if !reflect.DeepEqual(c.RemoteWrite, []RemoteWrite{want}) {
		t.Errorf("got %+v, want %+v", c.RemoteWrite[0], want)
	}
}

func TestParseAnchorsAndMerges(t *testing.T) {
	c := mustParse(t, `
remote_write:
  - &first
    name: a
    url: &url http://x
    queue_config: &queue {max_shards: 2}
  - <<: *first
    name: b
    queue_config: {<<: *queue, max_samples_per_send: 7}
  - {name: c, url: *url}
`)
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	b := c.RemoteWrite[1]
	if b.Name != "b" || b.URL != "http://x" || b.QueueConfig.MaxShards != 2 || b.QueueConfig.MaxSamplesPerSend != 7 || c.RemoteWrite[2].URL != "http://x" {
		t.Errorf("got %+v", c.RemoteWrite)
	}
	if _, _, err := Parse([]byte("node: &a\n  <<: *a\n")); err == nil {
		t.Error("an anchor that merges itself was accepted")
	}
}

// C1 and C3: errors of the text alone, each with its line.
func TestParseErrors(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"unknown section", "\nclustr: {}", `line 2: unknown key "clustr"; did you mean "cluster"?`},
		{"unknown key", "cluster:\n  bindd_address: x", `line 2: unknown key "cluster.bindd_address"; did you mean "bind_address"?`},
		{"dashes", "cluster:\n  bind-address: x", `line 2: unknown key "cluster.bind-address"; did you mean "bind_address"?`},
		{"nothing near", "node:\n  colour: red", `line 2: unknown key "node.colour"; valid are id`},
		{"unknown in list", "remote_write:\n  - name: a\n    urll: x", `line 3: unknown key "remote_write[0].urll"; did you mean "url"?`},
		{"unknown in queue", "remote_write:\n  - queue_config:\n      max_shard: 1", `line 3: unknown key "remote_write[0].queue_config.max_shard"; did you mean "max_shards"?`},
		{"unknown in basic_auth", "remote_write:\n  - basic_auth:\n      user: u\n      passwort: x", `line 4: unknown key "remote_write[0].basic_auth.passwort"; did you mean "password"?`},
		{"unknown in tls_config", "remote_write:\n  - tls_config:\n      insecure_skip_verfy: true", `line 3: unknown key "remote_write[0].tls_config.insecure_skip_verfy"; did you mean "insecure_skip_verify"?`},
		{"unknown in oauth2.tls_config", "remote_write:\n  - oauth2:\n      tls_config:\n        cafile: x", `line 4: unknown key "remote_write[0].oauth2.tls_config.cafile"; did you mean "ca_file"?`},
		{"unknown in relabelling", "remote_write:\n  - write_relabel_configs:\n      - action: drop\n        source_label: [a]", `line 4: unknown key "remote_write[0].write_relabel_configs[0].source_label"; did you mean "source_labels"?`},
		{"unknown in labels", "sources:\n  labels:\n    - {group: a, replicas: b}", `line 3: unknown key "sources.labels[0].replicas"; did you mean "replica"?`},
		{"twice", "node:\n  id: a\n  id: b", `line 3: node.id: the key was given before, in line 2`},
		{"section twice", "node: {}\nnode: {}", `line 2: node: the key was given before, in line 1`},
		{"size", "storage:\n  max_bytes: 20 gigs", `line 2: storage.max_bytes: expected a size such as 512MiB, 20GiB or 20GB, got "20 gigs"`},
		{"negative size", "storage:\n  max_bytes: -1", `line 2: storage.max_bytes: expected a size such as 512MiB, 20GiB or 20GB, got "-1"`},
		{"duration", "sources:\n  max_lag: soon", `line 2: sources.max_lag: expected a duration such as 500ms, 15s, 1m or 1d, got "soon"`},
		{"number as duration", "sources:\n  max_lag: 5", `line 2: sources.max_lag: expected a duration such as 500ms, 15s, 1m or 1d, got "5"`},
		{"bool", "web:\n  enable_lifecycle: maybe", `line 2: web.enable_lifecycle: expected true or false, got "maybe"`},
		{"number", "remote_write:\n  - queue_config:\n      max_shards: many", `line 3: remote_write[0].queue_config.max_shards: expected a whole number, got "many"`},
		{"list for text", "node:\n  id: [a]", `line 2: node.id: expected a text, got a list`},
		{"text for list", "cluster:\n  join: a:1", `line 2: cluster.join: expected a list of texts, got "a:1"`},
		{"text for keys", "cluster: yes", `line 1: cluster: expected keys with values, got "yes"`},
		{"keys for list", "remote_write:\n  name: a", `line 2: remote_write: expected a list, got keys with values`},
		{"text as file", "hello", `line 1: expected keys with values, got "hello"`},
		{"headers", "remote_write:\n  - headers: [a]", `line 2: remote_write[0].headers: expected names with texts, got a list`},
		{"regex", "remote_write:\n  - write_relabel_configs:\n      - regex: '('", `remote_write[0].write_relabel_configs: error parsing regexp`},
		{"action", "remote_write:\n  - write_relabel_configs:\n      - action: destroy", `remote_write[0].write_relabel_configs: unknown relabel action "destroy"`},
		{"two auths", "remote_write:\n  - name: a\n    basic_auth: {username: u}\n    authorization: {credentials: c}", `line 2: remote_write[0]: at most one of basic_auth, oauth2 & authorization must be configured`},
		{"syntax", "node:\n  id: 'a\n", `not valid YAML`},
		{"tabs", "node:\n\tid: a\n", `line 2: not valid YAML: found character that cannot start any token`},
		{"two documents", "node: {}\n---\nnode: {}\n", `line 2: a second document`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := Parse([]byte(tt.text))
			if err == nil {
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got  %q\nwant %q", err, tt.want)
			}
		})
	}
}

func TestParseReportsAllErrorsInOrder(t *testing.T) {
	_, _, err := Parse([]byte("storage:\n  max_bytes: x\nsources:\n  max_lag: y\nnod: {}\n"))
	if err == nil {
		t.Fatal("no error")
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "line 2") || !strings.HasPrefix(lines[1], "line 4") || !strings.HasPrefix(lines[2], "line 5") {
		t.Errorf("got %q", lines)
	}
}

func TestPrometheusKeysThatCannotApply(t *testing.T) {
	c, warnings, err := Parse([]byte(`
remote_write:
  - name: a
    url: http://x
    send_exemplars: true
    send_native_histograms: true
    round_robin_dns: true
    follow_redirects: true
    metadata_config: {send: true, send_interval: 1m}
    sigv4: {region: eu}
    azuread: {cloud: x}
    google_iam: {credentials_file: x}
    queue_config: {capacity: 1, min_shards: 1, batch_send_deadline: 5s, retry_on_http_429: true, max_shards: 3}
  - name: b
    url: http://y
    send_exemplars: true
`))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	if len(warnings) != 1 {
		t.Fatalf("got %d warnings, want one for all: %v", len(warnings), warnings)
	}
	text := warnings[0].String()
	for _, want := range []string{
		"line 5: keys", "remote_write[0].send_exemplars (line 5)", "remote_write[0].sigv4 (line 10)",
		"remote_write[0].queue_config.retry_on_http_429 (line 13)", "remote_write[1].send_exemplars (line 16)",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q lacks %q", text, want)
		}
	}
	if c.RemoteWrite[0].HTTP.FollowRedirects || c.RemoteWrite[0].QueueConfig.MaxShards != 3 {
		t.Errorf("got %+v", c.RemoteWrite[0])
	}
}

func TestLoadRelativePaths(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "h.yml")
	write(t, path, `
storage: {path: ./data}
web: {config_file: web.yml}
cluster: {tls: {ca_file: ca.crt, cert_file: /abs/node.crt, key_file: tls/node.key}}
remote_write:
  - name: a
    url: http://x
    basic_auth: {username: u, password_file: secret}
    tls_config: {ca_file: lts.crt}
  - {name: b, url: http://x, bearer_token_file: token}
`)
	c, _, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ got, want string }{
		{c.Storage.Path, "./data"},
		{c.Web.ConfigFile, filepath.Join(dir, "web.yml")},
		{c.Cluster.TLS.CAFile, filepath.Join(dir, "ca.crt")},
		{c.Cluster.TLS.CertFile, "/abs/node.crt"},
		{c.Cluster.TLS.KeyFile, filepath.Join(dir, "tls/node.key")},
		{c.RemoteWrite[0].HTTP.BasicAuth.PasswordFile, filepath.Join(dir, "secret")},
		{c.RemoteWrite[0].HTTP.TLSConfig.CAFile, filepath.Join(dir, "lts.crt")},
		{c.RemoteWrite[1].HTTP.Authorization.CredentialsFile, filepath.Join(dir, "token")},
	} {
		if tt.got != tt.want {
			t.Errorf("got %q, want %q", tt.got, tt.want)
		}
	}
}

func TestLoadErrors(t *testing.T) {
	dir := t.TempDir()
	if _, _, err := Load(filepath.Join(dir, "none.yml")); err == nil || !strings.Contains(err.Error(), "none.yml") {
		t.Errorf("a missing file: %v", err)
	}
	if _, _, err := Load(dir); err == nil {
		t.Error("a directory was read as a file")
	}
	path := filepath.Join(dir, "h.yml")
	write(t, path, "node:\n  ids: a\n")
	_, _, err := Load(path)
	if want := path + `:2: unknown key "node.ids"; did you mean "id"?`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte(DefaultFile()))
	f.Add([]byte("node: &a\n  <<: *a\n"))
	f.Add([]byte("remote_write: [{<<: [{name: a}]}]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, _, err := Parse(data)
		if err != nil {
			return
		}
		_ = c.Validate()
		_ = c.Hash()
		if _, err := c.Marshal(); err != nil {
			t.Errorf("marshal what was parsed: %v", err)
		}
	})
}
