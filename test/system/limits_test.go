package system

import (
	"fmt"
	"strings"
	"testing"

	"github.com/highlander-io/highlander/test/harness"
	"github.com/highlander-io/highlander/test/history"
)

// What README says happens at the limits of names and sources; the current source does not notice.
func TestLimits(t *testing.T) {
	r := startRig(t, 1)
	n := r.cluster.Nodes[0]
	a := r.source("a", 1)
	a.Burst(t, 5)
	write := func(source string) (int, string) {
		status, answer, _ := r.write(n, request{
			query: "highlander_group=g&highlander_source=" + source, contentType: harness.ContentV1, encoding: "snappy",
			body: harness.EncodeV1([]harness.Point{point("__name__", "limit", "job", "limit")}),
		})
		return status, answer
	}
	for i := range 99 {
		harness.Eventually(t, fmt.Sprintf("202 for standby %d", i), func() error {
			status, answer := write(fmt.Sprintf("s%d", i))
			if status != 202 && status != 503 { // 503: it took too long
				t.Fatalf("standby %d: %d %s, want 202", i, status, answer)
			}
			return unless(status == 202, func() string { return answer })
		})
	}
	if status, answer := write("onemore"); status != 503 || !strings.Contains(answer, "100 sources") {
		t.Errorf("the 101st source: %d %s, want 503 and the number", status, answer)
	}
	if status, answer := write(strings.Repeat("x", 257)); status != 400 || !strings.Contains(answer, "256") {
		t.Errorf("a name of 257 bytes: %d %s, want 400 and the limit", status, answer)
	}
	long := point("__name__", "long", "job", "limit", "label", strings.Repeat("x", 250<<10))
	if status, answer, _ := r.insist(n, request{
		query: "highlander_group=g&highlander_source=a", contentType: harness.ContentV1, encoding: "snappy",
		body: harness.EncodeV1([]harness.Point{long}),
	}); status != 400 || !strings.Contains(answer, "label") {
		t.Errorf("labels of 250 KiB: %d %s, want 400", status, answer)
	}
	a.Burst(t, 5)
	r.settle(history.Rules{Counters: true})
}
