package system

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/highlander-io/highlander/test/harness"
	"github.com/highlander-io/highlander/test/history"
)

// twoDestinations starts nodes that write to the rig's LTS and to a second one.
func twoDestinations(t *testing.T, nodes int, change func(second harness.Map)) (*rig, *harness.LTS) {
	t.Helper()
	r := newRig(t, nodes)
	second := harness.NewLTS(t, "second", &history.Log{})
	to := second.Destination()
	if change != nil {
		change(to)
	}
	for _, n := range r.cluster.Nodes {
		n.SetDestinations(r.lts.Destination(), to)
	}
	return r, second
}

// state waits until every node shows a destination in a state.
func (r *rig) state(name, state, says string) (d harness.Destination) {
	r.t.Helper()
	harness.Eventually(r.t, fmt.Sprintf("destination %s to be %s", name, state), func() error {
		for _, n := range r.cluster.Running() {
			s, err := n.Status()
			if err != nil {
				return err
			}
			d, _ = s.Destination(name)
			if d.State != state || !strings.Contains(d.Error, says) || s.Stale {
				return fmt.Errorf("node %s shows %+v, stale %v", n.ID, d, s.Stale)
			}
		}
		return nil
	})
	return d
}

// bulk is a source that fills small backlogs soon.
func (r *rig) bulk() *harness.Source {
	s := r.source("a", 1)
	s.Series = 200
	return s.Start(r.t)
}

// A dead destination at its max_backlog_bytes: with reject all writes wait for it, nothing is lost, and status says why.
func TestMaxBacklogRejects(t *testing.T) {
	r, second := twoDestinations(t, 1, func(to harness.Map) { to["max_backlog_bytes"] = "16KiB" })
	n := r.cluster.Start().WaitReady().Nodes[0]
	second.Down()
	a := r.bulk()
	const why = "the backlog of destination second is at its max_backlog_bytes"
	harness.Eventually(t, "503 and a warning", func() error {
		s, err := n.Status()
		if err != nil {
			return err
		}
		return unless(strings.Contains(a.Summary(), why) && strings.Contains(strings.Join(s.Warnings, "\n"), why), a.Summary)
	})
	r.cluster.WaitDrained(r.lts.Name) // the first one gets what was accepted before
	if out := n.Must("status"); !strings.Contains(out, why) {
		t.Errorf("status does not say why writes are refused:\n%s", out)
	}
	second.Up()
	r.flowing(a)
	r.finish(history.Rules{Counters: true})
	r.booked("the destination came back", r.lts, second)
	r.check(second, history.Rules{Counters: true, Repeats: true})
}

// With drop_oldest a destination that is down, hangs or is paused costs the other one nothing: its own oldest samples go,
// counted, also under another leader.
func TestMaxBacklogDropsOldest(t *testing.T) {
	const bound = 16 << 10
	r, second := twoDestinations(t, 3, func(to harness.Map) { to["max_backlog_bytes"] = "16KiB" })
	r.cluster.Set("storage", "when_full", "drop_oldest").Start().WaitReady()
	a := r.bulk()
	r.flowing(a)
	dropped := uint64(0)
	more := func(while string) {
		t.Helper()
		before := dropped
		harness.Eventually(t, "samples dropped while the destination "+while, func() error {
			d := r.destination("second")
			dropped = d.Samples.Dropped["full"]
			return unless(dropped > before && d.Backlog.Bytes <= bound, func() string { return fmt.Sprintf("%+v; %s", d, a.Summary()) })
		})
		r.flowing(a)
		r.cluster.WaitArrived(r.lts.Name)
	}
	second.Down()
	more("is down")
	r.transfer()
	more("is down and the leader another")
	second.Hang()
	second.Up()
	more("hangs")
	r.cluster.Nodes[0].Must("destination", "pause", "second")
	r.state("second", "paused", "")
	more("is paused")
	r.cluster.Nodes[0].Must("destination", "resume", "second")
	second.Down() // what hangs there and was given up is not taken after all
	second.Release()
	second.Up()
	a.Stop()
	r.cluster.WaitDrained("second")
	r.settle(history.Rules{Counters: true, Repeats: true})
	if text := a.Summary(); strings.Contains(text, "max_backlog_bytes") {
		t.Errorf("writes were refused for the sake of one destination: %s", text)
	}
	d := r.destination("second")
	t.Logf("%+v", d.Samples)
	missing := d.Samples.Dropped["full"]
	r.check(second, history.Rules{Counters: true, Repeats: true, Missing: func(history.Sample) bool {
		missing--
		return missing+1 > 0
	}})
}

// A destination that one node's file lacks is held while that node leads, and shown, on every node; it loses nothing.
func TestDestinationMissingOnOneNode(t *testing.T) {
	r, second := twoDestinations(t, 3, nil)
	poor := r.cluster.Nodes[2]
	r.cluster.Nodes[0].Start()
	r.cluster.Nodes[1].Start()
	poor.Start()
	r.cluster.WaitReady()
	r.destinations("lts", "second")
	poor.SetDestinations(r.lts.Destination())
	poor.Reload()
	a := r.source("a", 1).Start(t)
	r.flowing(a)

	var failure error
	harness.Eventually(t, "a turn of the node that lacks it", func() error {
		r.lead(poor)
		term := r.term()
		failure = r.heldUnder(a)
		if now := r.term(); now != term || r.cluster.Leader() != poor {
			return fmt.Errorf("another was elected meanwhile, in term %d after %d; %w", now, term, failure)
		}
		return nil
	})
	if failure != nil {
		t.Error(failure)
	}

	poor.Kill()
	r.state("second", "up", "")
	r.flowing(a)
	r.cluster.WaitArrived("second")
	poor.Start().WaitReady()
	r.finish(history.Rules{Counters: true, Repeats: true})
	r.cluster.WaitDrained("second")
	r.check(second, history.Rules{Counters: true, Repeats: true})
}

// heldUnder says what is wrong under a leader whose file lacks the second destination, while a source goes on.
func (r *rig) heldUnder(a *harness.Source) error {
	r.t.Helper()
	const why = "not in the leader's configuration"
	is := func() error {
		d := r.destination("second")
		return unless(d.State == "held" && strings.Contains(d.Error, why) && d.Backlog.Samples > 0, func() string { return fmt.Sprintf("%+v", d) })
	}
	if err := r.under(is); err != nil {
		return err
	}
	r.flowing(a) // and so what was on its way is committed
	cursor := r.destination("second").Cursor
	r.flowing(a)
	r.cluster.WaitArrived(r.lts.Name)
	d := r.destination("second")
	err := errors.Join(is(), unless(d.Cursor == cursor, func() string { return fmt.Sprintf("held destination moved from %d: %+v", cursor, d) }))
	for _, n := range r.cluster.Nodes {
		err = errors.Join(err, r.under(func() error {
			out := n.Must("destination", "list")
			return unless(strings.Contains(out, "held") && strings.Contains(out, why), func() string { return n.ID + " does not say what is wrong: " + out })
		}))
	}
	return errors.Join(err, r.under(func() error {
		s, failed := r.cluster.Nodes[0].Status()
		text := strings.Join(s.Warnings, "\n")
		return errors.Join(failed, unless(strings.Contains(text, "another configuration"), func() string { return "no warning of configurations that differ: " + text }))
	}))
}

// under waits for something, as long as the leader stays, and says what is wrong with it at the end.
func (r *rig) under(is func() error) (err error) {
	r.t.Helper()
	term := r.term()
	_ = harness.Poll(harness.Patience, func() error {
		if err = is(); err != nil && r.term() != term {
			return nil
		}
		return err
	})
	return err
}

// Pause, skip and forget are decisions of the cluster: they hold under the next leader and after a restart of everything.
func TestDestinationCommandsLast(t *testing.T) {
	r, second := twoDestinations(t, 3, nil)
	r.cluster.Start().WaitReady()
	a := r.source("a", 1)
	a.Burst(t, 5)
	restart := func() {
		for _, n := range r.cluster.Nodes {
			n.Kill()
		}
		r.cluster.Start().WaitReady()
	}
	any := r.cluster.Nodes[1]
	r.cluster.WaitDrained("second")

	any.Must("destination", "pause", "second")
	r.state("second", "paused", "")
	r.transfer()
	a.Burst(t, 5)
	restart()
	a.Burst(t, 5)
	r.cluster.WaitDrained(r.lts.Name)
	if d := r.state("second", "paused", ""); d.Backlog.Samples != 10*20 {
		t.Errorf("backlog of a paused destination is %+v, want 200 samples", d.Backlog)
	}
	any.Must("destination", "resume", "second")
	r.booked("resume", r.lts, second)

	any.Must("destination", "pause", "second")
	r.state("second", "paused", "")
	a.Burst(t, 5)
	index := r.destination("second").Cursor
	any.Must("destination", "skip", "second", "--to", fmt.Sprint(index)) // nothing to skip
	any.Must("destination", "skip", "second")
	a.Burst(t, 5)
	r.transfer()
	restart()
	any.Must("destination", "resume", "second")
	r.booked("skip", r.lts, second)
	if d := r.destination("second"); d.Samples.Dropped["skipped"] != 5*20 || d.Samples.Accepted != 25*20 {
		t.Errorf("after a skip of 100 samples of 500: %+v", d.Samples)
	}

	if out := any.Ask("destination", "forget", "second"); out.Code != 1 || !strings.Contains(out.Stderr, "remove it there and reload first") {
		t.Errorf("forget of a configured destination: %+v, want status 1 and what to do", out)
	}
	r.reload(r.lts.Destination())
	r.state("second", "held", "")
	any.Must("destination", "forget", "second")
	restart()
	r.destinations("lts")
	a.Burst(t, 5)
	r.booked("forget", r.lts)

	// Under the old name a new destination begins: with what comes from now on, and books of its own.
	fresh := harness.NewLTS(t, "second", &history.Log{})
	r.reload(r.lts.Destination(), fresh.Destination())
	r.destinations("lts", "second")
	a.Burst(t, 5)
	r.booked("a new destination under an old name", r.lts, fresh)
	if d := r.destination("second"); d.Samples.Accepted != 5*20 {
		t.Errorf("books of a new destination under an old name: %+v, want 100 samples", d.Samples)
	}
	r.check(r.lts, history.Rules{Counters: true, Repeats: true})
}
