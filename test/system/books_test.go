package system

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/highlander-io/highlander/test/harness"
	"github.com/highlander-io/highlander/test/history"
)

// booked waits until the books balance on every node, are the same on all, and say of each destination what its LTS has.
func (r *rig) booked(after string, destinations ...*harness.LTS) {
	r.t.Helper()
	for _, lts := range destinations {
		r.cluster.WaitDrained(lts.Name)
	}
	r.cluster.WaitBooks()
	for _, lts := range destinations {
		distinct := map[history.Sample]bool{}
		for _, s := range lts.Log.History().Received {
			distinct[s] = true
		}
		m, err := r.cluster.Leader().Metrics()
		if err != nil {
			r.t.Fatal(err)
		}
		if delivered := m.Sum("highlander_destination_samples_delivered_total", "destination", lts.Name); int(delivered) != len(distinct) {
			r.t.Errorf("after %s: LTS %s has %d samples, the books say %v were delivered", after, lts.Name, len(distinct), delivered)
		}
	}
	if r.t.Failed() {
		r.t.Fatalf("after %s", after)
	}
}

// shows waits until the books of group "g" show something: what only the leader sees is committed every few seconds.
func (r *rig) shows(what string, is func(harness.Group) bool) (g harness.Group) {
	r.t.Helper()
	harness.Eventually(r.t, what+" in the books", func() error {
		s, err := r.cluster.Leader().Status()
		g, _ = s.Group("g")
		return errors.Join(err, unless(is(g), func() string { return fmt.Sprintf("%+v, %+v", g.Samples, g.Standby) }))
	})
	return g
}

// transfer makes another node the leader.
func (r *rig) transfer() {
	r.t.Helper()
	r.lead(r.cluster.Followers()[0])
}

// noise writes n requests that do not compress, 150 KB each, of a group of their own.
func (r *rig) noise(n int) {
	r.t.Helper()
	random := rand.New(rand.NewPCG(1, uint64(n)))
	for range n {
		points := make([]harness.Point, 500)
		for i := range points {
			var text strings.Builder
			for range 20 {
				fmt.Fprintf(&text, "%016x", random.Uint64())
			}
			points[i] = point("__name__", "noise", "text", text.String())
		}
		body := harness.EncodeV1(points)
		harness.Eventually(r.t, "noise to be taken", func() error {
			status, answer, _ := r.write(r.cluster.Leader(), request{
				query: "highlander_group=noise&highlander_source=n", contentType: harness.ContentV1, encoding: "snappy", body: body,
			})
			return unless(status == 204, func() string { return fmt.Sprint(status, answer) })
		})
	}
}

// Whatever happens to leaders, nodes and sources: the books of every node balance, are the same, and agree with the LTS.
func TestBooks(t *testing.T) {
	r := newRig(t, 3)
	r.cluster.Set("storage", "max_bytes", "64MiB").Set("handover", "window_bytes", "1MiB")
	r.cluster.Start().WaitReady()
	a, b := r.source("a", 1), r.source("b", 2)
	a.Base = time.Now().Add(-30 * time.Second).Truncate(time.Second)
	b.Base = a.Base
	both := func(n int) {
		a.Burst(t, n)
		b.Burst(t, n)
	}
	both(10)
	r.booked("the first samples", r.lts)

	r.transfer()
	both(10)
	r.booked("a change of leader", r.lts)

	for _, n := range r.cluster.Nodes {
		n.Kill()
		both(5)
		n.Start().WaitReady()
		both(5)
		r.booked("kill -9 of "+n.ID, r.lts)
	}

	r.joinBySnapshot(func() { both(5) })
	r.booked("a snapshot was installed", r.lts)

	b.Burst(t, 10) // newer than anything of a, and kept
	r.cluster.Leader().Must("source", "promote", "g", "b")
	both(10)
	r.shows("kept requests used, and samples covered", func(g harness.Group) bool { return g.Standby.Used > 0 && g.Samples.Covered > 0 })
	r.booked("a change of source", r.lts)

	for i, body := range [][]byte{
		harness.EncodeV1([]harness.Point{point("__name__", "twice", "job", "x"), point("job", "nameless")}),
		harness.EncodeV1([]harness.Point{point("__name__", "other", "job", "x")}),
	} {
		for attempt, want := range []int{[]int{400, 204}[i], []int{400, 204}[i]} {
			status, answer, _ := r.insist(r.cluster.Nodes[attempt], request{
				query: "highlander_group=g&highlander_source=b", contentType: harness.ContentV1, encoding: "snappy", body: body,
			})
			if status != want {
				t.Fatalf("body %d, attempt %d: %d %s, want %d", i, attempt, status, answer, want)
			}
		}
	}
	r.shows("duplicate and rejected samples", func(g harness.Group) bool {
		return g.Samples.Duplicate >= 2 && g.Samples.Rejected["missing_name"] == 2
	})
	r.booked("a request that came twice, and one bad series", r.lts)

	before := r.shows("something", func(g harness.Group) bool { return g.Samples.Received > 0 })
	r.recover()
	r.booked("recover", r.lts)
	r.shows("what was there before recover", func(g harness.Group) bool { return fmt.Sprint(g.Samples) == fmt.Sprint(before.Samples) })
	both(5)
	r.booked("writes after recover", r.lts)
	r.check(onlyJob(r, "g"), history.Rules{Repeats: true, Counters: true, PerSource: true})
}

// joinBySnapshot gives a follower an empty disk once no log begins at its beginning any more.
func (r *rig) joinBySnapshot(meanwhile func()) {
	r.t.Helper()
	harness.Eventually(r.t, "a log that was cut", func() error {
		r.noise(10)
		for _, n := range r.cluster.Nodes { // whichever of them leads then
			s, err := n.Status()
			if err != nil {
				return err
			}
			if s.Storage.FirstIndex <= 1 {
				return fmt.Errorf("node %s: %+v", n.ID, s.Storage)
			}
		}
		return nil
	})
	n := r.cluster.Followers()[0]
	n.Kill()
	n.Wipe()
	meanwhile()
	n.Start().WaitReady()
	r.cluster.Voters(3)
	if s, err := n.Status(); err != nil || s.Storage.FirstIndex <= 1 {
		r.t.Fatalf("node %s has the log from entry %d on, %v: no snapshot was installed", n.ID, s.Storage.FirstIndex, err)
	}
}

// recover makes the first node a cluster of one and gives it two empty ones again.
func (r *rig) recover() {
	r.t.Helper()
	sameIndex(r.t.(*testing.T), r.cluster)
	for _, n := range r.cluster.Nodes {
		n.Kill()
	}
	last := r.cluster.Nodes[0]
	last.Must("cluster", "recover")
	for _, n := range r.cluster.Nodes[1:] {
		n.Wipe()
	}
	last.Start().WaitReady()
	r.cluster.Start().WaitReady().Voters(3)
}

// What a destination is not sent, or does not take, is counted exactly, whoever leads: relabelling, refusals, age.
func TestBooksOfDestinations(t *testing.T) {
	r := newRig(t, 3)
	receivers := map[string]*harness.LTS{r.lts.Name: r.lts}
	list := []harness.Map{r.lts.Destination()}
	add := func(name string, change func(to harness.Map)) {
		receivers[name] = harness.NewLTS(t, name, &history.Log{})
		to := receivers[name].Destination()
		change(to)
		list = append(list, to)
	}
	add("relabelled", func(to harness.Map) {
		to["write_relabel_configs"] = []harness.Map{{"source_labels": []string{"series"}, "regex": "1.?", "action": "drop"}}
	})
	add("aged", func(to harness.Map) { to["queue_config"].(harness.Map)["sample_age_limit"] = "1h" })
	add("picky", func(harness.Map) {})
	receivers["picky"].Refuse(func(got *harness.Received) *harness.Reply {
		if slices.ContainsFunc(got.Samples, func(s history.Sample) bool { return strings.Contains(s.Series, `series="7"`) }) {
			return &harness.Reply{Status: http.StatusBadRequest, Body: "not this one"}
		}
		return nil
	})
	for _, n := range r.cluster.Nodes {
		n.SetDestinations(list...)
	}
	r.cluster.Start().WaitReady()

	a, old := r.source("a", 1), r.source("old", 2)
	old.Group, old.Base = "old", time.Now().Add(-2*time.Hour)
	rounds := uint64(0)
	both := func(n int) {
		a.Burst(t, n)
		old.Burst(t, n)
		rounds += uint64(n)
	}
	all := slices.Collect(maps.Values(receivers))
	both(5)
	r.booked("the first samples", all...)
	r.transfer()
	both(5)
	r.booked("a change of leader", all...)
	leader := r.cluster.Leader()
	leader.Kill()
	both(5)
	leader.Start().WaitReady()
	r.booked("kill -9 of the leader", all...)

	// Of 20 series in each of two groups, 11 begin with a 1, and one is the seventh; one group is too old.
	want := map[string]func(harness.Destination) uint64{
		"relabelled": func(d harness.Destination) uint64 { return d.Samples.RelabelDropped - 2*11*rounds },
		"aged":       func(d harness.Destination) uint64 { return d.Samples.Dropped["too_old"] - 20*rounds },
		"picky":      func(d harness.Destination) uint64 { return d.Samples.DeadLetter - 2*rounds },
		"lts":        func(d harness.Destination) uint64 { return d.Samples.Delivered - 2*20*rounds },
	}
	for name, difference := range want {
		if d := r.destination(name); difference(d) != 0 || d.Samples.Accepted != 2*20*rounds {
			t.Errorf("destination %s: %d off in %+v", name, int64(difference(d)), d.Samples)
		}
	}
	leader.Must("dead-letter", "purge")
	r.booked("a purge", all...)
	if d := r.destination("picky"); d.Samples.DeadLetter != 0 || d.Samples.Dropped["purged"] != 2*rounds {
		t.Errorf("after a purge of %d dead letters: %+v", 2*rounds, d.Samples)
	}
	r.check(r.lts, history.Rules{Counters: true, Repeats: true})
}
