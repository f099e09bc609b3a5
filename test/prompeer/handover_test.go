package prompeer

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/highlander-io/highlander/test/harness"
)

// Two senders have the same series, floats and every kind of histogram, at different moments. When the second one takes over,
// a TSDB without an out-of-order window holds all of the first and what the second has above the first's newest sample
// and the guard, to the bit; no sample was refused. (Requests with exemplars are answered 400 also without a change, as this
// receiver takes none by 2.0.)
func TestHandoverToTSDB(t *testing.T) {
	for _, byLabels := range []bool{false, true} {
		t.Run(map[bool]string{false: "by URL", true: "by labels"}[byLabels], func(t *testing.T) {
			r := newReceiver(t, v1, v2)
			n := harness.NewNode(t, "n1", r.destination(v2))
			n.Start().WaitReady()
			source := func(name string) *sender {
				if byLabels {
					return newSender(t, v2, labels.FromStrings("__replica__", name, "cluster", "g"), n.WriteURL())
				}
				return newSender(t, v2, labels.FromStrings("cluster", "g"), n.WriteURL()+"?highlander_group=g&highlander_source="+name)
			}
			a, b := source("a"), source("b")
			base := time.Now().Add(time.Second)
			first := func() content { return samples(read(t, a.db)) }
			a.fill(t, base, 0, 100)
			holds(t, 100, first, r)
			b.fill(t, base.Add(3*time.Millisecond), 0, 300)
			before := r.refusals()
			harness.Eventually(t, "b promoted", func() error {
				if result := harness.Run(t, "source", "promote", "g", "b", "--storage.path", n.Dir); result.Code != 0 {
					return errors.New(result.Stderr) // it is not known yet
				}
				return nil
			})
			b.fill(t, base.Add(3*time.Millisecond), 300, 50)
			line := base.Add(99*10*time.Millisecond).UnixMilli() + 500
			holds(t, 100+350-149, func() content {
				want := first()
				for k, v := range samples(read(t, b.db)) {
					if at(t, k) > line {
						want[k] = v
					}
				}
				return want
			}, r)
			harness.WaitDrained(t, n, "lts")
			status, err := n.Status()
			if err != nil {
				t.Fatal(err)
			}
			d, _ := status.Destination("lts")
			t.Logf("refused %d requests before the change, %d after it: %+v", before, r.refusals()-before, d.Samples)
			if d.Samples.DeadLetter > 0 || d.Samples.Redelivered > 0 {
				t.Errorf("the receiver has refused samples: %+v", d.Samples)
			}
		})
	}
}

// refusals is the number of requests that were answered 400.
func (r *receiver) refusals() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.answers[http.StatusBadRequest]
}

// kindsOfSeries is the number of series that fill makes.
const kindsOfSeries = 20 + 1 + 4

// holds waits until the receiver holds the samples that it should, that many of each series, and no other.
func holds(t *testing.T, each int, want func() content, r *receiver) {
	t.Helper()
	harness.Eventually(t, "equal samples", func() error {
		want := want()
		if len(want) != each*kindsOfSeries {
			t.Fatalf("BUG: %d samples to compare with, want %d", len(want), each*kindsOfSeries)
		}
		if diff := differences(want, samples(read(t, r.db)).without(`cluster="g", `)); diff != "" {
			return errors.New(diff)
		}
		return nil
	})
}

// samples is a content without exemplars.
func samples(c content) content {
	out := content{}
	for k, v := range c {
		if !strings.HasPrefix(k, "exemplar ") {
			out[k] = v
		}
	}
	return out
}

// at is the time of an entry.
func at(t *testing.T, key string) int64 {
	t.Helper()
	ms, err := strconv.ParseInt(key[strings.LastIndex(key, "@")+1:], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return ms
}
