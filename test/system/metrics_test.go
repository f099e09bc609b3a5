package system

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/highlander-io/highlander/test/harness"
	"github.com/highlander-io/highlander/test/history"
)

// contract are the metrics that dashboards rely on.
var contract = []string{
	"highlander_samples_received_total", "highlander_samples_accepted_total",
	"highlander_standby_requests_total", "highlander_standby_requests_kept",
	"highlander_standby_requests_discarded_total", "highlander_standby_requests_used_total",
	"highlander_samples_rejected_total", "highlander_samples_covered_total", "highlander_samples_duplicate_total",
	"highlander_source_current", "highlander_source_changes_total",
	"highlander_source_last_sample_timestamp_seconds", "highlander_source_coverage_ratio",
	"highlander_destination_samples_delivered_total", "highlander_destination_samples_dropped_total",
	"highlander_destination_backlog_samples", "highlander_destination_backlog_bytes",
	"highlander_destination_backlog_age_seconds", "highlander_destination_dead_letter_samples",
	"highlander_destination_held", "highlander_raft_leader", "highlander_wal_bytes",
	"highlander_wal_fsync_duration_seconds", "highlander_storage_full_in_seconds", "highlander_build_info",
	"highlander_config_last_reload_successful",
	"highlander_cluster_failures_tolerated", "highlander_ingest_kept_underreplicated_requests",
}

func TestMetrics(t *testing.T) {
	r := startRig(t, 3)
	a, _ := r.pair()
	poisoned := func(s history.Sample) bool { return strings.Contains(s.Series, `series="7"`) }
	r.lts.Refuse(func(got *harness.Received) *harness.Reply {
		if slices.ContainsFunc(got.Samples, poisoned) {
			return &harness.Reply{Status: http.StatusBadRequest, Body: "poisoned"}
		}
		return nil
	})
	r.flowing(a)
	// Every vector has a child: a purged dead letter is dropped, and there is one series among good
	// ones.
	status, answer, _ := r.insist(r.cluster.Nodes[0], request{
		query: "highlander_group=bad&highlander_source=x", contentType: harness.ContentV1, body: harness.EncodeV1([]harness.Point{point("job", "x")}),
	})
	if status != http.StatusBadRequest {
		t.Fatalf("a series without a name: %d %s, want 400", status, answer)
	}
	harness.Eventually(t, "dead letters", func() error {
		d := r.destination("lts")
		return unless(d.Samples.DeadLetter > 0, func() string { return fmt.Sprintf("%+v", d) })
	})
	r.cluster.Nodes[2].Must("dead-letter", "purge")
	seen := ""
	for _, n := range r.cluster.Nodes {
		code, body, err := n.Get("/metrics")
		if err != nil || code != http.StatusOK {
			t.Fatalf("node %s: %d, %v", n.ID, code, err)
		}
		problems, err := promlint.New(strings.NewReader(body)).Lint()
		if err != nil {
			t.Fatalf("node %s: %v", n.ID, err)
		}
		for _, p := range problems {
			t.Errorf("node %s: %s: %s", n.ID, p.Metric, p.Text)
		}
		seen += body
	}
	harness.Eventually(t, "every metric of the contract", func() error {
		var missing []string
		_, body, err := r.cluster.Leader().Get("/metrics")
		for _, name := range contract {
			if !strings.Contains(body, "\n# TYPE "+name+" ") {
				missing = append(missing, name)
			}
		}
		if err != nil {
			return err
		}
		return unless(len(missing) == 0, func() string { return strings.Join(missing, " ") })
	})
	for _, page := range []string{"/", "/-/healthy", "/-/ready", "/api/v1/status"} {
		harness.Eventually(t, page, func() error { // an election may fall anywhere
			code, body, err := r.cluster.Nodes[1].Get(page)
			return errors.Join(err, unless(code == http.StatusOK && body != "", func() string { return fmt.Sprint(code, body) }))
		})
	}
	for _, s := range r.sources {
		s.Stop()
	}
	r.cluster.WaitDrained(r.lts.Name)
	r.check(r.lts, history.Rules{Missing: poisoned, Counters: true})
}
