package handover

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/highlander-io/highlander/test/harness"
	"github.com/highlander-io/highlander/test/history"
)

// numbered is a rig of three nodes whose sources are numbered: every request and its answer are known. The way between the
// nodes can be slow, so that passing on what is kept takes its time.
type numbered struct {
	rig
	roads []*road
	base  time.Time // of all sources: their values grow with time, whoever is current
}

func startNumbered(t *testing.T) *numbered {
	t.Helper()
	r := &numbered{rig: rig{t: t, log: &history.Log{}, byURL: true, leaders: true}, base: time.Now().Truncate(time.Second)}
	r.lts = harness.NewLTS(t, "lts", r.log)
	r.cluster = harness.NewCluster(t, 3, r.lts.Destination())
	var join []string
	for _, n := range r.cluster.Nodes {
		way := newRoad(t, n.ClusterAddr)
		n.Set("cluster", "advertise_address", way.address)
		r.roads, join = append(r.roads, way), append(join, way.address)
	}
	r.cluster.Set("cluster", "join", join)
	r.cluster.Set("sources", "failover_timeout", never)
	r.cluster.Start().WaitReady()
	return r
}

// numberedSeries are in each request: requests that share series go into the log one after the other.
const numberedSeries = 40

func (r *numbered) source(name string, number int) *harness.Source {
	return &harness.Source{
		Group: group, Name: name, Number: number, URLs: r.cluster.WriteURLs(), Series: numberedSeries, Base: r.base, Step: 20 * time.Millisecond, Log: r.log,
	}
}

// slow delays everything between the nodes.
func (r *numbered) slow(d time.Duration) {
	for _, way := range r.roads {
		way.delay.Store(int64(d))
	}
}

// standby lets a source send, first by way of a node if one is given, until so many requests of it are kept.
func (r *numbered) standby(s *harness.Source, requests int64, via ...*harness.Node) {
	r.t.Helper()
	s.URLs = nil
	for _, n := range append(via, r.cluster.Nodes...) {
		s.URLs = append(s.URLs, n.WriteURL())
	}
	s.Start(r.t)
	r.kept(s, requests)
}

// kept waits until so many more requests of a standby were answered 202.
func (r *numbered) kept(s *harness.Source, n int64) { r.answered(s, "202", &s.Standby, n) }

// needed waits until so many requests of a standby are kept that are newer than all of a source that has ended: on a slow
// machine the standby may be far behind it.
func (r *numbered) needed(s, ended *harness.Source, requests int) {
	r.t.Helper()
	end := s.Point(r.t, 0, ended.Next()-1).Time
	harness.Eventually(r.t, fmt.Sprintf("%d requests of %s to be kept after the end of %s", requests, s.Name, ended.Name), func() error {
		n := 0
		for _, q := range r.log.History().Requests {
			if q.Source == s.Name && q.Samples[0].Time > end && slices.Contains(q.Answers, 202) {
				n++
			}
		}
		if n < requests {
			return fmt.Errorf("%d are: %s", n, s.Summary())
		}
		return nil
	})
}

// accepted waits until so many more live requests of a source were accepted.
func (r *numbered) accepted(s *harness.Source, n int64) { r.answered(s, "204", &s.Accepted, n) }

func (r *numbered) answered(s *harness.Source, status string, count *atomic.Int64, n int64) {
	r.t.Helper()
	want := count.Load() + n
	harness.Eventually(r.t, fmt.Sprintf("%d requests of %s answered %s", n, s.Name, status), func() error {
		if count.Load() < want {
			return errors.New(s.Summary())
		}
		return nil
	})
}

// promote has a source take over from one that sends no more, and lets it take its time.
func (r *numbered) promote(name string) {
	r.t.Helper()
	r.slow(delay)
	r.admin("source", "promote", group, name)
}

// passing waits until a source is current and so many more of its kept requests have been passed on. Nothing else is accepted
// meanwhile: the source before it sends nothing, and its own live requests wait.
func (r *numbered) passing(to string, requests uint64) {
	r.t.Helper()
	var from uint64
	r.until("passing on what is kept of "+to, func(g groupStatus) bool {
		if g.Current != to || from == 0 {
			from = g.Samples.Accepted
			return false
		}
		return g.Samples.Accepted >= from+requests*numberedSeries
	})
}

// copied waits until nothing that the leader keeps is on one node alone.
func (r *numbered) copied() {
	r.t.Helper()
	harness.Eventually(r.t, "two copies of everything", func() error {
		leader := r.cluster.Leader()
		alone, err := leader.Metric("highlander_ingest_kept_underreplicated_requests")
		if err == nil && alone > 0 {
			err = fmt.Errorf("%v requests are kept on %s alone", alone, leader.ID)
		}
		return err
	})
}

// finish stops the last source and judges everything.
func (r *numbered) finish(last *harness.Source) {
	r.t.Helper()
	last.Stop()
	r.cluster.WaitReady()
	r.cluster.WaitDrained("lts")
	r.cluster.WaitBooks()
	h := r.log.History()
	for i, v := range history.Check(h, history.Rules{Repeats: true, Kept: true, Counters: true, Missing: r.covered(h)}) {
		if i < 10 {
			r.t.Error(v)
		}
	}
	turns, passed := r.turns(h), r.passed()
	harness.Eventually(r.t, "a history that tells what was", func() error {
		g, err := r.group()
		if err == nil {
			err = r.told(g.History, turns, passed)
		}
		return err
	})
	for i, want := range turns {
		if n := len(want.missing); n > 0 {
			r.t.Errorf("turn %d: %d samples were answered 2xx and are missing, the first %+v", i, n, want.missing[0])
		}
		r.t.Logf("FIGURES %s: turn of %s: largest gap %d ms; %d samples answered 2xx, %d missing; %d from kept, in %d terms",
			r.t.Name(), want.source, want.gap, want.taken, len(want.missing), passed[uint64(i+1)].samples, len(passed[uint64(i+1)].terms))
	}
}

// told says where the history of the group differs from what was.
func (r *numbered) told(history []change, turns []turn, passed map[uint64]passed) error {
	if len(history) != len(turns) {
		return fmt.Errorf("it tells of %d turns, there were %d: %+v", len(history), len(turns), history)
	}
	for i, c := range history {
		want, kept := turns[i], passed[c.Epoch].samples
		if c.To != want.source || c.KeptUsed != kept || c.LargestGapMS != want.gap || want.held && c.Fenced == 0 {
			return fmt.Errorf("%+v; it was a turn of %s with %d kept samples and a gap of %d ms", c, want.source, kept, want.gap)
		}
	}
	return nil
}

// numberOf is the source that sent a value.
func numberOf(s history.Sample) int { return int(int64(s.Value) % 16) }

// turn is what arrived while one source was current.
type turn struct {
	source  string
	gap     int64 // largest one of a series at its beginning, milliseconds
	taken   int   // samples that were answered 2xx and had to arrive
	held    bool  // others were answered 2xx and did not: the source before had delivered their time
	missing []history.Sample
}

// turns divides what arrived, by first delivery, into turns.
func (r *numbered) turns(h history.History) []turn {
	names := map[int]string{}
	for _, q := range h.Requests {
		names[numberOf(q.Samples[0])] = q.Source
	}
	arrived := map[history.Sample]bool{}
	series := map[string][]history.Sample{}
	for _, s := range h.Received {
		if !arrived[s] {
			arrived[s] = true
			series[s.Series] = append(series[s.Series], s)
		}
	}
	var turns []turn
	spans := map[string][]span{}
	for name, list := range series {
		n := 0
		for i, s := range list {
			if i > 0 && numberOf(list[i-1]) == numberOf(s) {
				spans[name][n-1].to = s.Time
				continue
			}
			if n++; n > len(turns) {
				turns = append(turns, turn{source: names[numberOf(s)]})
			}
			from := int64(0)
			if i > 0 {
				from = list[i-1].Time + guard.Milliseconds()
				turns[n-1].gap = max(turns[n-1].gap, s.Time-list[i-1].Time)
			}
			spans[name] = append(spans[name], span{numberOf(s), from, s.Time})
		}
	}
	for _, q := range h.Requests {
		if !slices.ContainsFunc(q.Answers, func(status int) bool { return status/100 == 2 }) {
			continue
		}
		for _, s := range q.Samples {
			for i, sp := range spans[s.Series] {
				if numberOf(s) != sp.number || s.Time > sp.to {
					continue
				}
				if s.Time <= sp.after {
					turns[i].held = turns[i].held || !arrived[s]
					continue
				}
				turns[i].taken++
				if !arrived[s] {
					turns[i].missing = append(turns[i].missing, s)
				}
			}
		}
	}
	return turns
}

// span is what of a series has to come from a source in its turn: everything after a time, up to the last that came.
type span struct {
	number    int
	after, to int64
}

// covered says of which accepted samples the fence may have held back: those that are not newer than what an earlier source
// had delivered of the series.
func (r *numbered) covered(h history.History) func(history.Sample) bool {
	type key struct {
		series string
		number int
	}
	newest := map[key]int64{}
	for _, s := range h.Received {
		k := key{s.Series, numberOf(s)}
		newest[k] = max(newest[k], s.Time)
	}
	return func(s history.Sample) bool {
		for k, at := range newest {
			if k.series == s.Series && k.number != numberOf(s) && s.Time <= at+guard.Milliseconds() {
				return true
			}
		}
		return false
	}
}

// passed is what the log says about the kept samples of a turn.
type passed struct {
	samples uint64
	terms   map[uint64]bool
}

// passed reads the log of a node. What is in it twice counts once: the second copy is refused.
func (r *numbered) passed() map[uint64]passed {
	r.t.Helper()
	type part struct {
		request string
		part    uint32
	}
	turns, seen := map[uint64]passed{}, map[part]bool{}
	out := r.cluster.Nodes[0].Must("wal", "dump", "--output", "json")
	for line := range strings.Lines(out) {
		var e struct {
			Term   uint64
			Kind   string
			Detail json.RawMessage
		}
		var batch struct {
			Epoch, Floats uint64
			Request       string
			Part          uint32
			Flags         []string
		}
		err := json.Unmarshal([]byte(line), &e)
		if err == nil && e.Kind == "batch" {
			err = json.Unmarshal(e.Detail, &batch)
		}
		if err != nil {
			r.t.Fatalf("%q: %v", line, err)
		}
		one := part{batch.Request, batch.Part}
		if !slices.Contains(batch.Flags, "kept") || seen[one] {
			continue
		}
		seen[one] = true
		p, known := turns[batch.Epoch]
		if !known {
			p.terms = map[uint64]bool{}
		}
		p.samples += batch.Floats
		p.terms[e.Term] = true
		turns[batch.Epoch] = p
	}
	return turns
}
