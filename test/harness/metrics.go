package harness

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Metric is one series of a node's metrics page, a histogram's by its count.
type Metric struct {
	Name   string
	Labels map[string]string
	Value  float64
}

// Metrics are what a node's metrics page shows.
type Metrics []Metric

// Metrics fetches the metrics page. Unlike the status document, what is replicated in it is the node's own copy.
func (n *Node) Metrics() (Metrics, error) {
	page, err := n.metricsPage()
	if err != nil {
		return nil, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(page))
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", n.ID, err)
	}
	var all Metrics
	for _, name := range slices.Sorted(maps.Keys(families)) {
		for _, m := range families[name].GetMetric() {
			labels := map[string]string{}
			for _, pair := range m.GetLabel() {
				labels[pair.GetName()] = pair.GetValue()
			}
			value := m.GetCounter().GetValue() + m.GetGauge().GetValue() + m.GetUntyped().GetValue() + float64(m.GetHistogram().GetSampleCount())
			all = append(all, Metric{name, labels, value})
		}
	}
	return all, nil
}

// Metric fetches one series of the metrics page, named as it is there, with its labels.
func (n *Node) Metric(series string) (float64, error) {
	page, err := n.metricsPage()
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(page) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, fmt.Errorf("node %s has no metric %s", n.ID, series)
}

func (n *Node) metricsPage() (string, error) {
	code, body, err := n.Get("/metrics")
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("node %s: /metrics answers %d: %s", n.ID, code, body)
	}
	return body, err
}

// Sum adds up the series of a name that have the labels, given as pairs.
func (all Metrics) Sum(name string, labels ...string) (sum float64) {
	for _, m := range all {
		if m.Name == name && m.has(labels) {
			sum += m.Value
		}
	}
	return sum
}

func (m Metric) has(labels []string) bool {
	for i := 0; i < len(labels); i += 2 {
		if m.Labels[labels[i]] != labels[i+1] {
			return false
		}
	}
	return true
}

// Values lists the values of a label of a metric, each once.
func (all Metrics) Values(name, label string) []string {
	seen := map[string]bool{}
	for _, m := range all {
		if m.Name == name {
			seen[m.Labels[label]] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

// The books as metrics: what comes in, and what it can become.
const (
	received = "highlander_samples_received_total"
	standby  = "highlander_standby_requests_total"
	owed     = "highlander_destination_samples_accepted_total"
)

var books = map[string]struct {
	label    string // by which it balances, besides the tenant
	outcomes []string
}{
	received: {"group", []string{
		"highlander_samples_accepted_total", "highlander_samples_covered_total", "highlander_samples_duplicate_total", "highlander_samples_rejected_total",
	}},
	standby: {"group", []string{
		"highlander_standby_requests_kept", "highlander_standby_requests_discarded_total", "highlander_standby_requests_used_total",
	}},
	owed: {"destination", []string{
		"highlander_destination_samples_delivered_total", "highlander_destination_backlog_samples", "highlander_destination_dead_letter_samples",
		"highlander_destination_samples_relabel_dropped_total", "highlander_destination_samples_dropped_total",
	}},
}

// Balanced names the books that do not balance.
func (all Metrics) Balanced() error {
	for income, book := range books {
		for _, tenant := range all.Values(income, "tenant") {
			for _, owner := range all.Values(income, book.label) {
				in, out := all.Sum(income, "tenant", tenant, book.label, owner), 0.0
				for _, name := range book.outcomes {
					out += all.Sum(name, "tenant", tenant, book.label, owner)
				}
				if in != out {
					return fmt.Errorf("%s %q, tenant %q: %s is %v, %v are accounted for", book.label, owner, tenant, income, in, out)
				}
			}
		}
	}
	return nil
}

// Replicated is the text of everything in the books, the same on every node that has applied the same entries.
func (all Metrics) Replicated() string {
	var lines []string
	for _, m := range all {
		in := m.Name == "highlander_source_changes_total" || m.Name == "highlander_source_current" && m.Value == 1 || books[m.Name].label != ""
		for _, book := range books {
			in = in || slices.Contains(book.outcomes, m.Name)
		}
		if in {
			lines = append(lines, fmt.Sprintf("%s%v %v", m.Name, m.Labels, m.Value))
		}
	}
	return strings.Join(lines, "\n")
}
