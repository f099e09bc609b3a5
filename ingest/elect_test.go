package ingest

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/highlander-io/highlander/fsm"
)

// say sends one sample of a source at the present and returns the status.
func (d *desk) say(source string, change ...func(*http.Request)) int {
	d.Helper()
	body := bodyV1(d, series(d.clock.Now(), "__name__", "up", "at", d.clock.Now().String()))
	return d.post(body, append([]func(*http.Request){by("g", source)}, change...)...).Code
}

// pass lets time pass second by second; each source sends every so many seconds. The rule is asked twice a second.
func (d *desk) pass(t time.Duration, every map[string]int) {
	d.Helper()
	for second := range int(t / time.Second) {
		d.clock.advance(time.Second)
		for _, source := range []string{"a", "b", "c"} {
			if n := every[source]; n > 0 && second%n == 0 {
				if code := d.say(source); code >= 300 {
					d.Fatalf("source %s: status %d", source, code)
				}
			}
		}
		d.tick()
		d.tick()
	}
}

func TestFirstSourceWins(t *testing.T) {
	d := newDesk(t)
	if code := d.say("a"); code != 204 {
		t.Fatalf("status %d", code)
	}
	if code := d.say("b"); code != 202 {
		t.Fatalf("status %d", code)
	}
	d.current("g", "a")
	if d.node.confirmed() != 1 {
		t.Errorf("I2: %d confirmations of one 202", d.node.confirmed())
	}
}

func TestSilence(t *testing.T) {
	d := newDesk(t)
	d.pass(time.Minute, map[string]int{"a": 1, "b": 1})
	d.current("g", "a")
	d.pass(14*time.Second, map[string]int{"b": 1})
	d.current("g", "a")
	d.pass(8*time.Second, map[string]int{"b": 1}) // b is looked at every five seconds
	d.current("g", "b")
	if h := d.group("g").History; h[len(h)-1].Reason != fsm.ReasonSilence {
		t.Errorf("reason %q", h[len(h)-1].Reason)
	}
	if code := d.say("a"); code != 202 {
		t.Errorf("status %d for the old source", code)
	}
}

func TestAllSilentIsNoChange(t *testing.T) {
	d := newDesk(t)
	d.pass(time.Minute, map[string]int{"a": 1, "b": 1})
	d.pass(10*time.Minute, nil)
	d.current("g", "a")
	if code := d.say("a"); code != 204 {
		t.Errorf("status %d", code)
	}
}

func TestMinuteScrapesDoNotFlap(t *testing.T) {
	d := newDesk(t)
	d.say("a")
	d.clock.advance(20 * time.Second)
	d.say("b")
	for range 30 {
		d.pass(40*time.Second, nil)
		d.say("a")
		d.pass(20*time.Second, nil)
		d.say("b")
	}
	if h := d.group("g").History; len(h) != 1 {
		t.Errorf("%d changes of source: %+v", len(h)-1, h)
	}
	// But when a is gone, b takes over.
	for range 5 {
		d.pass(time.Minute, nil)
		d.say("b")
	}
	d.tick()
	d.current("g", "b")
}

func TestChangeOfLeaderDoesNotFlap(t *testing.T) {
	d := newDesk(t)
	d.say("a")
	d.clock.advance(50 * time.Second)
	d.takeOver()
	d.pass(time.Second, nil)
	d.say("b") // a is due in nine seconds
	d.pass(9*time.Second, nil)
	d.say("a")
	for range 10 {
		d.pass(51*time.Second, nil)
		d.say("b")
		d.pass(9*time.Second, nil)
		d.say("a")
	}
	if h := d.group("g").History; len(h) != 1 {
		t.Errorf("changes of source: %+v", h)
	}
}

func TestLeaderAndSourceGoneTogether(t *testing.T) {
	d := newDesk(t)
	d.pass(time.Minute, map[string]int{"a": 1, "b": 1})
	d.takeOver() // and a is gone
	d.pass(14*time.Second, map[string]int{"b": 1})
	d.current("g", "a")
	d.pass(10*time.Second, map[string]int{"b": 1})
	d.current("g", "b")
}

func TestOurOwnRefusalsAreLife(t *testing.T) {
	d := newDesk(t)
	d.pass(time.Minute, map[string]int{"a": 1, "b": 1})
	d.refuseAll("storage is full")
	for range 120 {
		d.clock.advance(time.Second)
		if d.say("a") != 503 || d.say("b") != 503 {
			t.Fatal("the gate is open")
		}
		d.tick()
	}
	d.gate.Store(nil)
	if code := d.say("b"); code != 202 { // b is the first to be back
		t.Fatalf("status %d", code)
	}
	d.tick()
	d.current("g", "a")
	d.pass(5*time.Second, map[string]int{"a": 1, "b": 1})
	d.current("g", "a")
}

func TestRefusalsOfUnnamedRequestsAreLifeForAll(t *testing.T) {
	d := newDesk(t)
	labelled := func(source string) int {
		return d.post(bodyV1(t, series(d.clock.Now(), "__name__", "up", "cluster", "g", "__replica__", source))).Code
	}
	for range 60 {
		d.clock.advance(time.Second)
		labelled("a")
		labelled("b")
		d.tick()
	}
	d.current("g", "a")
	d.refuseAll("storage is full")
	for range 60 {
		d.clock.advance(time.Second)
		labelled("a")
		labelled("b")
	}
	d.gate.Store(nil)
	labelled("b")
	d.tick()
	d.current("g", "a")
	for _, s := range d.Sources(fsm.GroupID{Name: "g"}) {
		if s.Interval > 2*time.Second {
			t.Errorf("usual interval of %s: %v: our refusals are not its habits", s.Name, s.Interval)
		}
	}
}

func TestWeight(t *testing.T) {
	heavy := func(source string, weight int) func(*http.Request) {
		return query("highlander_group=g&highlander_source=" + source + "&highlander_weight=" + strconv.Itoa(weight))
	}
	run := func(d *desk, seconds int) {
		for range seconds {
			d.clock.advance(time.Second)
			d.say("a", heavy("a", 1))
			d.say("b", heavy("b", 2))
			d.tick()
		}
	}
	t.Run("the heavier takes over when it is steady", func(t *testing.T) {
		d := newDesk(t)
		d.say("a", heavy("a", 1))
		d.pass(20*time.Second, map[string]int{"a": 1})
		run(d, 9)
		d.current("g", "a")
		run(d, 10)
		d.current("g", "b")
	})
	t.Run("unless weights of requests are ignored", func(t *testing.T) {
		d := newDesk(t, func(o *Options) { o.RequestWeight = false })
		d.say("a", heavy("a", 1))
		run(d, 60)
		d.current("g", "a")
	})
	t.Run("an operator's word beats a request's", func(t *testing.T) {
		d := newDesk(t)
		d.say("a", heavy("a", 1))
		d.say("b", heavy("b", 2))
		d.operate(fsm.SourceOp{Op: "weight", Group: fsm.GroupID{Name: "g"}, Source: "a", Weight: 9})
		run(d, 60)
		d.current("g", "a")
		for _, s := range d.Sources(fsm.GroupID{Name: "g"}) {
			if want := map[string]uint64{"a": 9, "b": 2}[s.Name]; s.Weight != want {
				t.Errorf("weight of %s: %d, want %d", s.Name, s.Weight, want)
			}
		}
	})
}

func (d *desk) operate(op fsm.SourceOp) {
	d.Helper()
	op.Time = d.clock.Now().UnixMilli()
	entry, err := fsm.Encode(&op)
	if err != nil {
		d.Fatal(err)
	}
	if response := d.node.apply(entry).response; response != nil {
		d.Fatal(response)
	}
}

func TestPinAndPromote(t *testing.T) {
	d := newDesk(t)
	g := fsm.GroupID{Name: "g"}
	d.pass(20*time.Second, map[string]int{"a": 1, "b": 1})
	d.flush() // with this the state knows of b
	d.operate(fsm.SourceOp{Op: "promote", Group: g, Source: "b"})
	d.tick()
	d.current("g", "b")
	d.operate(fsm.SourceOp{Op: "pin", Group: g, Source: "a"})
	d.tick()
	d.current("g", "a")
	d.pass(5*time.Minute, map[string]int{"b": 1}) // a pin never fails over
	d.current("g", "a")
}

func TestPinOfASourceThatIsNotHeard(t *testing.T) {
	d := newDesk(t)
	d.say("a")
	d.say("b")
	d.flush()
	d.takeOver()
	d.say("a")
	d.operate(fsm.SourceOp{Op: "pin", Group: fsm.GroupID{Name: "g"}, Source: "b"})
	for range quietTicks {
		d.tick()
	}
	d.current("g", "b")
}

func TestForgottenByAnOperator(t *testing.T) {
	d := newDesk(t)
	d.say("a")
	d.say("b")
	d.pass(4*time.Minute, map[string]int{"a": 1}) // what was kept of b is not needed any more
	d.flush()
	id := fsm.GroupID{Name: "g"}
	d.operate(fsm.SourceOp{Op: "forget", Group: id, Source: "b"})
	d.Forget(id, "b")
	d.Forget(fsm.GroupID{Name: "unheard of"}, "b")
	d.flush()
	if s := d.Sources(id); len(s) != 1 || s[0].Name != "a" {
		t.Errorf("sources %+v", s)
	}
}

func TestClockAheadDoesNotWin(t *testing.T) {
	d := newDesk(t)
	ahead := func(source string) int {
		return d.post(bodyV1(t, series(d.clock.Now().Add(time.Hour), "__name__", "up")), by("g", source)).Code
	}
	d.say("a")
	for range 60 {
		d.clock.advance(time.Second)
		d.say("a")
		if code := ahead("b"); code != 202 {
			t.Fatalf("status %d", code)
		}
		d.tick()
	}
	d.current("g", "a")
	for _, s := range d.Sources(fsm.GroupID{Name: "g"}) {
		if s.Newest > d.clock.Now().UnixMilli() {
			t.Errorf("newest of %s is in the future", s.Name)
		}
	}
}

func TestReplayIsNotLag(t *testing.T) {
	d := newDesk(t)
	d.pass(time.Minute, map[string]int{"a": 1, "b": 1})
	// a was cut off for half an hour and sends it now, five minutes a second; b was not.
	lost := d.clock.Now()
	d.clock.advance(30 * time.Minute)
	for i := range 12 {
		d.clock.advance(time.Second)
		at := lost.Add(time.Duration(i) * 2 * time.Minute)
		d.post(bodyV1(t, series(at, "__name__", "up")), by("g", "a"))
		d.say("b")
		d.tick()
	}
	d.current("g", "a")
}

func TestLag(t *testing.T) {
	d := newDesk(t)
	d.pass(time.Minute, map[string]int{"a": 1, "b": 1})
	for range 4 * 60 { // from now on a sends what is older and older
		d.clock.advance(time.Second)
		at := d.clock.Now().Add(-2 * time.Minute)
		d.post(bodyV1(t, series(at, "__name__", "up", "at", at.String())), by("g", "a"))
		d.say("b")
		d.tick()
	}
	d.current("g", "b")
}

func TestRubbishIsNotElected(t *testing.T) {
	d := newDesk(t)
	if w := d.post([]byte("rubbish"), by("g", "a")); w.Code != 400 {
		t.Fatalf("status %d", w.Code)
	}
	d.tick()
	if _, _, elected := d.node.fsm.Current(fsm.GroupID{Name: "g"}); elected {
		t.Fatal("elected by rubbish")
	}
	if code := d.say("b"); code != 204 {
		t.Errorf("status %d: who sends rubbish must not stand in front of who does not", code)
	}
	d.current("g", "b")
}

func TestElectionsAreSingleFlight(t *testing.T) {
	d := newDesk(t)
	elections := make(chan struct{}, 100)
	release := make(chan struct{})
	d.node.before = func(entry []byte) error {
		if kind, _ := fsm.PeekKind(entry); kind == fsm.KindElect {
			elections <- struct{}{}
			<-release
		}
		return nil
	}
	codes := make(chan int, 16)
	for range cap(codes) {
		go func() { codes <- d.post(bodyV1(t, series(d.clock.Now(), "__name__", "up")), by("g", "a")).Code }()
	}
	<-elections
	close(release)
	for range cap(codes) {
		if code := <-codes; code != 204 {
			t.Errorf("status %d", code)
		}
	}
	if n := len(elections); n != 0 {
		t.Errorf("%d more elections", n)
	}
}

func TestElectionThatIsNotCommitted(t *testing.T) {
	d := newDesk(t)
	d.node.before = func([]byte) error { return errNotCommitted }
	if code := d.say("a"); code != 503 {
		t.Errorf("status %d", code)
	}
	d.node.before = nil
	if code := d.say("a"); code != 204 {
		t.Errorf("status %d", code)
	}
}

func TestElectionGivesUpWithTheRequest(t *testing.T) {
	d := newDesk(t)
	g, _, err := d.lead.arrive(arrival{id: fsm.GroupID{Name: "g"}, source: "a"}, d.options.Load(), d.clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	g.electing = make(chan struct{}) // one that never ends
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := d.elect(ctx, d.lead, g); err == nil {
		t.Error("no error")
	}
}

func TestStandbyIsLookedAtNowAndThen(t *testing.T) {
	d := newDesk(t)
	d.pass(61*time.Second, map[string]int{"a": 1, "b": 1})
	// Every five seconds of sixty, and once at the beginning.
	if n := int(counterValue(t, d.metrics.looks)); n < 12 || n > 14 {
		t.Errorf("%d looks at 60 requests", n)
	}
	for _, s := range d.Sources(fsm.GroupID{Name: "g"}) {
		if age := d.clock.Now().UnixMilli() - s.Newest; age < 0 || age > 5000 {
			t.Errorf("newest of %s is %d ms old", s.Name, age)
		}
		if s.State != map[string]string{"a": StateCurrent, "b": StateStandby}[s.Name] {
			t.Errorf("state of %s: %s", s.Name, s.State)
		}
		if !s.Covered || s.Coverage < 0.8 || s.Coverage > 1.2 {
			t.Errorf("coverage of %s: %v, %v", s.Name, s.Coverage, s.Covered)
		}
	}
	d.pass(30*time.Second, map[string]int{"a": 1})
	if s := d.Sources(fsm.GroupID{Name: "g"})[1]; s.State != StateSilent {
		t.Errorf("state of %s: %s", s.Name, s.State)
	}
}

func TestStandbyByLabels(t *testing.T) {
	d := newDesk(t)
	send := func(source string, labels ...string) int {
		s := series(d.clock.Now(), append([]string{"cluster", "g", "__replica__", source}, labels...)...)
		return d.post(bodyV1(t, s, s)).Code
	}
	if code := send("a", "__name__", "up"); code != 204 {
		t.Fatalf("status %d", code)
	}
	// Not validated: without a name it would be refused if it were its turn.
	if code := send("b", "x", "y"); code != 202 {
		t.Errorf("status %d", code)
	}
	d.clock.advance(time.Second)
	if code := send("b"); code != 202 {
		t.Errorf("status %d", code)
	}
	d.flush()
	g := d.group("g")
	if g.Standby.Requests != 2 || g.Standby.Kept != 2 || g.Standby.Bytes == 0 || g.Books.Received != 2 {
		t.Errorf("standby %+v, samples %+v", g.Standby, g.Books)
	}
}

func TestStandbysOfSeveralGroupsByLabels(t *testing.T) {
	d := newDesk(t)
	both := func(source string) int {
		return d.post(bodyV1(t,
			series(d.clock.Now(), "__name__", "up", "cluster", "g1", "__replica__", source),
			series(d.clock.Now(), "__name__", "up", "cluster", "g2", "__replica__", source))).Code
	}
	if both("a") != 204 || both("b") != 202 {
		t.Fatal("first a, then its standby")
	}
	d.clock.advance(time.Second)
	if code := both("b"); code != 202 { // no look is due: the short way
		t.Fatalf("status %d", code)
	}
	d.flush()
	for _, name := range []string{"g1", "g2"} {
		if got := d.group(name).Standby; got.Requests != 2 || got.Kept != 2 || got.Bytes == 0 {
			t.Errorf("standby books of %s: %+v", name, got)
		}
		for _, s := range d.Sources(fsm.GroupID{Name: name}) {
			if s.Newest == 0 {
				t.Errorf("nothing is known of %s in %s", s.Name, name)
			}
		}
	}
}

func TestStandby2HasItsCounts(t *testing.T) {
	for name, change := range map[string]func(*http.Request){"named": by("g", "b"), "by labels": func(*http.Request) {}} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			d.say("a")
			for range 3 {
				d.clock.advance(100 * time.Millisecond)
				w := d.post(encode(t, requestV2(d.clock.Now(), 4, "__replica__", "b", "cluster", "g")), asV2, change)
				d.expect(w, 202)
				writtenHeaders(t, w.Header(), "4", "1", "4")
			}
		})
	}
}

func TestStandbyBodyThatCannotBeReadIsRefusedWhenLookedAt(t *testing.T) {
	d := newDesk(t)
	d.say("a")
	if w := d.post([]byte("rubbish"), by("g", "b")); w.Code != 400 {
		t.Errorf("status %d", w.Code)
	}
}

func TestUnconfirmedStandby(t *testing.T) {
	d := newDesk(t)
	d.say("a")
	d.node.confirm = errNotCommitted
	if code := d.say("b"); code != 503 {
		t.Errorf("I2: status %d", code)
	}
	d.flush()
	if got := d.group("g").Standby; got.Requests != 0 {
		t.Errorf("I3: what is answered 503 was counted: %+v", got)
	}
}

func TestOutOfOrderIsShown(t *testing.T) {
	d := newDesk(t)
	at := d.clock.Now()
	send := func(at time.Time, labels ...string) {
		d.Helper()
		d.expect(d.post(bodyV1(t, series(at, append([]string{"__name__", "up"}, labels...)...)), by("g", "a")), 204)
	}
	send(at)
	send(at.Add(time.Second), "__replica__", "x") // the same series: this label does not count
	send(at, "job", "other")                      // another series may be late
	send(at.Add(2 * time.Second))
	if n := d.Sources(fsm.GroupID{Name: "g"})[0].OutOfOrder; n != 0 {
		t.Fatalf("%d out of order", n)
	}
	send(at.Add(1500 * time.Millisecond))
	send(at.Add(1600 * time.Millisecond))
	if n := d.Sources(fsm.GroupID{Name: "g"})[0].OutOfOrder; n != 2 {
		t.Errorf("%d out of order, want 2", n)
	}
	if n := strings.Count(d.logs.String(), "timestamps go backwards"); n != 1 {
		t.Errorf("warned %d times", n)
	}
	send(at.Add(1600 * time.Millisecond)) // a second copy of a request is not out of order
	if n := d.Sources(fsm.GroupID{Name: "g"})[0].OutOfOrder; n != 2 {
		t.Errorf("%d out of order, want 2", n)
	}
}

func TestWatchedSeriesAreBounded(t *testing.T) {
	var o order
	for i := range uint64(10 * watchedMax) {
		o.note(i, int64(i), int64(i))
	}
	if len(o.last) != watchedMax {
		t.Errorf("%d series are watched", len(o.last))
	}
}
