package handover

import (
	"fmt"
	"slices"

	"github.com/highlander-io/highlander/test/harness"
	"github.com/highlander-io/highlander/test/history"
)

// finish stops the servers, the current one last, waits until all has come to rest, and judges what arrived.
func (r *rig) finish(current *server) {
	r.t.Helper()
	for _, s := range r.servers {
		if s != current && s.process.Running() {
			s.stop()
		}
	}
	current.stop()
	r.cluster.WaitDrained("lts")
	r.cluster.WaitDrained("tsdb")
	r.cluster.WaitBooks()
	r.endAct()
	if term := r.leaderStatus().Cluster.Term; term != r.term && !r.leaders {
		r.t.Logf("the leader has changed by itself, from term %d to %d: a tail may come twice", r.term, term)
		r.leaders = true
	}
	received := r.log.History().Received
	refused := 0.0
	for i, a := range r.acts {
		to := len(received)
		if i+1 < len(r.acts) {
			to = r.acts[i+1].from
		}
		r.judge(a, count(received[:to], a.from, r.target.start), a.refused-refused)
		refused = a.refused
	}
	r.books(r.hear(received).gaps)
	for _, problem := range r.lts.Problems() {
		r.t.Errorf("LTS: %s", problem)
	}
	r.compare(count(received, 0, r.target.start).live)
}

// hear holds what has arrived against what the servers have scraped.
func (r *rig) hear(received []history.Sample) verdict {
	r.t.Helper()
	var witnesses []witness
	for _, s := range r.servers {
		witnesses = append(witnesses, s.witness(r.t))
	}
	v := hear(received, witnesses)
	for i, wrong := range v.wrong {
		if i == 10 {
			r.t.Errorf("and %d more", len(v.wrong)-i)
			break
		}
		r.t.Error(wrong)
	}
	if len(v.pauses) > 0 {
		r.t.Logf("THE MACHINE WAS TOO SLOW to scrape in time, %d times; for instance %s", len(v.pauses), v.pauses[0])
	}
	return v
}

// judge holds the figures of an act against the invariants and prints them.
func (r *rig) judge(a act, f figures, refused float64) {
	r.t.Helper()
	wrong := func(bad bool, format string, args ...any) {
		r.t.Helper()
		if bad {
			r.t.Errorf(a.name+": "+format, args...)
		}
	}
	wrong(f.series < counterSeries, "%d series arrived, want at least %d", f.series, counterSeries)
	wrong(f.changes != a.changes, "the counters changed hands %d times, want %d", f.changes, a.changes)
	wrong(f.clashes > 0, "V2: %d timestamps came with two values", f.clashes)
	wrong(f.repeated > 0 && !r.leaders, "V2: %d samples came twice", f.repeated)
	wrong(f.unordered > 0, "V3: %d samples out of order", f.unordered)
	wrong(f.resets > 0, "V4: %d decreases of a counter", f.resets)
	wrong(f.close > 0, "V4: %d samples of another server within the guard", f.close)
	wrong(refused > 0 && !r.leaders, "V5: the receiver has refused %v samples or requests", refused)
	r.t.Logf("FIGURES %s: %s: largest gap %s (counters at a change %s), repeated %d, false resets %d, refused %v; %d samples, changed after %s",
		r.t.Name(), a.name, seconds(f.gap), seconds(f.changeGap), f.repeated, f.resets, refused, f.samples, seconds(a.took))
}

// refusals is what the receiver has refused so far: samples, and requests that are not worth a sample to it.
func (r *rig) refusals() float64 {
	r.t.Helper()
	sum := r.receiver.metric("prometheus_http_requests_total", `code="400",handler="/api/v1/write"`)
	for _, why := range []string{"out_of_order", "too_old", "out_of_bound"} {
		sum += r.receiver.metric("prometheus_tsdb_"+why+"_samples_total", "")
	}
	return sum
}

// compare requires that the receiver holds what the LTS has.
func (r *rig) compare(live int) {
	r.t.Helper()
	harness.Eventually(r.t, "V5: as many samples at the receiver as at the LTS", func() error {
		stored, err := r.receiver.stored(fmt.Sprintf(`{cluster=%q}`, group))
		if err == nil && stored != live {
			err = fmt.Errorf("%d, want %d", stored, live)
		}
		return err
	})
	s := r.leaderStatus()
	d, _ := s.Destination("tsdb")
	if d.Samples.DeadLetter > 0 || d.Samples.Redelivered > 0 && !r.leaders {
		r.t.Errorf("V5: %d dead letters of the receiver, %d samples that it had already", d.Samples.DeadLetter, d.Samples.Redelivered)
	}
	if f, _ := s.Destination("lts"); f.Samples.Redelivered+d.Samples.Redelivered > 0 {
		r.t.Logf("sent again: %d to the LTS, %d to the receiver", f.Samples.Redelivered, d.Samples.Redelivered)
	}
}

// books requires that the history of the group tells of every change, and of the largest gap at it.
func (r *rig) books(gaps []int64) {
	r.t.Helper()
	want := 1
	for _, a := range r.acts {
		want += a.changes
	}
	harness.Eventually(r.t, "a history that tells what was", func() error {
		g, err := r.group()
		if err != nil {
			return err
		}
		var told []int64
		for _, c := range g.History[min(1, len(g.History)):] {
			told = append(told, c.LargestGapMS)
		}
		if len(g.History) != want || !slices.Equal(told, gaps) {
			return fmt.Errorf("there were %d changes, with gaps of %d ms: %+v", want, gaps, g.History)
		}
		r.t.Logf("books %+v, standby %+v", g.Samples, g.Standby)
		for _, c := range g.History {
			r.t.Logf("change %+v", c)
		}
		return nil
	})
}
