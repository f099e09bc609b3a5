package system

import (
	"testing"

	"github.com/highlander-io/highlander/test/harness"
	"github.com/highlander-io/highlander/test/history"
)

func TestLTSDownAndUp(t *testing.T) {
	r := startRig(t, 3)
	a, _ := r.pair()
	r.lts.Down()
	r.backlog(1000)
	r.flowing(a)
	r.lts.Up()
	r.flowing(a)
	r.finish(history.Rules{Repeats: true, Counters: true})
}

func TestKillLeader(t *testing.T) {
	r := startRig(t, 3)
	a, _ := r.pair()
	for range 2 {
		leader := r.cluster.Leader()
		leader.Kill()
		r.flowing(a)
		r.cluster.Leader()
		leader.Start().WaitReady()
		r.flowing(a)
	}
	r.finish(history.Rules{Repeats: true, Counters: true})
}

func TestKillLeaderWhileLTSIsDown(t *testing.T) {
	r := startRig(t, 3)
	a, _ := r.pair()
	r.lts.Down()
	r.backlog(500)
	leader := r.cluster.Leader()
	leader.Kill()
	r.flowing(a)
	r.lts.Up()
	r.flowing(a)
	leader.Start().WaitReady()
	r.finish(history.Rules{Repeats: true, Counters: true})
}

// A follower that dies and comes back costs no source an answer and the LTS no repetition.
func TestKillFollower(t *testing.T) {
	late := harness.WatchLateness(t)
	r := startRig(t, 3)
	a, _ := r.pair()
	term, follower := r.term(), r.cluster.Followers()[0]
	led := r.leaderships() // the follower takes its own along
	follower.Kill()
	r.flowing(a)
	follower.Start().WaitReady()
	r.flowing(a)
	r.sameTerm(term, late, "the follower died")
	r.finish(history.Rules{Counters: true, Repeats: led > 1})
}

func TestKillAll(t *testing.T) {
	r := startRig(t, 3)
	a, _ := r.pair()
	r.lts.Down()
	r.backlog(500)
	for _, n := range r.cluster.Nodes {
		n.Kill()
	}
	r.lts.Up()
	r.cluster.Start().WaitReady()
	r.flowing(a)
	r.finish(history.Rules{Repeats: true, Counters: true})
}

// A leader that is only paused must not go on as one when it wakes up.
func TestPausedLeader(t *testing.T) {
	r := startRig(t, 3)
	a, _ := r.pair()
	leader := r.cluster.Leader()
	leader.Pause()
	r.flowing(a)
	leader.Resume()
	leader.WaitReady()
	r.flowing(a)
	r.finish(history.Rules{Repeats: true, Counters: true})
}

// A whole cluster restarted one by one, politely: nothing is sent twice, as cursors are flushed and leadership is
// handed over.
func TestRollingRestart(t *testing.T) {
	r := startRig(t, 3)
	a, _ := r.pair()
	for _, n := range r.cluster.Nodes {
		n.Stop()
		n.Start().WaitReady()
		r.flowing(a)
	}
	r.finish(history.Rules{Counters: true, Repeats: true})
}

// What the LTS does to requests: errors, lost answers and refusals of one series.
func TestFaultsOfLTS(t *testing.T) {
	r := startRig(t, 1)
	r.lts.Answer(
		harness.Reply{Status: 500}, harness.Reply{Status: 503, Header: map[string]string{"Retry-After": "1"}},
		harness.Reply{Status: 429}, harness.Reply{Drop: true}, harness.Reply{Drop: true, Commit: true},
		harness.Reply{Status: 500, Unread: true}, harness.Reply{Status: 413},
	)
	r.source("a", 1).Burst(t, 30)
	harness.Eventually(t, "every fault", func() error {
		return unless(r.lts.Scripted() == 0, func() string { return "replies are left" })
	})
	r.settle(history.Rules{Repeats: true, Counters: true})
}

func TestPoisonedSeries(t *testing.T) {
	r := startRig(t, 1)
	bad := func(s history.Sample) bool { return s.Series == `__name__="numbered_total",job="g",series="7"` }
	r.lts.Refuse(func(got *harness.Received) *harness.Reply {
		for _, s := range got.Samples {
			if bad(s) {
				return &harness.Reply{Status: 400, Body: "series 7 is poisoned"}
			}
		}
		return nil
	})
	r.source("a", 1).Burst(t, 20)
	r.settle(history.Rules{Missing: bad})
	s, err := r.cluster.Nodes[0].Status()
	if err != nil {
		t.Fatal(err)
	}
	d, _ := s.Destination("lts")
	if d.Samples.DeadLetter != 20 || d.Samples.Delivered != 380 {
		t.Errorf("dead letters %d, delivered %d; want 20 and 380", d.Samples.DeadLetter, d.Samples.Delivered)
	}
}

// An LTS that takes only remote write 1.0 gets it, also from sources and for a destination of 2.0.
func TestLTSWithoutRemoteWrite2(t *testing.T) {
	r := newRig(t, 1)
	to := r.lts.Destination()
	to["protobuf_message"] = "io.prometheus.write.v2.Request"
	r.cluster.Nodes[0].SetDestinations(to)
	r.lts.Only(1)
	r.cluster.Start().WaitReady()
	s := r.source("a", 1)
	s.Protocol = 2
	s.Burst(t, 20)
	r.settle(history.Rules{Counters: true})
}
