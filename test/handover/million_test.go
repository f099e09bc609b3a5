package handover

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/highlander-io/highlander/test/harness"
)

// How long a large source's live requests wait at a change: a million series of which two scrapes were delivered and two more
// are kept. It prints the time; HIGHLANDER_BINARY compares versions.
func TestMillionSeries(t *testing.T) {
	if os.Getenv("HIGHLANDER_SOAK") == "" {
		t.Skip("measures for a minute; set HIGHLANDER_SOAK")
	}
	const requests, perRequest = 500, 2000
	sink := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	t.Cleanup(sink.Close)
	r := &rig{t: t, cluster: harness.NewCluster(t, 3, harness.To("lts", sink.URL))}
	r.cluster.Set("sources", "failover_timeout", "30m").Start().WaitReady()
	leader := r.cluster.Leader()
	base := time.Now().Add(-time.Minute).UnixMilli()
	for scrape := range int64(4) {
		names := []string{"a", "b"}[scrape/2:] // a sends the first two only
		share(t, requests, func(i int) error {
			points := make([]harness.Point, perRequest)
			for k := range points {
				points[k] = harness.Point{Time: base + scrape*15000, Value: float64(scrape), Labels: []harness.Label{
					{Name: "__name__", Value: fmt.Sprintf("node_network_receive_bytes_%d_total", k%100)},
					{Name: "device", Value: fmt.Sprintf("eth%d", k/100)},
					{Name: "instance", Value: fmt.Sprintf("10.0.%d.%d:9100", i/250, i%250)},
					{Name: "job", Value: "node"},
				}}
			}
			body := harness.EncodeV1(points)
			for _, name := range names {
				path := "/api/v1/write?highlander_group=" + group + "&highlander_source=" + name
				if err := harness.Poll(harness.Patience, func() error { return accepted(leader, path, body) }); err != nil {
					return err
				}
			}
			return nil
		})
	}
	begin := time.Now()
	r.admin("source", "promote", group, "b")
	const delivered = 2 * requests * perRequest
	r.until("all of it", func(g groupStatus) bool {
		return g.Current == "b" && g.Samples.Accepted == 2*delivered && len(g.History) == 2 && g.History[1].KeptUsed == delivered && g.History[1].Fenced == delivered
	})
	all := time.Since(begin)
	fence, err := leader.Metric("highlander_ingest_fence_build_duration_seconds_sum")
	change, err2 := leader.Metric("highlander_ingest_handover_duration_seconds_sum")
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	t.Logf("FIGURES %s: live requests waited %.1f s, of it the fence %.1f s; all in the books after %s", t.Name(), change, fence, seconds(all))
}

// accepted posts a request, as Prometheus does until it is answered 2xx.
func accepted(n *harness.Node, path string, body []byte) error {
	code, answer, err := n.Post(path, harness.ContentV1, body)
	if err == nil && code/100 != 2 {
		err = fmt.Errorf("status %d: %s", code, answer)
	}
	return err
}

// share runs n pieces of work, some at once.
func share(t *testing.T, n int, work func(i int) error) {
	t.Helper()
	const workers = 8
	failed := make(chan error, workers)
	for w := range workers {
		go func() {
			var err error
			for i := w; i < n && err == nil; i += workers {
				err = work(i)
			}
			failed <- err
		}()
	}
	for range workers {
		if err := <-failed; err != nil {
			t.Fatal(err)
		}
	}
}
