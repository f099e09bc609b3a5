package egress

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/relabel"
	"github.com/prometheus/prometheus/prompb"

	"github.com/highlander-io/highlander/fsm"
	"github.com/highlander-io/highlander/fsm/wire"
)

func TestReplayAfterChangeOfLeader(t *testing.T) {
	c := newCluster(t)
	l := newLTS(t, poison("bad"))
	c.register("lts", l.URL+"/api/v1/write")
	stop := c.lead(c.egress(to("lts", l)))
	c.batch("one", 1, "bad", "a", "b")
	c.batch("one", 2, "bad", "a", "b")
	if d := c.drained(t, "lts"); d.DeadLetter != 2 {
		t.Fatalf("dead letters %d", d.DeadLetter)
	}
	stop()

	c.lead(c.egress(to("lts", l)))
	letters := c.state.DeadLetters()
	c.operate(&fsm.LetterOp{Op: fsm.OpReplay, ID: letters[0].ID, Time: 1})
	eventually(t, "refused again", func() bool { return c.destination("lts").DeadLetter == 2 })

	l.program(func(*write) answer { return ok })
	for _, info := range letters {
		c.operate(&fsm.LetterOp{Op: fsm.OpReplay, ID: info.ID, Time: 1})
	}
	d := c.drained(t, "lts")
	if d.DeadLetter != 0 || d.Delivered != 6 || len(c.state.DeadLetters()) != 0 {
		t.Errorf("delivered %d, dead letters %d", d.Delivered, d.DeadLetter)
	}
	l.check(t, 6)
	l.mu.Lock()
	defer l.mu.Unlock()
	if tenant := l.writes[len(l.writes)-1].header.Get(headerTenant); tenant != "one" {
		t.Errorf("replayed for tenant %q", tenant)
	}
}

func TestDeadLettersFullHold(t *testing.T) {
	c := newCluster(t)
	l := newLTS(t, poison("bad"))
	c.register("lts", l.URL+"/api/v1/write")
	stop := c.lead(c.egress(to("lts", l)))
	c.batch("", 1, "bad", "a")
	c.drained(t, "lts")
	stop()
	e := c.egressWith(Options{DeadLetterMaxBytes: c.state.DeadLetterBytes() + 1}, to("lts", l))
	c.lead(e)
	c.batch("", 2, "bad", "a")
	eventually(t, "held", func() bool {
		s := e.state("lts")
		return s.State == Held && strings.Contains(s.Error, "dead letters are full")
	})
	if d := c.destination("lts"); d.Backlog.Samples != 2 {
		t.Errorf("cursor passed samples that are nowhere: %+v", d)
	}
	c.operate(&fsm.LetterOp{Op: fsm.OpPurge, Time: 1})
	d := c.drained(t, "lts")
	if d.DeadLetter != 1 || d.Dropped["purged"] != 1 || d.Delivered != 2 {
		t.Errorf("%+v", d)
	}
}

// A letter stored just before a change of leader is not stored twice.
func TestDeadLetterIsStoredOnce(t *testing.T) {
	c := newCluster(t)
	l := newLTS(t, poison("bad"))
	c.register("lts", l.URL+"/api/v1/write")
	c.batch("", 1, "bad", "a", "b")
	hook := func(kind fsm.Kind) (bool, error) { // no cursor gets through
		if kind == fsm.KindCursor {
			return false, errLost
		}
		return true, nil
	}
	c.propose.Store(&hook)
	stop := c.lead(c.egress(to("lts", l)))
	eventually(t, "letter", func() bool { return len(c.state.DeadLetters()) == 1 })
	c.deposed.Store(true)
	stop()
	c.deposed.Store(false)
	c.propose.Store(nil)
	c.lead(c.egress(to("lts", l)))
	d := c.drained(t, "lts")
	if d.DeadLetter != 1 || d.Delivered != 2 || len(c.state.DeadLetters()) != 1 {
		t.Errorf("%+v, %d letters", d, len(c.state.DeadLetters()))
	}
}

func rules(t *testing.T, list ...relabel.Config) []*relabel.Config {
	t.Helper()
	var out []*relabel.Config
	for i := range list {
		c := relabel.DefaultRelabelConfig
		c.SourceLabels, c.Action, c.Regex = list[i].SourceLabels, list[i].Action, list[i].Regex
		if list[i].TargetLabel != "" {
			c.TargetLabel, c.Replacement = list[i].TargetLabel, list[i].Replacement
		}
		out = append(out, &c)
	}
	return out
}

func TestRelabel(t *testing.T) {
	for _, p := range []wire.Protocol{wire.V1, wire.V2} {
		c := newCluster(t)
		l := newLTS(t, func(w *write) answer { return answer{status: 204, header: writtenHeaders(len(w.samples))} })
		c.register("lts", l.URL+"/api/v1/write")
		for i := range 10 {
			if p == wire.V1 {
				c.batch("", int64(i+1), "keep_a", "keep_b", "drop_c")
			} else {
				c.batchV2(int64(i+1), "keep_a", "keep_b", "drop_c")
			}
		}
		if p == wire.V1 {
			c.batch("", 100, "drop_c") // nothing is left of it
		} else {
			c.batchV2(100, "drop_c")
		}
		d := to("lts", l)
		d.Protocol = p
		d.Relabel = rules(t,
			relabel.Config{SourceLabels: model.LabelNames{"__name__"}, Action: relabel.Drop, Regex: relabel.MustNewRegexp("drop_.*")},
			relabel.Config{SourceLabels: model.LabelNames{"__name__"}, Action: relabel.Replace, Regex: relabel.MustNewRegexp("keep_(.*)"), TargetLabel: "__name__", Replacement: "kept_$1"})
		c.lead(c.egress(d))
		got := c.drained(t, "lts")
		if got.Delivered != 20 || got.RelabelDropped != 11 {
			t.Errorf("protocol %d: delivered %d, dropped %d", p, got.Delivered, got.RelabelDropped)
		}
		l.check(t, 20)
		l.mu.Lock()
		if !l.writes[0].series["kept_a"] || !l.writes[0].series["kept_b"] || len(l.writes[0].series) != 2 {
			t.Errorf("protocol %d: series %v", p, l.writes[0].series)
		}
		l.mu.Unlock()
	}
}

// Dead letters of relabelled batches name the right batch although series are missing.
func TestRelabelAndBisect(t *testing.T) {
	c := newCluster(t)
	l := newLTS(t, func(w *write) answer {
		for _, p := range w.samples {
			if p == (point{"m_00003", 7}) || p == (point{"m_00001", 3}) {
				return answer{status: 422, body: "bad"}
			}
		}
		return ok
	})
	c.register("lts", l.URL+"/api/v1/write")
	for i := range 10 {
		c.batch("", int64(i+1), append(names("m", 5), "drop_a", "drop_b")...)
	}
	d := to("lts", l)
	d.Relabel = rules(t, relabel.Config{SourceLabels: model.LabelNames{"__name__"}, Action: relabel.Drop, Regex: relabel.MustNewRegexp("drop_.*")})
	c.lead(c.egress(d))
	got := c.drained(t, "lts")
	if got.RelabelDropped != 20 || got.Delivered != 48 || got.DeadLetter != 2 {
		t.Errorf("%+v", got)
	}
	var entries []uint64
	for _, info := range c.state.DeadLetters() {
		entries = append(entries, info.Index)
	}
	slices.Sort(entries)
	if !slices.Equal(entries, []uint64{4, 8}) { // the destination's own entry is the first
		t.Errorf("letters name entries %d", entries)
	}
}

// A label set that relabelling made invalid is nobody's verdict but ours.
func TestRelabelToInvalid(t *testing.T) {
	c := newCluster(t)
	l := newLTS(t, func(w *write) answer {
		if w.series[""] {
			return answer{status: 400, body: "no name"}
		}
		return ok
	})
	c.register("lts", l.URL+"/api/v1/write")
	c.batch("", 1, "a", "b", "unnamed")
	d := to("lts", l)
	d.Relabel = rules(t, relabel.Config{SourceLabels: model.LabelNames{"__name__"}, Action: relabel.Replace, Regex: relabel.MustNewRegexp("unnamed"), TargetLabel: "__name__", Replacement: ""})
	c.lead(c.egress(d))
	got := c.drained(t, "lts")
	if got.Delivered != 2 || got.Dropped[DroppedInvalid] != 1 {
		t.Errorf("%+v", got)
	}
}

func TestSkip(t *testing.T) {
	c := newCluster(t)
	l := newLTS(t, func(*write) answer { return answer{hang: true} })
	c.register("lts", l.URL+"/api/v1/write")
	for i := range 20 {
		c.batch("", int64(i+1), "a", "b")
	}
	e := c.egress(to("lts", l))
	c.lead(e)
	eventually(t, "in flight", func() bool { return l.requests() > 0 })
	ctx := context.Background()
	for _, bad := range []struct {
		name string
		to   uint64
		says string
	}{{"nobody", 0, "there are: lts"}, {"lts", 1 << 40, "ends at"}} {
		if err := e.Skip(ctx, bad.name, bad.to); err == nil || !strings.Contains(err.Error(), bad.says) {
			t.Errorf("skip %s to %d: %v", bad.name, bad.to, err)
		}
	}
	if err := e.Skip(ctx, "lts", 6); err != nil { // entries 2 to 6
		t.Fatal(err)
	}
	d := c.destination("lts")
	if d.Cursor != 6 || d.Dropped[DroppedSkipped] != 10 || d.Backlog.Samples != 30 || !d.Balanced() {
		t.Fatalf("%+v", d)
	}
	if err := e.DropOldest(ctx, "lts", 1); err != nil { // one batch
		t.Fatal(err)
	}
	if d = c.destination("lts"); d.Dropped[DroppedFull] != 2 || d.Cursor != 7 {
		t.Fatalf("%+v", d)
	}
	if err := e.Skip(ctx, "lts", 3); err == nil {
		t.Error("skipped backwards")
	}
	if err := e.Skip(ctx, "lts", 0); err != nil {
		t.Fatal(err)
	}
	l.program(func(*write) answer { return ok })
	c.batch("", 100, "a")
	got := c.drained(t, "lts")
	if got.Delivered != 1 || got.Dropped[DroppedSkipped] != 38 {
		t.Errorf("%+v", got)
	}
	l.check(t, 1)
}

func TestSkipNeedsTheLeader(t *testing.T) {
	c := newCluster(t)
	c.register("lts", "http://x/")
	e := c.egress()
	c.batch("", 1, "a")
	if err := e.Skip(context.Background(), "lts", 0); !errors.Is(err, errNotDraining) {
		t.Error(err)
	}
	if s := e.state("lts"); s.Leading || s.State != Held || s.Oldest <= 0 {
		t.Errorf("%+v", s)
	}
}

func TestPauseResumeForget(t *testing.T) {
	c := newCluster(t)
	l := newLTS(t, func(*write) answer { return ok })
	c.register("lts", l.URL+"/api/v1/write")
	e := c.egress(to("lts", l))
	c.lead(e)
	c.batch("", 1, "a")
	c.drained(t, "lts")
	c.operate(&fsm.DestinationOp{Op: fsm.OpPause, Name: "lts", Time: 1})
	eventually(t, "paused", func() bool { return e.state("lts").State == Paused })
	c.batch("", 2, "a")
	if err := e.Reload([]Destination{to("lts", l), to("other", l)}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "registered", func() bool { return len(c.state.Destinations()) == 2 })
	if d := c.destination("lts"); d.Backlog.Samples != 1 || l.count() != 1 {
		t.Errorf("sent while paused: %+v", d)
	}
	c.operate(&fsm.DestinationOp{Op: fsm.OpResume, Name: "lts", Time: 1})
	c.drained(t, "lts")
	l.check(t, 2)
	eventually(t, "up", func() bool { return e.state("lts").State == Up })

	if err := e.Reload([]Destination{to("other", l)}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "held", func() bool { return e.state("lts").State == Held })
	c.batch("", 3, "a")
	c.drained(t, "other")
	if d := c.destination("lts"); d.Backlog.Samples != 1 {
		t.Errorf("a destination that is not in the file was drained: %+v", d)
	}
	if e.Configured("lts") || !e.Configured("other") {
		t.Error("Configured is wrong")
	}
	c.operate(&fsm.DestinationOp{Op: fsm.OpForget, Name: "lts", Time: 1})
	eventually(t, "gone", func() bool { return len(e.Status()) == 1 })
}

func TestPositionalNameKeepsItsURL(t *testing.T) {
	c := newCluster(t)
	l := newLTS(t, func(*write) answer { return ok })
	c.register("remote-0", "http://elsewhere.example/api/v1/write")
	c.batch("", 1, "a")
	e := c.egress(to("remote-0", l))
	c.lead(e)
	eventually(t, "held", func() bool {
		s := e.state("remote-0")
		return s.State == Held && strings.Contains(s.Error, "elsewhere.example")
	})
	if l.requests() != 0 {
		t.Error("another endpoint got the backlog")
	}
	if e.Configured("remote-0") {
		t.Error("it could not be forgotten")
	}
	c.operate(&fsm.DestinationOp{Op: fsm.OpForget, Name: "remote-0", Time: 1})
	eventually(t, "registered anew", func() bool {
		d, ok := c.state.Destination("remote-0")
		return ok && d.URL == l.URL+"/api/v1/write"
	})
	c.batch("", 2, "a")
	c.drained(t, "remote-0")
	l.check(t, 1)
}

func TestReloadOfABadFileChangesNothing(t *testing.T) {
	c := newCluster(t)
	l := newLTS(t, func(*write) answer { return ok })
	e := c.egress(to("lts", l))
	for name, bad := range map[string]Destination{
		"scheme":   {Name: "x", URL: "ftp://h/"},
		"host":     {Name: "x", URL: "http:///p"},
		"name":     {URL: "http://h/"},
		"twice":    {Name: "lts", URL: "http://h/"},
		"header":   {Name: "x", URL: "http://h/", Headers: map[string]string{"content-type": "a"}},
		"relabel":  {Name: "x", URL: "http://h/", Relabel: []*relabel.Config{{Action: relabel.HashMod}}},
		"tls":      {Name: "x", URL: "http://h/", HTTP: config.HTTPClientConfig{TLSConfig: config.TLSConfig{CAFile: "/nowhere/ca"}}},
		"shards":   {Name: "x", URL: "http://h/", Queue: Queue{MaxShards: 1000}},
		"password": {Name: "x", URL: "http://u:secret@h:port/"},
	} {
		err := e.Reload([]Destination{to("lts", l), bad})
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if s := e.Status(); len(s) != 1 || s[0].Name != "lts" {
		t.Errorf("%+v", s)
	}
}

// E9: an endpoint that hangs does not keep Lead, and the next leader sends again what was in flight.
func TestLeadEndsWhileTheEndpointHangs(t *testing.T) {
	c := newCluster(t)
	l := newLTS(t, func(*write) answer { return answer{hang: true} })
	c.register("lts", l.URL+"/api/v1/write")
	c.batch("", 1, "a")
	d := to("lts", l)
	d.RemoteTimeout = time.Hour
	stop := c.lead(c.egress(d))
	eventually(t, "in flight", func() bool { return l.requests() == 1 })
	stop()
	l.program(func(*write) answer { return ok })
	c.lead(c.egress(d))
	c.drained(t, "lts")
	l.check(t, 1)
}

// E4: without the lease nothing is sent.
func TestNothingIsSentWithoutTheLease(t *testing.T) {
	c := newCluster(t)
	l := newLTS(t, func(*write) answer { return ok })
	c.register("lts", l.URL+"/api/v1/write")
	c.deposed.Store(true)
	e := c.egress(to("lts", l))
	c.lead(e)
	c.batch("", 1, "a")
	eventually(t, "retrying", func() bool { return e.state("lts").State == Retrying })
	if l.requests() != 0 {
		t.Fatal("sent without the lease")
	}
	c.deposed.Store(false)
	c.drained(t, "lts")
}

func TestQuiesceFinishesAndFlushes(t *testing.T) {
	c := newCluster(t)
	l := newLTS(t, nil)
	release := make(chan struct{})
	l.program(func(*write) answer {
		l.mu.Unlock()
		<-release
		l.mu.Lock()
		return ok
	})
	c.register("lts", l.URL+"/api/v1/write")
	c.batch("", 1, "a")
	e := c.egress(to("lts", l))
	c.lead(e)
	eventually(t, "in flight", func() bool { return l.requests() == 1 })
	short, cancel := context.WithCancel(context.Background())
	cancel()
	if err := e.Quiesce(short); err == nil {
		t.Error("finished although a request is in flight")
	}
	close(release)
	if err := e.Quiesce(context.Background()); err != nil {
		t.Fatal(err)
	}
	if d := c.destination("lts"); d.Delivered != 1 || d.Cursor != 2 {
		t.Errorf("not flushed: %+v", d)
	}
	c.batch("", 2, "a")
	if n := l.requests(); n != 1 {
		t.Errorf("%d requests after it was quiet", n)
	}
}

// E3, E7: lanes hold different series and each keeps its order; while the endpoint fails there is one request.
func TestLanes(t *testing.T) {
	c := newCluster(t)
	gate := make(chan struct{}, 1000)
	l := newLTS(t, nil)
	l.program(func(*write) answer {
		l.mu.Unlock()
		<-gate
		l.mu.Lock()
		return ok
	})
	c.register("lts", l.URL+"/api/v1/write")
	for i := range 60 {
		c.batch("", int64(i+1), names("m", 50)...)
	}
	d := to("lts", l)
	d.Queue.MaxShards, d.Queue.MaxSamplesPerSend = 4, 200
	c.lead(c.egress(d))
	eventually(t, "four in flight", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.inFlight == 4
	})
	n := 0
	fail := func(*write) answer {
		if n++; n%5 != 0 {
			return answer{status: 503}
		}
		return ok
	}
	l.program(fail)
	close(gate)
	got := c.drained(t, "lts")
	if got.Delivered != 3000 {
		t.Errorf("delivered %d", got.Delivered)
	}
	l.check(t, 3000)
	if l.most != 4 {
		t.Errorf("%d requests at once", l.most)
	}
}

func TestRequestsStayWithinMaxSamples(t *testing.T) {
	c := newCluster(t)
	l := newLTS(t, func(*write) answer { return ok })
	c.register("lts", l.URL+"/api/v1/write")
	c.batch("", 1, names("m", 1000)...) // one batch above the bound
	for i := range 10 {
		c.batch("", int64(i+2), names("m", 30)...)
	}
	d := to("lts", l)
	d.Queue.MaxSamplesPerSend = 100
	c.lead(c.egress(d))
	c.drained(t, "lts")
	l.check(t, 1300)
	for _, w := range l.writes {
		if len(w.samples) > 100 {
			t.Errorf("a request of %d samples", len(w.samples))
		}
	}
}

// Metadata belongs to no book, goes along, and alone proves nothing.
func TestMetadataGoesAlong(t *testing.T) {
	c := newCluster(t)
	var metadata int
	l := newLTS(t, nil)
	l.program(func(w *write) answer {
		if len(w.samples) == 0 {
			metadata++
		}
		return ok
	})
	c.register("lts", l.URL+"/api/v1/write")
	c.write("", &prompb.WriteRequest{Metadata: []prompb.MetricMetadata{{MetricFamilyName: "a", Help: "h"}}})
	c.lead(c.egress(to("lts", l)))
	d := c.drained(t, "lts")
	if d.Accepted != 0 || metadata != 1 {
		t.Errorf("%+v, %d requests", d, metadata)
	}
}

// A hole in the log is not passed: it would be a loss that no book shows.
func TestUnreadableLogHolds(t *testing.T) {
	c := newCluster(t)
	l := newLTS(t, func(*write) answer { return ok })
	c.register("lts", l.URL+"/api/v1/write")
	c.batch("", 1, "a")
	e := c.egressWith(Options{}, to("lts", l))
	e.options.Log = holedLog{c}
	c.lead(e)
	eventually(t, "held", func() bool {
		s := e.state("lts")
		return s.State == Held && strings.Contains(s.Error, ErrReclaimed.Error())
	})
	if d := c.destination("lts"); d.Cursor != 1 {
		t.Errorf("%+v", d)
	}
}

type holedLog struct{ *cluster }

func (holedLog) Reader(uint64) Reader { return holedReader{} }

type holedReader struct{}

func (holedReader) Next(uint64) (Entry, error) { return Entry{}, ErrReclaimed }
func (holedReader) Close() error               { return nil }

var _ io.Closer = holedReader{}
