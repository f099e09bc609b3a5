package ingest

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/prometheus/prompb"

	"github.com/highlander-io/highlander/fsm"
	"github.com/highlander-io/highlander/fsm/wire"
)

// lineOf returns the lines of the series with that name.
func lineOf(t *testing.T, f *fence, name string) (live, kept int64) {
	t.Helper()
	var scan wire.Request
	raw, err := wire.Decompress(nil, bodyV1(t, series(time.UnixMilli(1), "__name__", name)), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if err := scan.Scan(raw, wire.V1, wire.Labels{}); err != nil {
		t.Fatal(err)
	}
	hash := scan.SeriesHash(0, wire.Labels{})
	live, _ = f.line(hash)
	kept, _ = f.keptLine(hash)
	return live, kept
}

// buildFor builds the fence of group g as it is now.
func (d *desk) buildFor(again bool) *fence {
	d.Helper()
	g := d.group("g")
	if g.Fence == nil {
		d.Fatal("no fence is open")
	}
	ho := newHandover(&group{id: g.ID}, g.Epoch, nil)
	ho.state, ho.again = *g.Fence, again
	if err := d.build(context.Background(), []*handover{ho}); err != nil {
		d.Fatal(err)
	}
	return ho.fence
}

func TestFenceLines(t *testing.T) {
	d := newDesk(t, func(o *Options) { o.ClockSkewGuard = guard })
	start := d.clock.Now()
	send := func(source, name string, at time.Time, labels ...string) {
		t.Helper()
		d.expect(d.post(bodyV1(t, series(at, append([]string{"__name__", name}, labels...)...)), by("g", source)), 204)
	}
	send("a", "x", start.Add(time.Second), "__replica__", "r1")
	send("a", "x", start.Add(-time.Minute))
	send("a", "future", start.Add(time.Hour))
	d.expect(d.post(bodyV1(t, series(start.Add(time.Hour), "__name__", "x")), by("other", "a")), 204)
	d.clock.advance(10 * time.Second)
	elect := &fsm.Elect{Group: fsm.GroupID{Name: "g"}, FromEpoch: 1, To: "b", Reason: fsm.ReasonPromote, Time: d.clock.Now().UnixMilli(),
		Boundary: start.Add(time.Second).UnixMilli(), FenceFrom: 1}
	entry, err := fsm.Encode(elect)
	if err != nil {
		t.Fatal(err)
	}
	d.node.apply(entry)
	send("b", "x", start.Add(8*time.Second))

	f := d.buildFor(false)
	rest := start.Add(guard).UnixMilli() // the first batch was proposed at the start
	line := start.Add(time.Second + guard).UnixMilli()
	for name, want := range map[string]int64{"x": line, "future": rest, "unknown": rest} {
		if live, kept := lineOf(t, f, name); live != want || kept != want {
			t.Errorf("%s: lines %d and %d, want %d", name, live, kept, want)
		}
	}
	if f.max != line {
		t.Errorf("highest line %d, want %d", f.max, line)
	}
	// A new leader derives as well what was passed on before it: that holds for kept samples alone.
	f = d.buildFor(true)
	if live, kept := lineOf(t, f, "x"); live != line || kept != start.Add(8*time.Second).UnixMilli() {
		t.Errorf("again: lines %d and %d", live, kept)
	}
}

// What the log does not show any more may have been delivered up to the boundary.
func TestFenceOfALogThatWasCut(t *testing.T) {
	s := &site{state: fsm.Fence{Boundary: 5000}, guard: 500, lines: map[uint64]int64{1: 3000}}
	if f := s.finish(0); f.rest != 5500 || f.lines[1] != 3500 || f.max != 5500 {
		t.Errorf("nothing was read: %+v", f)
	}
	s = &site{state: fsm.Fence{Boundary: 5000}, guard: 500, lines: map[uint64]int64{1: 3000}}
	if f := s.finish(2000); f.rest != 2500 || f.max != 3500 {
		t.Errorf("read from 2000 on: %+v", f)
	}
}

// Live requests of a new source wait for what is kept of it, and go on when that has passed.
func TestLiveRequestsWait(t *testing.T) {
	d := newDesk(t)
	d.pass(30*time.Second, map[string]int{"a": 1, "b": 1})
	d.clock.advance(200 * time.Millisecond)
	d.flush()
	d.operate(fsm.SourceOp{Op: "promote", Group: fsm.GroupID{Name: "g"}, Source: "b"})
	d.Handler.tick(context.Background(), d.lead) // elected; nothing is passed on yet
	d.current("g", "b")

	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	before := len(d.node.batches(t))
	body := bodyV1(t, series(d.clock.Now(), "__name__", "live"))
	r := newPost(body, by("g", "b")).WithContext(ctx)
	d.expect(d.serveRequest(r), 503)
	if n := len(d.node.batches(t)); n != before {
		t.Fatal("a live request overtook what is kept")
	}
	answered := make(chan int)
	go func() { answered <- d.post(body, by("g", "b")).Code }()
	d.advance()
	if code := <-answered; code != 204 {
		t.Errorf("status %d", code)
	}
	list := d.node.batches(t)
	for i, b := range list[before:] {
		if last := i == len(list[before:])-1; last != (b.Flags&fsm.FlagKept == 0) {
			t.Errorf("batch %d of %d: flags %d", i, len(list)-before, b.Flags)
		}
	}
}

// A source that is replaced while its live requests wait becomes a standby again, and they are kept.
func TestReplacedWhileWaiting(t *testing.T) {
	d := newDesk(t)
	d.pass(30*time.Second, map[string]int{"a": 1, "b": 1})
	promote := func(source string) {
		d.flush()
		d.operate(fsm.SourceOp{Op: "promote", Group: fsm.GroupID{Name: "g"}, Source: source})
		d.Handler.tick(context.Background(), d.lead)
		d.current("g", source)
	}
	promote("b")
	answered := make(chan int)
	go func() {
		answered <- d.post(bodyV1(t, series(d.clock.Now(), "__name__", "live")), by("g", "b")).Code
	}()
	promote("a")
	if code := <-answered; code != 202 {
		t.Errorf("status %d", code)
	}
	d.advance()
	if code := d.say("a"); code != 204 {
		t.Errorf("status %d", code)
	}
}

// I6: the second copy of a request that was covered in part is a duplicate, and the books say so.
func TestCoveredInPart(t *testing.T) {
	d := newDesk(t)
	d.pass(20*time.Second, map[string]int{"a": 1})
	d.operate(fsm.SourceOp{Op: "weight", Group: fsm.GroupID{Name: "g"}, Source: "a", Weight: 0})
	d.say("b")
	d.operateAfterFlush("promote", "b")
	ts := series(d.clock.Now().Add(-time.Minute), "__name__", "live")
	ts.Samples = append(ts.Samples, prompb.Sample{Timestamp: d.clock.Now().UnixMilli(), Value: 2})
	body := bodyV1(t, ts)
	for range 2 {
		d.expect(d.post(body, by("g", "b")), 204)
	}
	d.flush()
	g := d.group("g")
	if g.Books.Covered < 2 || g.Books.Duplicate != 1 {
		t.Errorf("books %+v", g.Books)
	}
}
