package ingest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"github.com/highlander-io/highlander/fsm"
)

func counterValue(t *testing.T, c prometheus.Counter) float64 {
	t.Helper()
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

func TestBooksAreCommittedOnce(t *testing.T) {
	d := newDesk(t)
	d.say("a")
	d.say("b")
	d.node.uncertain = true // applied, but nobody learns of it
	if err := d.Handler.flush(context.Background(), d.lead); err == nil {
		t.Fatal("no error")
	}
	d.say("b") // 503 or 202: only the latter is counted
	d.node.uncertain = false
	d.flush()
	d.say("b")
	d.flush()
	d.flush()
	g := d.group("g")
	if g.Standby.Requests != 3 || g.Standby.Kept != 1 || g.Standby.Discarded != 2 {
		t.Errorf("I10: standby books %+v", g.Standby)
	}
	seqs := make(map[uint64]int)
	for _, entry := range d.node.entries {
		if kind, command, err := fsm.Decode(entry); kind == fsm.KindBooks && err == nil {
			seqs[command.(*fsm.Books).Seq]++
		}
	}
	if seqs[1] != 2 || len(seqs) != 3 {
		t.Errorf("deltas by number: %v", seqs)
	}
}

func TestNothingToBook(t *testing.T) {
	d := newDesk(t)
	d.say("a")
	before := len(d.node.entries)
	d.flush()
	if len(d.node.entries) != before {
		t.Error("an empty delta was committed")
	}
}

func TestBooksOfManySourcesTakeSeveralDeltas(t *testing.T) {
	d := newDesk(t)
	long := strings.Repeat("\x01", 200) // JSON needs six bytes for each
	for i := range 300 {
		a := arrival{id: fsm.GroupID{Name: fmt.Sprintf("g%d", i%10)}, source: fmt.Sprint(long, i)}
		g, s, err := d.lead.arrive(a, d.options.Load(), d.clock.Now())
		if err != nil {
			t.Fatal(err)
		}
		g.mu.Lock()
		s.books.duplicate = 1
		s.books.reject("missing_name", 2)
		s.books.discard(10)
		g.mu.Unlock()
	}
	d.flush()
	deltas := 0
	for _, entry := range d.node.entries {
		if kind, _ := fsm.PeekKind(entry); kind == fsm.KindBooks {
			deltas++
			if len(entry) > fsm.MaxEntryBytes {
				t.Errorf("a delta of %d bytes", len(entry))
			}
		}
	}
	var duplicate, rejected, standby uint64
	for i := range 10 {
		g := d.group(fmt.Sprintf("g%d", i))
		duplicate += g.Books.Duplicate
		rejected += g.Books.Rejected["missing_name"]
		standby += g.Standby.Requests
	}
	if duplicate != 300 || rejected != 600 || standby != 300 || deltas < 2 {
		t.Errorf("duplicate %d, rejected %d, standby %d in %d deltas", duplicate, rejected, standby, deltas)
	}
}

func TestForget(t *testing.T) {
	d := newDesk(t, func(o *Options) { o.ForgetAfter = time.Hour })
	d.say("a")
	d.say("b")
	d.metrics.outOfOrder.WithLabelValues("", "g", "b").Inc()
	d.clock.advance(59 * time.Minute)
	d.say("a")
	d.forget(d.lead)
	if n := len(d.Sources(fsm.GroupID{Name: "g"})); n != 2 {
		t.Fatalf("%d sources", n)
	}
	d.clock.advance(2 * time.Minute)
	d.forget(d.lead)
	if n := len(d.lead.groups[fsm.GroupID{Name: "g"}].sources); n != 2 {
		t.Errorf("%d sources: what is owed to the books was dropped", n)
	}
	d.flush()
	d.forget(d.lead)
	if n := len(d.lead.groups[fsm.GroupID{Name: "g"}].sources); n != 1 {
		t.Errorf("%d sources", n)
	}
	if n := testutil.CollectAndCount(d.metrics.outOfOrder); n != 0 {
		t.Error("metric labels of a forgotten source are left")
	}
	d.clock.advance(2 * time.Hour)
	d.forget(d.lead)
	if n := len(d.lead.groups); n != 0 {
		t.Errorf("%d groups", n)
	}
	d.say("b") // b is not current: a is, in the replicated state
	d.current("g", "a")
}

func TestForgottenGroupIsLookedUpAgain(t *testing.T) {
	d := newDesk(t)
	id := fsm.GroupID{Name: "g"}
	g, err := d.lead.find(id, 10)
	if err != nil {
		t.Fatal(err)
	}
	d.lead.drop(g)
	again, _, err := d.lead.arrive(arrival{id: id, source: "a"}, d.options.Load(), d.clock.Now())
	if err != nil || again == g || again != d.lead.groups[id] {
		t.Errorf("err %v; the request went to a group that nobody looks at", err)
	}
}

func TestLead(t *testing.T) {
	d := newDesk(t)
	d.Handler.lead.Store(nil)
	d.Handler.now = time.Now
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Lead(ctx) }()
	until(t, "a leadership", func() bool { return d.Handler.lead.Load() != nil })
	body := bodyV1(t, series(time.Now(), "__name__", "up"))
	d.expect(d.post(body, by("g", "a")), 204)
	d.expect(d.post(body, by("g", "b")), 202)
	until(t, "books", func() bool { return d.group("g").Standby.Requests == 1 })
	d.operate(fsm.SourceOp{Op: "promote", Group: fsm.GroupID{Name: "g"}, Source: "b"})
	until(t, "an election on a tick", func() bool {
		current, _, _ := d.node.fsm.Current(fsm.GroupID{Name: "g"})
		return current == "b"
	})
	d.expect(d.post(body, by("g", "a")), 202)
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if n := d.group("g").Standby.Requests; n != 2 {
		t.Errorf("%d standby requests: the last books were not committed", n)
	}
	d.expect(d.post(body, by("g", "b")), 503)
	if d.Sources(fsm.GroupID{Name: "g"}) != nil {
		t.Error("who does not lead knows nothing of sources")
	}
}

// until polls for a condition that a goroutine brings about.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestDrain(t *testing.T) {
	d := newDesk(t)
	d.say("a")
	proposed, release := make(chan struct{}), make(chan struct{})
	d.node.before = func(entry []byte) error {
		if kind, _ := fsm.PeekKind(entry); kind == fsm.KindBatch {
			close(proposed)
			<-release
		}
		return nil
	}
	code := make(chan int, 1)
	d.clock.advance(time.Second)
	d.say("b")
	go func() { code <- d.say("a") }()
	<-proposed
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := d.Drain(ctx); err == nil {
		t.Error("a request is in flight")
	}
	if c := d.say("a"); c != 503 {
		t.Errorf("status %d while shutting down", c)
	}
	drained := make(chan error, 1)
	go func() { drained <- d.Drain(context.Background()) }()
	close(release)
	if c := <-code; c != 204 {
		t.Errorf("status %d of the request in flight", c)
	}
	if err := <-drained; err != nil {
		t.Fatal(err)
	}
	if n := d.group("g").Standby.Requests; n != 1 {
		t.Errorf("%d standby requests: the books were not committed", n)
	}
}

func TestReload(t *testing.T) {
	d := newDesk(t)
	body := bodyV1(t, series(d.clock.Now(), "__name__", "up"))
	d.expect(d.post(body), 204)
	o := testOptions()
	o.Unidentified = Reject
	d.Reload(o)
	d.expect(d.post(body), 400)
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := newMetrics(reg, new(budget), new(window), func() []*keptItem { return nil })
	m.outOfOrder.WithLabelValues("t", "g", "s").Inc()
	problems, err := testutil.GatherAndLint(reg)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestEveryStatusIsObserved(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := newMetrics(reg, new(budget), new(window), func() []*keptItem { return nil })
	for o := range table {
		m.observe(table[o].status, time.Millisecond)
	}
	if n, err := testutil.GatherAndCount(reg, "highlander_ingest_request_duration_seconds"); err != nil || n != len(table) {
		t.Errorf("%d statuses, %v", n, err)
	}
}

func TestStreakIsLoggedOnce(t *testing.T) {
	d := newDesk(t)
	var s streak
	for range 5 {
		s.books(d.log, errNotCommitted)
	}
	s.books(d.log, nil)
	s.books(d.log, nil)
	logs := d.logs.String()
	if strings.Count(logs, "cannot be committed") != 1 || strings.Count(logs, "committed again") != 1 || !strings.Contains(logs, "failures=5") {
		t.Errorf("logs: %s", logs)
	}
}
