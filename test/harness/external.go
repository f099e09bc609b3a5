package harness

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/highlander-io/highlander/test/history"
)

// patient asks once, so it waits for as long as others ask again.
var patient = &http.Client{Timeout: Patience, Transport: &http.Transport{DisableKeepAlives: true}}

// await waits until an address answers 200; it fails at once when the process has ended.
func await(t testing.TB, p *Process, address string) {
	t.Helper()
	Eventually(t, p.Name+" ready", func() error {
		if !p.Running() {
			t.Fatalf("%s has ended:\n%s", p.Name, p.Output())
		}
		resp, err := web.Get(address)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s answers %s", address, resp.Status)
		}
		return nil
	})
}

// Prometheus is a real Prometheus server of Debian that scrapes one target and writes to one address.
type Prometheus struct {
	Name    string
	Web     string
	Process *Process

	t    testing.TB
	home string
	args []string
}

// PrometheusOptions say what a Prometheus server scrapes and where it writes.
type PrometheusOptions struct {
	Name     string
	Labels   map[string]string // external labels
	Job      string            // default numbered
	Target   string            // host:port
	Targets  []string          // more of them
	Params   map[string]string // of the scrape
	Interval string            // of the scrape; default 1s
	WriteURL string            // empty: it writes nowhere
	Rules    []string          // rule files, evaluated at Interval
}

// StartPrometheus starts a server and waits until it is ready.
func StartPrometheus(t testing.TB, o PrometheusOptions) *Prometheus {
	t.Helper()
	p := &Prometheus{Name: o.Name, Web: Address(FreePort()), t: t, home: t.TempDir()}
	file := filepath.Join(p.home, "prometheus.yml")
	data, err := yaml.Marshal(o.config())
	if err == nil {
		err = os.WriteFile(file, data, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	p.args = []string{
		"--config.file=" + file, "--storage.tsdb.path=" + filepath.Join(p.home, "data"),
		"--web.listen-address=" + p.Web, "--storage.remote.flush-deadline=5s",
	}
	p.Start()
	return p
}

func (o PrometheusOptions) config() Map {
	params := Map{}
	for k, v := range o.Params {
		params[k] = []string{v}
	}
	interval := or(o.Interval, "1s")
	config := Map{
		"global": Map{
			"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval, "external_labels": o.Labels,
		},
		"rule_files": o.Rules,
		"scrape_configs": []Map{{
			"job_name": or(o.Job, "numbered"), "params": params,
			"static_configs": []Map{{"targets": append([]string{o.Target}, o.Targets...)}},
		}},
	}
	if o.WriteURL != "" {
		config["remote_write"] = []Map{{
			"url": o.WriteURL, "remote_timeout": "5s", "metadata_config": Map{"send": false},
			"queue_config": Map{"batch_send_deadline": "500ms", "min_backoff": "30ms", "max_backoff": "500ms"},
		}}
	}
	return config
}

// Start starts the server, again if it was killed: its data directory stays.
func (p *Prometheus) Start() {
	p.t.Helper()
	p.Process = Start(p.t, p.Name, Debian(p.t, "prometheus", "prometheus"), p.args...)
	await(p.t, p.Process, "http://"+p.Web+"/-/ready")
}

// Stop sends SIGTERM: the server flushes what it has not sent yet.
func (p *Prometheus) Stop() {
	p.t.Helper()
	_ = p.Process.Signal(syscall.SIGTERM)
	if _, err := p.Process.Exit(Patience); err != nil {
		p.t.Fatal(err)
	}
}

// Samples returns the stored samples of the series that match the selector, labels as the server keeps them
// (without its external ones).
func (p *Prometheus) Samples(selector string) []history.Sample {
	p.t.Helper()
	var answer struct {
		Status, Error string
		Data          struct {
			Result []struct {
				Metric map[string]string
				Values [][2]any
			}
		}
	}
	p.get("/api/v1/query?query="+url.QueryEscape(selector+"[2h]"), &answer)
	if answer.Status != "success" {
		p.t.Fatalf("prometheus %s: query: %s", p.Name, answer.Error)
	}
	var all []history.Sample
	for _, series := range answer.Data.Result {
		text := metricText(series.Metric)
		for _, v := range series.Values {
			var value float64
			if _, err := fmt.Sscan(v[1].(string), &value); err != nil {
				p.t.Fatal(err)
			}
			all = append(all, history.Sample{Series: text, Time: int64(v[0].(float64)*1000 + 0.5), Value: value})
		}
	}
	return all
}

func (p *Prometheus) get(path string, into any) {
	p.t.Helper()
	resp, err := patient.Get("http://" + p.Web + path)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		p.t.Fatalf("prometheus %s: %s: %v", p.Name, path, err)
	}
}

// Rule is a rule as a Prometheus server has loaded it.
type Rule struct {
	Name, Query, Health, LastError string
	LastEvaluation                 time.Time
}

// RulesLoaded lists the rules of all groups.
func (p *Prometheus) RulesLoaded() (rules []Rule) {
	p.t.Helper()
	var answer struct {
		Data struct {
			Groups []struct{ Rules []Rule }
		}
	}
	p.get("/api/v1/rules", &answer)
	for _, g := range answer.Data.Groups {
		rules = append(rules, g.Rules...)
	}
	return rules
}

func metricText(metric map[string]string) string {
	labels := make([]Label, 0, len(metric))
	for name, value := range metric {
		labels = append(labels, Label{Name: name, Value: value})
	}
	return SeriesText(labels)
}

// VictoriaMetrics is Debian's VictoriaMetrics. It keeps every sample it is sent, repetitions included.
type VictoriaMetrics struct {
	Web     string
	Process *Process

	t    testing.TB
	args []string
}

// StartVictoriaMetrics starts a server and waits until it answers.
func StartVictoriaMetrics(t testing.TB) *VictoriaMetrics {
	t.Helper()
	v := &VictoriaMetrics{Web: Address(FreePort()), t: t}
	v.args = []string{
		"-httpListenAddr=" + v.Web, "-storageDataPath=" + t.TempDir(),
		"-retentionPeriod=100y", "-memory.allowedBytes=256MB",
	}
	v.Start()
	return v
}

// Start starts the server, again if it was ended: its data stays.
func (v *VictoriaMetrics) Start() {
	v.t.Helper()
	v.Process = Start(v.t, "victoria-metrics", Debian(v.t, "victoria-metrics", "victoria-metrics"), v.args...)
	await(v.t, v.Process, "http://"+v.Web+"/health")
}

// Stop sends SIGTERM: the server writes what it holds to disk.
func (v *VictoriaMetrics) Stop() {
	v.t.Helper()
	_ = v.Process.Signal(syscall.SIGTERM)
	if _, err := v.Process.Exit(Patience); err != nil {
		v.t.Fatal(err)
	}
}

// WriteURL takes remote write 1.0.
func (v *VictoriaMetrics) WriteURL() string { return "http://" + v.Web + "/api/v1/write" }

// infinities are what the export writes into its JSON although JSON has no such numbers.
var infinities = strings.NewReplacer("[+Inf", "[null", ",+Inf", ",null", "[-Inf", "[null", ",-Inf", ",null")

// Export returns every stored sample of the series that match the selector, but for infinities and stale markers.
func (v *VictoriaMetrics) Export(selector string) []history.Sample {
	v.t.Helper()
	if resp, err := patient.Get("http://" + v.Web + "/internal/force_flush"); err != nil {
		v.t.Fatal(err)
	} else {
		resp.Body.Close()
	}
	resp, err := patient.Get("http://" + v.Web + "/api/v1/export?match[]=" + url.QueryEscape(selector))
	if err != nil {
		v.t.Fatal(err)
	}
	defer resp.Body.Close()
	var all []history.Sample
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var series struct {
			Metric     map[string]string
			Values     []*float64
			Timestamps []int64
		}
		if err := json.Unmarshal([]byte(infinities.Replace(lines.Text())), &series); err != nil {
			v.t.Fatalf("export: %v", err)
		}
		text := metricText(series.Metric)
		for i, value := range series.Values {
			if value == nil {
				continue
			}
			all = append(all, history.Sample{Series: text, Time: series.Timestamps[i], Value: *value})
		}
	}
	if err := lines.Err(); err != nil {
		v.t.Fatal(err)
	}
	return all
}

// StartVMAgent starts Debian's vmagent with its defaults, writing to one address; it returns where it takes
// remote write.
func StartVMAgent(t testing.TB, target string, args ...string) (*Process, string) {
	t.Helper()
	address := Address(FreePort())
	args = append([]string{
		"-httpListenAddr=" + address, "-remoteWrite.url=" + target, "-remoteWrite.tmpDataPath=" + t.TempDir(),
	}, args...)
	p := Start(t, "vmagent", Debian(t, "vmagent", "victoria-metrics"), args...)
	await(t, p, "http://"+address+"/health")
	return p, "http://" + address + "/api/v1/write"
}

// StartHAProxy starts Debian's HAProxy with the file that the project ships and returns where it takes writes.
// The file's addresses are set by the environment variables that it names.
func StartHAProxy(t testing.TB, nodes []*Node) (p *Process, address string) {
	t.Helper()
	address = Address(FreePort())
	env := []string{"HIGHLANDER_BIND=" + address, "HAPROXY_STATS=" + Address(FreePort())}
	for i, n := range nodes {
		env = append(env, fmt.Sprintf("HIGHLANDER_%d=%s", i+1, n.Web))
	}
	file := filepath.Join(Root(), "scripts", "haproxy.cfg")
	p = StartEnv(t, "haproxy", env, Debian(t, "haproxy", "haproxy"), "-db", "-f", file)
	await(t, p, "http://"+address+"/-/ready")
	return p, address
}

// Compare tells two sets of samples apart, as text lines, at most ten of each kind.
func Compare(want, got []history.Sample) string {
	count := map[history.Sample]int{}
	for _, s := range want {
		count[s]++
	}
	for _, s := range got {
		count[s]--
	}
	var missing, surplus []string
	for s, n := range count {
		line := fmt.Sprintf("%s at %d = %v (%+d)", s.Series, s.Time, s.Value, -n)
		switch {
		case n > 0:
			missing = append(missing, line)
		case n < 0:
			surplus = append(surplus, line)
		}
	}
	if len(missing)+len(surplus) == 0 {
		return ""
	}
	text := fmt.Sprintf("%d samples missing, %d too many of %d", len(missing), len(surplus), len(want))
	for _, list := range [][]string{missing, surplus} {
		text += "\n" + strings.Join(list[:min(len(list), 10)], "\n")
	}
	return text
}
