package config

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

// contract is every scalar key of the documented file, and cluster.join, written out by hand.
const contract = `
node.id                        --node.id                        HIGHLANDER_NODE_ID
storage.path                   --storage.path                   HIGHLANDER_STORAGE_PATH
storage.max_bytes              --storage.max-bytes              HIGHLANDER_STORAGE_MAX_BYTES
storage.min_free_bytes         --storage.min-free-bytes         HIGHLANDER_STORAGE_MIN_FREE_BYTES
storage.when_full              --storage.when-full              HIGHLANDER_STORAGE_WHEN_FULL
storage.dead_letter_max_bytes  --storage.dead-letter-max-bytes  HIGHLANDER_STORAGE_DEAD_LETTER_MAX_BYTES
web.listen_address             --web.listen-address             HIGHLANDER_WEB_LISTEN_ADDRESS
web.config_file                --web.config-file                HIGHLANDER_WEB_CONFIG_FILE
web.max_body_bytes             --web.max-body-bytes             HIGHLANDER_WEB_MAX_BODY_BYTES
web.enable_lifecycle           --web.enable-lifecycle           HIGHLANDER_WEB_ENABLE_LIFECYCLE
cluster.bind_address           --cluster.bind-address           HIGHLANDER_CLUSTER_BIND_ADDRESS
cluster.advertise_address      --cluster.advertise-address      HIGHLANDER_CLUSTER_ADVERTISE_ADDRESS
cluster.join                   --cluster.join                   HIGHLANDER_CLUSTER_JOIN
cluster.tls.ca_file            --cluster.tls.ca-file            HIGHLANDER_CLUSTER_TLS_CA_FILE
cluster.tls.cert_file          --cluster.tls.cert-file          HIGHLANDER_CLUSTER_TLS_CERT_FILE
cluster.tls.key_file           --cluster.tls.key-file           HIGHLANDER_CLUSTER_TLS_KEY_FILE
cluster.insecure               --cluster.insecure               HIGHLANDER_CLUSTER_INSECURE
sources.default_group          --sources.default-group          HIGHLANDER_SOURCES_DEFAULT_GROUP
sources.unidentified           --sources.unidentified           HIGHLANDER_SOURCES_UNIDENTIFIED
sources.request_weight         --sources.request-weight         HIGHLANDER_SOURCES_REQUEST_WEIGHT
sources.failover_timeout       --sources.failover-timeout       HIGHLANDER_SOURCES_FAILOVER_TIMEOUT
sources.preempt_after          --sources.preempt-after          HIGHLANDER_SOURCES_PREEMPT_AFTER
sources.max_lag                --sources.max-lag                HIGHLANDER_SOURCES_MAX_LAG
sources.min_coverage           --sources.min-coverage           HIGHLANDER_SOURCES_MIN_COVERAGE
sources.forget_after           --sources.forget-after           HIGHLANDER_SOURCES_FORGET_AFTER
handover.window_bytes          --handover.window-bytes          HIGHLANDER_HANDOVER_WINDOW_BYTES
handover.margin                --handover.margin                HIGHLANDER_HANDOVER_MARGIN
handover.clock_skew_guard      --handover.clock-skew-guard      HIGHLANDER_HANDOVER_CLOCK_SKEW_GUARD
`

// C2, against the contract.
func TestSettingsAreTheContract(t *testing.T) {
	var got []string
	for _, s := range Settings() {
		got = append(got, strings.Join([]string{s.Key, "--" + s.Flag(), s.Env()}, " "))
	}
	var want []string
	for line := range strings.Lines(strings.TrimSpace(contract)) {
		want = append(want, strings.Join(strings.Fields(line), " "))
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// C2, against the structs: no key without a row.
func TestSettingsCoverTheStructs(t *testing.T) {
	var got []string
	for _, s := range Settings() {
		got = append(got, s.Key)
	}
	want := scalarKeys(reflect.TypeFor[Config](), "")
	if !slices.Equal(got, want) {
		t.Errorf("settings\n%q\nstructs\n%q", got, want)
	}
}

func scalarKeys(t reflect.Type, prefix string) (list []string) {
	for i := range t.NumField() {
		f := t.Field(i)
		tag, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		key := child(prefix, tag)
		switch {
		case !f.IsExported() || f.Type.Kind() == reflect.Slice && isOwnStruct(f.Type.Elem()):
		case isOwnStruct(f.Type):
			list = append(list, scalarKeys(f.Type, key)...)
		default:
			list = append(list, key)
		}
	}
	return list
}

// Whatever get writes, Set reads: over the defaults, and over a configuration with nothing at its default.
func TestSetReadsWhatGetWrites(t *testing.T) {
	changed := mustParse(t, full)
	for _, s := range Settings() {
		c := Default()
		if err := c.Set(s.Key, s.get(&changed), "--"+s.Flag()); err != nil {
			t.Errorf("%s: %v", s.Key, err)
			continue
		}
		if got, want := s.get(&c), s.get(&changed); got != want {
			t.Errorf("%s: got %q, want %q", s.Key, got, want)
		}
		if s.Usage == "" || s.Bool() == strings.Contains(s.Usage, "`") {
			t.Errorf("%s: usage %q names no value, or one for a switch", s.Key, s.Usage)
		}
	}
}

func TestSetErrors(t *testing.T) {
	for _, tt := range []struct{ key, value, want string }{
		{"storage.max_bytes", "x", `flag: storage.max_bytes: expected a size such as 512MiB, 20GiB or 20GB, got "x"`},
		{"sources.min_coverage", "most", `flag: sources.min_coverage: expected a number, got "most"`},
		{"sources.max_lag", "x", `flag: sources.max_lag: expected a duration such as 500ms, 15s, 1m or 1d, got "x"`},
		{"cluster.insecure", "x", `flag: cluster.insecure: expected true or false, got "x"`},
		{"none", "x", `flag: unknown key "none"`},
	} {
		c := Default()
		if err := c.Set(tt.key, tt.value, "flag"); err == nil || err.Error() != tt.want {
			t.Errorf("%s: got %v, want %s", tt.key, err, tt.want)
		}
	}
}

func TestAddRemoteWrite(t *testing.T) {
	c := mustParse(t, "remote_write: [{name: lts, url: http://x}]")
	before := c
	c.AddRemoteWrite("http://a/?x=1,2", "--remote-write.url")
	c.AddRemoteWrite("http://b", "--remote-write.url")
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	if len(before.RemoteWrite) != 1 || len(c.RemoteWrite) != 3 {
		t.Fatalf("before %d, after %d", len(before.RemoteWrite), len(c.RemoteWrite))
	}
	for i, want := range []string{"lts", "remote-0", "remote-1"} {
		if got := c.RemoteWrite[i]; got.Name != want || got.Positional != (i > 0) {
			t.Errorf("destination %d: %q, positional %t", i, got.Name, got.Positional)
		}
	}
	c.AddRemoteWrite("nonsense", "--remote-write.url")
	want := `--remote-write.url: remote_write[3].url: expected a URL such as http://lts.example/api/v1/write, got "nonsense"`
	if err := c.Validate(); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestParseBytes(t *testing.T) {
	for _, tt := range []struct {
		text string
		want Bytes
		back string
	}{
		{"0", 0, "0"}, {"1", 1, "1B"}, {"1024", KiB, "1KiB"}, {"20GiB", 20 * GiB, "20GiB"}, {"20GB", 20e9, "20GB"}, {"20 GB", 20e9, "20GB"},
		{"1.5KiB", 1536, "1536B"}, {"0.5MB", 500000, "500KB"}, {"3kB", 3000, "3KB"}, {"7B", 7, "7B"}, {"1PiB", PiB, "1PiB"}, {"2TB", 2e12, "2TB"},
		{"9223372036854775807", 1<<63 - 1, "9223372036854775807B"},
	} {
		got, err := ParseBytes(tt.text)
		if err != nil || got != tt.want || got.String() != tt.back {
			t.Errorf("%q: got %d (%s), %v; want %d (%s)", tt.text, got, got, err, tt.want, tt.back)
		}
		if again, err := ParseBytes(got.String()); err != nil || again != got {
			t.Errorf("%q: %s read again is %d, %v", tt.text, got, again, err)
		}
	}
	for _, text := range []string{"", "GiB", "-1", "+1", "1e3", "0x10", "1/2", "1.2.3", "5gib", "1.5", "8192PiB", "9223372036854775808", "1 GiB 2", "."} {
		if got, err := ParseBytes(text); err == nil {
			t.Errorf("%q was read as %d", text, got)
		}
	}
}

func TestNearest(t *testing.T) {
	valid := []string{"bind_address", "advertise_address", "join", "tls", "insecure"}
	for wrong, want := range map[string]string{
		"bindd_address": "bind_address", "bind-address": "bind_address", "Join": "join", "jion": "join", "secure": "insecure", "xyzzy": "", "": "",
	} {
		if got, _ := Nearest(wrong, valid); want != "" && got != want {
			t.Errorf("%q: got %q, want %q", wrong, got, want)
		}
		if _, ok := Nearest(wrong, valid); ok != (want != "") {
			t.Errorf("%q: found %t", wrong, ok)
		}
	}
}
