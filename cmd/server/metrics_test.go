package server

import (
	"net/http"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// sums adds up the children of each counter and gauge of a node.
func (n *node) sums() map[string]float64 {
	n.t.Helper()
	answer, err := http.Get("http://" + n.WebAddress() + "/metrics")
	if err != nil {
		n.t.Fatal(err)
	}
	defer answer.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(answer.Body)
	if err != nil {
		n.t.Fatalf("status %s: %v", answer.Status, err)
	}
	sums := make(map[string]float64, len(families))
	for name, family := range families {
		sums[name] = 0
		for _, metric := range family.GetMetric() {
			sums[name] += metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
		}
	}
	return sums
}

// What a forgotten source has sent stays in the metrics: without it the books would not balance there.
func TestBooksInMetricsAfterForget(t *testing.T) {
	n := start(t, withDestination(newLTS(t).URL))
	now := time.Now().UnixMilli()
	n.write("?highlander_group=g&highlander_source=a", now, now+1)
	n.write("?highlander_group=g&highlander_source=b", now, now+1)
	for _, op := range []map[string]any{
		{"op": "promote", "group": "g", "source": "b"},
		{"op": "forget", "group": "g", "source": "a"},
	} {
		n.eventually("done", func() bool { code, _ := n.admin(http.MethodPost, "/v1/source", op); return code == http.StatusOK })
	}
	n.eventually("booked: both samples of b are covered", func() bool {
		return n.sums()["highlander_samples_covered_total"] == 2
	})
	sums := n.sums()
	received := sums["highlander_samples_received_total"]
	outcome := sums["highlander_samples_accepted_total"] + sums["highlander_samples_covered_total"]
	if received != 4 || outcome != 4 {
		t.Errorf("received %v, accepted and covered %v; want 4 and 4", received, outcome)
	}
	requests := sums["highlander_standby_requests_total"]
	fate := sums["highlander_standby_requests_kept"] + sums["highlander_standby_requests_discarded_total"] +
		sums["highlander_standby_requests_used_total"]
	if requests != fate || requests == 0 {
		t.Errorf("%v standby requests, %v accounted for", requests, fate)
	}
}

func TestMetricsOfMembers(t *testing.T) {
	n := start(t, withDestination(newLTS(t).URL))
	sums := n.sums()
	for name, want := range map[string]float64{
		"highlander_cluster_member_reachable": 1, "highlander_cluster_failures_tolerated": 0, "highlander_config_info": 1,
		"highlander_warnings": 0, "highlander_web_connections_refused_total": 0,
	} {
		if got, shown := sums[name]; !shown || got != want {
			t.Errorf("%s is %v (shown: %v), want %v", name, got, shown, want)
		}
	}
}
