//go:build linux

package faults

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/highlander-io/highlander/test/harness"
	"github.com/highlander-io/highlander/test/history"
)

// always answers every request alike.
func always(reply harness.Reply) func(*harness.Received) *harness.Reply {
	return func(*harness.Received) *harness.Reply { return &reply }
}

// TestLTSFaults lets the LTS misbehave in every way, one after another, some with a leader killed in the middle, under
// load. Each is mended without anybody's help, and none of them costs a sample.
func TestLTSFaults(t *testing.T) {
	r := startRig(t)
	a, b := r.pair()
	tests := []struct {
		name  string
		state string // what the status says meanwhile
		kill  bool   // the leader, in the middle
		start func()
	}{
		{"429", "retrying", false, func() { r.lts.Refuse(always(harness.Reply{Status: 429})) }},
		{"503 with Retry-After", "retrying", false, func() {
			r.lts.Refuse(always(harness.Reply{Status: 503, Header: map[string]string{"Retry-After": "1"}}))
		}},
		{"400 for everything", "held", true, func() { r.lts.Refuse(always(harness.Reply{Status: 400, Body: "no"})) }},
		{"401", "held", false, func() { r.lts.Refuse(always(harness.Reply{Status: 401})) }},
		{"404", "held", false, func() { r.lts.Refuse(always(harness.Reply{Status: 404})) }},
		{"redirect", "held", false, func() {
			r.lts.Refuse(always(harness.Reply{Status: 301, Header: map[string]string{"Location": "/elsewhere"}}))
		}},
		{"413 for more than 7 samples", "", false, func() {
			r.lts.Refuse(func(got *harness.Received) *harness.Reply {
				if len(got.Samples) > 7 {
					return &harness.Reply{Status: 413}
				}
				return nil
			})
		}},
		{"413 for everything", "held", false, func() { r.lts.Refuse(always(harness.Reply{Status: 413})) }},
		{"dies after committing", "retrying", false, func() { r.lts.Refuse(always(harness.Reply{Status: 200, Commit: true, Drop: true})) }},
		{"500 after committing", "retrying", false, func() { r.lts.Refuse(always(harness.Reply{Status: 500, Commit: true})) }},
		{"answers without reading", "", false, func() {
			for range 10 {
				r.lts.Answer(harness.Reply{Status: 503, Unread: true},
					harness.Reply{Status: 429, Unread: true}, harness.Reply{Status: 500, Unread: true})
			}
		}},
		{"hangs", "", true, r.lts.Hang},
	}
	for _, tt := range tests {
		t.Log(tt.name)
		tt.start()
		r.flowing(a)
		if tt.state != "" {
			r.state(tt.state)
		}
		if tt.kill {
			old := r.cluster.Leader()
			old.Kill()
			r.leader(r.others(old)...)
			r.flowing(a)
			if tt.state != "" {
				r.state(tt.state)
			}
			old.Start().WaitReady()
		}
		r.lts.Refuse(nil)
		r.lts.Release()
		r.cluster.WaitArrived("lts")
		r.answered(b)
		r.state("up")
		if d, _ := r.status().Destination("lts"); d.Samples.Accepted == 0 || d.Samples.DeadLetter > 0 || len(d.Samples.Dropped) > 0 {
			t.Errorf("%s: afterwards %+v; want nothing refused for good", tt.name, d)
		}
	}
	r.finish(afterwards)
}

// An endpoint that refuses good requests for good now and then gets no second opinion, but nothing is lost: what it
// refused is a dead letter on every node, exactly counted, and a replay under another leader brings it home.
func TestRandomRefusalsAreReplayed(t *testing.T) {
	r := startRig(t)
	a, _ := r.pair()
	random := rand.New(rand.NewPCG(r.seed, 0x400))
	var mu sync.Mutex
	r.lts.Refuse(func(*harness.Received) *harness.Reply {
		mu.Lock()
		defer mu.Unlock()
		if random.IntN(3) > 0 {
			return &harness.Reply{Status: 400, Body: "not today"}
		}
		return nil
	})
	harness.Eventually(t, "dead letters", func() error {
		d, err := r.destination(r.cluster.Leader())
		if err != nil {
			return err
		}
		return unless(d.Samples.DeadLetter >= 20, func() string { return fmt.Sprintf("%+v", d) })
	})
	r.flowing(a)
	r.lts.Refuse(nil)
	for _, s := range r.sources {
		s.Stop()
	}
	r.cluster.WaitDrained("lts")
	old := r.cluster.Leader()
	old.Kill()
	missing := lost(r.log.History())
	if missing == 0 {
		t.Fatal("nothing is missing")
	}
	for _, n := range r.others(old) { // a new leader has the last entries of the old one a moment later than its place
		harness.Eventually(t, fmt.Sprintf("%d dead letters on %s", missing, n.ID), func() error {
			m, err := n.Metrics()
			letters := m.Sum("highlander_destination_dead_letter_samples", "destination", "lts")
			return errors.Join(err, unless(int(letters) == missing, func() string { return fmt.Sprint(letters) }))
		})
	}
	t.Logf("%d samples are dead letters", missing)
	r.replay(r.others(old)[0])
	harness.Eventually(t, "the replay", func() error {
		d, _ := r.status().Destination("lts")
		return unless(d.Samples.DeadLetter == 0 && d.Backlog.Samples == 0, func() string { return fmt.Sprintf("%+v", d) })
	})
	if n := lost(r.log.History()); n > 0 {
		t.Errorf("%d samples are missing after the replay", n)
	}
	old.Start().WaitReady()
	r.cluster.WaitBooks()
}

// replay replays all dead letters through a node. What was refused for want of a leader is asked for again.
func (r *rig) replay(via *harness.Node) {
	r.t.Helper()
	const forAll = 10 * harness.Patience // one command per letter
	harness.EventuallyWithin(r.t, forAll, "no dead letter on "+via.ID, func() error {
		var letters []struct{ ID string }
		if err := json.Unmarshal([]byte(via.Must("dead-letter", "list", "--output", "json")), &letters); err != nil {
			r.t.Fatal(err)
		}
		for _, letter := range letters {
			if told := via.Command("dead-letter", "replay", letter.ID); told.Code != 0 {
				return fmt.Errorf("replay %s: status %d, %s", letter.ID, told.Code, told.Stderr)
			}
		}
		return unless(len(letters) == 0, func() string { return fmt.Sprintf("%d letters", len(letters)) })
	})
}

// lost counts the acknowledged samples that are not at the LTS.
func lost(h history.History) (n int) {
	for _, v := range history.Check(h, afterwards) {
		if v.Kind == history.Lost {
			n++
		}
	}
	return n
}

// state waits until the leader says that the destination is in a state.
func (r *rig) state(want string) {
	r.t.Helper()
	harness.Eventually(r.t, "destination "+want, func() error {
		d, err := r.destination(r.leader(r.cluster.Running()...))
		if err != nil {
			return err
		}
		return unless(d.State == want, func() string { return d.State + ": " + d.Error })
	})
}

// Retry-After is waited for, and by one request at a time. A new leader has not heard it yet: who leads must not change
// while that is looked at.
func TestRetryAfterIsHonoured(t *testing.T) {
	r := newRig(t)
	destination := r.lts.Destination()
	destination["remote_timeout"] = harness.Patience.String() // an answer that comes too late is not heard either
	for _, n := range r.cluster.Nodes {
		n.SetDestinations(destination)
	}
	r.cluster.Start().WaitReady()
	a, _ := r.pair()
	var mu sync.Mutex
	var at []time.Time
	r.lts.Refuse(func(*harness.Received) *harness.Reply {
		mu.Lock()
		defer mu.Unlock()
		at = append(at, time.Now())
		return &harness.Reply{Status: http.StatusServiceUnavailable, Header: map[string]string{"Retry-After": "2"}}
	})
	term := uint64(0)
	var four []time.Time
	harness.Eventually(t, "four attempts of one leader", func() error {
		mu.Lock()
		four = slices.Clone(at)
		mu.Unlock()
		if now := r.status().Cluster.Term; now != term {
			mu.Lock()
			term, at, four = now, nil, nil
			mu.Unlock()
		}
		return unless(len(four) >= 4, func() string { return "not yet" })
	})
	r.lts.Refuse(nil)
	for i := 1; i < 4; i++ {
		if gap := four[i].Sub(four[i-1]); gap < 1900*time.Millisecond {
			t.Errorf("attempt %d came after %v, Retry-After was 2 s", i, gap)
		}
	}
	r.flowing(a)
	r.finish(afterwards)
}
