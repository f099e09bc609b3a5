package system

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/highlander-io/highlander/test/harness"
	"github.com/highlander-io/highlander/test/history"
)

func alertsFile(name string) string { return filepath.Join(harness.Root(), "docs", name) }

// alert is a rule of docs/alerts.yml.
type alert struct {
	Alert, Expr string
	Annotations struct{ Summary, Description string }
}

func alerts(t *testing.T) (list []alert) {
	t.Helper()
	var file struct {
		Groups []struct{ Rules []alert }
	}
	data, err := os.ReadFile(alertsFile("alerts.yml"))
	if err := errors.Join(err, yaml.Unmarshal(data, &file)); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		list = append(list, g.Rules...)
	}
	return list
}

// The rules do what docs/alerts_test.yml says, and it says of every rule when it fires, and that it does not at rest.
func TestAlertRules(t *testing.T) {
	promtool := harness.Debian(t, "promtool", "prometheus")
	for _, args := range [][]string{{"check", "rules", alertsFile("alerts.yml")}, {"test", "rules", alertsFile("alerts_test.yml")}} {
		if out, err := exec.Command(promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
	tests, err := os.ReadFile(alertsFile("alerts_test.yml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range alerts(t) {
		if !strings.Contains(string(tests), fmt.Sprintf(`{alertname="%s"}`, a.Alert)) {
			t.Errorf("no test shows %s firing", a.Alert)
		}
		if a.Annotations.Summary == "" || a.Annotations.Description == "" {
			t.Errorf("%s does not say what to do", a.Alert)
		}
	}
}

// A real Prometheus with the rules scrapes a real cluster: nothing fires in the steady state, and the books are no alert,
// not even a pending one, while the LTS is down and up again. Every metric and label that the rules name exists.
func TestAlertsOnARealCluster(t *testing.T) {
	r := startRig(t, 3)
	a, _ := r.pair()
	var targets []string
	for _, n := range r.cluster.Nodes {
		targets = append(targets, n.Web)
	}
	p := harness.StartPrometheus(t, harness.PrometheusOptions{
		Name: "alerting", Job: "highlander", Target: targets[0], Targets: targets[1:], Interval: "500ms", Rules: []string{alertsFile("alerts.yml")},
	})
	// evaluated waits until every node has been scraped, and then every rule evaluated.
	evaluated := func() {
		t.Helper()
		since := time.Now()
		harness.Eventually(t, "every node to be scraped", func() error {
			newest := map[string]int64{}
			for _, s := range p.Samples("up") {
				if s.Value == 1 {
					newest[s.Series] = max(newest[s.Series], s.Time)
				}
			}
			for _, at := range newest {
				if at < since.UnixMilli() {
					return fmt.Errorf("%v, it is %d", newest, since.UnixMilli())
				}
			}
			return unless(len(newest) == len(targets), func() string { return fmt.Sprint(newest) })
		})
		since = time.Now()
		harness.Eventually(t, "every rule to be evaluated", func() error {
			rules := p.RulesLoaded()
			if len(rules) != len(alerts(t)) {
				return fmt.Errorf("%d rules are loaded", len(rules))
			}
			for _, rule := range rules {
				if rule.Health != "ok" || rule.LastEvaluation.Before(since) {
					return fmt.Errorf("%+v", rule)
				}
			}
			return nil
		})
	}
	silent := func(when, selector string) {
		t.Helper()
		for _, s := range p.Samples("ALERTS" + selector) {
			t.Errorf("%s: %s", when, s.Series)
		}
	}
	r.flowing(a)
	evaluated()
	silent("steady state", `{alertstate="firing"}`)

	r.lts.Down()
	r.backlog(2000)
	evaluated()
	r.lts.Up()
	r.cluster.WaitArrived(r.lts.Name)
	r.flowing(a)
	evaluated()
	silent("outage and recovery", `{alertstate="firing"}`)
	silent("outage and recovery", `{alertname=~".*BooksDiffer"}`)
	if backlog := slices.MaxFunc(p.Samples("highlander_destination_backlog_samples"), func(a, b history.Sample) int { return int(a.Value - b.Value) }); backlog.Value < 2000 {
		t.Errorf("Prometheus saw a backlog of %v at most", backlog.Value)
	}

	for _, s := range r.sources {
		s.Stop()
	}
	r.everyMetric()
	existing(t, r.cluster.Leader())
}

// everyMetric sees to it that each metric with a reason has one: a rejected series, and a dead letter that is purged.
func (r *rig) everyMetric() {
	r.t.Helper()
	r.lts.Refuse(func(got *harness.Received) *harness.Reply {
		if !slices.ContainsFunc(got.Samples, func(s history.Sample) bool { return strings.Contains(s.Series, "refused") }) {
			return nil
		}
		return &harness.Reply{Status: http.StatusBadRequest, Body: "no"}
	})
	leader := r.cluster.Leader()
	status, answer, _ := r.insist(leader, request{
		query: "highlander_group=bad&highlander_source=x", contentType: harness.ContentV1, encoding: "snappy",
		body: harness.EncodeV1([]harness.Point{point("job", "nameless"), point("__name__", "refused"), point("__name__", "taken")}),
	})
	if status != http.StatusBadRequest {
		r.t.Fatalf("a series without a name: %d %s, want 400", status, answer)
	}
	harness.Eventually(r.t, "a dead letter", func() error {
		d := r.destination(r.lts.Name)
		return unless(d.Samples.DeadLetter == 1, func() string { return fmt.Sprintf("%+v", d) })
	})
	leader.Must("dead-letter", "purge")
	harness.Eventually(r.t, "rejected and dropped samples", func() error {
		m, err := leader.Metrics()
		return errors.Join(err, unless(m.Sum("highlander_samples_rejected_total") == 1 && m.Sum("highlander_destination_samples_dropped_total") == 1,
			func() string { return "not in the metrics yet" }))
	})
}

var (
	selector  = regexp.MustCompile(`(highlander_[a-z_]+)(\{[^}]*\})?`)
	matchers  = regexp.MustCompile(`([a-z]+) *[=!]`)
	groupings = regexp.MustCompile(`(?:by|without|on) \(([^)]*)\)`)
)

// existing requires that every metric and label in the rules and in their annotations is one of the node's.
func existing(t *testing.T, n *harness.Node) {
	t.Helper()
	metrics, err := n.Metrics()
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string]map[string]bool{}
	for _, m := range metrics {
		// A histogram's count is a metric of its own to Prometheus.
		for _, name := range []string{m.Name, m.Name + "_count"} {
			if labels[name] == nil {
				labels[name] = map[string]bool{"job": true, "instance": true}
			}
			for label := range m.Labels {
				labels[name][label] = true
			}
		}
	}
	for _, a := range alerts(t) {
		known := map[string]bool{}
		for _, found := range selector.FindAllStringSubmatch(a.Expr+a.Annotations.Description, -1) {
			if labels[found[1]] == nil {
				t.Errorf("%s: there is no metric %s", a.Alert, found[1])
			}
			for _, matcher := range matchers.FindAllStringSubmatch(found[2], -1) {
				if !labels[found[1]][matcher[1]] {
					t.Errorf("%s: %s has no label %s", a.Alert, found[1], matcher[1])
				}
			}
			for label := range labels[found[1]] {
				known[label] = true
			}
		}
		for _, grouping := range groupings.FindAllStringSubmatch(a.Expr, -1) {
			for _, label := range strings.Split(grouping[1], ",") {
				if !known[strings.TrimSpace(label)] {
					t.Errorf("%s: none of its metrics has a label %q", a.Alert, label)
				}
			}
		}
	}
}
