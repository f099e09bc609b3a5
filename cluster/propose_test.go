package cluster

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func counted(c prometheus.Collector) float64 { return testutil.ToFloat64(c) }

func TestProposeTellsTheResponseAndTheIndex(t *testing.T) {
	room := newRoom(t)
	boxes := startAll(room.boxes(3))
	room.undisturbed(boxes, func(leader *box, _ any) error {
		response, index, err := leader.node.Propose([]byte("hello"), patience).Wait(within(t))
		if err != nil || response != "applied hello" || index != leader.log.commands(t)["hello"] {
			return fmt.Errorf("%v, %d, %w", response, index, err)
		}
		follower := others(boxes, leader)[0]
		_, err = follower.propose("x")
		if !errors.Is(err, ErrNotLeader) || errors.Is(err, ErrUncertain) {
			return fmt.Errorf("on a follower: %w", err)
		}
		if err := follower.node.Confirm(within(t)); !errors.Is(err, ErrNotLeader) {
			return fmt.Errorf("confirm on a follower: %w", err)
		}
		return nil
	})
}

// L2: a leader cut off from its followers cannot know.
func TestLostLeadershipIsUncertain(t *testing.T) {
	room := newRoom(t)
	boxes := startAll(room.boxes(3))
	var leader *box
	var turn context.Context
	eventually(t, "a proposal that a leader takes after it was cut off", func() error {
		leader = room.whole(boxes...)
		room.fabric.isolate(leader.address)
		_, _, err := leader.node.Propose([]byte("lost?"), patience).Wait(within(t))
		switch {
		case errors.Is(err, ErrNotLeader): // it no longer led when it was cut off
			room.fabric.reconnect(leader.address)
			return err
		case !errors.Is(err, ErrUncertain):
			t.Errorf("outcome: %v", err)
		}
		for turn = <-leader.leads; len(leader.leads) > 0; {
			turn = <-leader.leads
		}
		return nil
	})
	<-turn.Done()
	if cause := context.Cause(turn); !errors.Is(cause, ErrLeadershipLost) {
		t.Errorf("the leader's context ended with %v", cause)
	}
	if err := leader.node.Lease(); !errors.Is(err, ErrNotLeader) {
		t.Errorf("lease of a deposed leader: %v", err)
	}
	if err := leader.node.Confirm(within(t)); !errors.Is(err, ErrNotLeader) {
		t.Errorf("confirm by a deposed leader: %v", err)
	}
	room.fill("after", 5, 5, others(boxes, leader)...)
	room.fabric.reconnect(leader.address)
	room.whole(boxes...)
	leader.caughtUp(t, room.leader(boxes...))
}

// leadsAgain lets another lead while a box is isolated, and then that box once more.
func (r *machineRoom) leadsAgain(leader *box, boxes ...*box) {
	r.t.Helper()
	r.leader(others(boxes, leader)...)
	r.fabric.reconnect(leader.address)
	r.whole(boxes...)
	r.lead(leader, boxes...)
}

// L3 (invariant I11): a leader that was deposed without noticing confirms nothing.
func TestDeposedLeaderConfirmsNothing(t *testing.T) {
	room := newRoom(t)
	boxes := startAll(room.boxes(3))
	leader, token := room.undisturbed(boxes, func(leader *box, turn any) error { return leader.node.ConfirmSince(within(t), turn) })
	room.fabric.isolate(leader.address)
	if err := leader.node.Confirm(within(t)); !errors.Is(err, ErrNotLeader) && !errors.Is(err, ErrUncertain) {
		t.Errorf("confirm by an isolated leader: %v", err)
	}
	room.leadsAgain(leader, boxes...)
	if err := leader.node.ConfirmSince(within(t), token); !errors.Is(err, ErrNotLeader) {
		t.Errorf("a verdict of an earlier turn was confirmed: %v", err)
	}
}

func TestConfirmIsShared(t *testing.T) {
	room := newRoom(t)
	one := room.box("n1").start()
	room.whole(one)
	before, _ := one.log.LastIndex()
	const callers = 500
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			if err := one.node.Confirm(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	after, _ := one.log.LastIndex()
	if spent := after - before; spent == 0 || spent > callers/2 {
		t.Errorf("%d callers cost %d entries", callers, spent)
	}
}

// A live entry confirms whoever asked before it, and no barrier is spent. On a slow machine a caller may have waited too long
// before the entry comes, so one try of many must do.
func TestLiveEntriesSpareBarriers(t *testing.T) {
	room := newRoom(t)
	one := room.box("n1").start()
	room.whole(one)
	for range 100 {
		before, _ := one.log.LastIndex()
		arrived := one.node.confirm.arrived.Load()
		done := make(chan error, 1)
		go func() { done <- one.node.Confirm(t.Context()) }()
		for one.node.confirm.arrived.Load() == arrived && t.Context().Err() == nil {
			runtime.Gosched()
		}
		time.Sleep(confirmGrace / 4) // the pause between two entries of live traffic
		if _, err := one.propose("live"); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if after, _ := one.log.LastIndex(); after == before+1 {
			return
		}
	}
	t.Error("a barrier was spent each time")
}

// A proposal that began before the question does not answer it; one that began after does.
func TestConfirmationIsByLaterEntriesOnly(t *testing.T) {
	var c confirmer
	turn := &leadership{ctx: t.Context()}
	idle := func() {}
	early := c.arrived.Load()
	first := c.join(turn, idle)
	between := c.arrived.Load()
	second := c.join(turn, idle)
	answered := func(w *confirmation) bool {
		select {
		case <-w.done: //nolint:errcheck // that there is one is the answer
			return true
		default:
			return false
		}
	}
	c.release(turn, early, nil)
	if answered(first) {
		t.Error("an earlier entry answered")
	}
	c.release(&leadership{ctx: t.Context()}, 99, nil)
	if answered(first) {
		t.Error("an entry of another turn answered")
	}
	c.release(turn, between, nil)
	if !answered(first) || answered(second) {
		t.Error("want the first answered, not the second")
	}
}

// L1: lead begins after everything earlier was applied, and turns never overlap.
func TestTurnsDoNotOverlap(t *testing.T) {
	room := newRoom(t)
	boxes := room.boxes(3)
	var mu sync.Mutex
	leading := make(map[string]int)
	turns := 0
	for _, b := range boxes {
		if err := b.open(); err != nil {
			t.Fatal(err)
		}
		b.ended = make(chan error, 1)
		go func() {
			b.ended <- b.node.Run(context.Background(), func(ctx context.Context) {
				mu.Lock()
				leading[b.name]++
				turns++
				if leading[b.name] > 1 {
					t.Errorf("%s leads %d times at once", b.name, leading[b.name])
				}
				mu.Unlock()
				if applied, earlier := b.ledger.now().Applied, b.log.before(b.node.leadership()); applied < earlier {
					t.Errorf("applied %d of %d when the turn began", applied, earlier)
				}
				<-ctx.Done()
				time.Sleep(20 * time.Millisecond) // work that takes a while to end
				mu.Lock()
				leading[b.name]--
				mu.Unlock()
			})
		}()
	}
	room.whole(boxes...)
	for i := range 4 {
		room.fill("a", 20, 10, boxes...)
		room.lead(others(boxes, room.leader(boxes...))[i%2], boxes...)
	}
	room.whole(boxes...)
	mu.Lock()
	defer mu.Unlock()
	if turns < 4 {
		t.Errorf("%d turns", turns)
	}
}

// An orderly stop of the leader costs no election timeout and no entry: another stands for election before it has ended. On a
// starved machine one handover may come to nothing, so one of several must do.
func TestShutdownHandsOver(t *testing.T) {
	room := newRoom(t)
	boxes := startAll(room.boxes(3))
	var acked []string
	handedOver := false
	for i := 0; i < 5 && !handedOver; i++ {
		leader := room.whole(boxes...)
		acked = append(acked, room.fill(fmt.Sprint("a", i), 50, 20, boxes...)...)
		term := leader.node.Stats().Term
		leader.stop()
		rest := others(boxes, leader)
		for _, b := range rest {
			handedOver = handedOver || b.node.Stats().Term > term
		}
		acked = append(acked, room.fill(fmt.Sprint("b", i), 5, 5, rest...)...)
		leader.start()
		next := room.whole(boxes...)
		leader.caughtUp(t, next)
		if lost := leader.missing(acked, nil); lost > 0 {
			t.Errorf("%d entries lost", lost)
		}
	}
	if !handedOver {
		t.Error("nobody stood for election while the leader stopped")
	}
}

// R5 (trap 5, invariant I13): a follower whose disk fails ends without rejecting anything, and nobody loses an
// entry; a leader whose disk fails makes room for another.
func TestBrokenDiskEndsTheNode(t *testing.T) {
	for _, who := range []string{"follower", "leader"} {
		t.Run(who, func(t *testing.T) {
			room := newRoom(t)
			var audit auditor
			boxes := room.boxes(3)
			broken := errors.New("input/output error")
			fatal := make(chan error, 3)
			for _, b := range boxes {
				audit.watch(b)
				watch := b.edit
				b.edit = func(o *Options) { watch(o); o.Fatal = func(err error) { fatal <- err } }
			}
			startAll(boxes)
			leader := room.whole(boxes...)
			victim := leader
			if who == "follower" {
				victim = others(boxes, leader)[0]
			}
			acked := room.fill("a", 50, 20, boxes...)
			victim.log.fail(broken)
			if err := room.nudge(fatal, boxes...); !errors.Is(err, broken) {
				t.Errorf("Fatal was told %v", err)
			}
			err := victim.result()
			if !errors.Is(err, broken) {
				t.Errorf("Run returned %v", err)
			}
			victim.gone()
			rest := others(boxes, victim)
			acked = append(acked, room.fill("b", 50, 20, rest...)...)
			for _, b := range rest {
				b.caughtUp(t, room.leader(rest...))
				if lost := b.missing(acked, nil); lost > 0 {
					t.Errorf("%s lacks %d entries", b.name, lost)
				}
			}
			if installs := audit.check(t); len(installs) > 0 {
				t.Errorf("snapshots sent: %v", installs)
			}
		})
	}
}

// Trap 11: a disk that hangs does not keep a node leader for ever.
func TestHangingDiskEndsTheNode(t *testing.T) {
	room := newRoom(t)
	boxes := room.boxes(3)
	fatal := make(chan error, 3)
	for _, b := range boxes {
		b.edit = func(o *Options) {
			o.StallTimeout = room.slow * 300 * time.Millisecond
			o.Fatal = func(err error) { fatal <- err }
		}
	}
	startAll(boxes)
	leader := room.whole(boxes...)
	stall := make(chan struct{})
	release := sync.OnceFunc(func() { close(stall) })
	t.Cleanup(release)
	leader.log.mu.Lock()
	leader.log.stall = stall
	leader.log.mu.Unlock()
	_ = room.nudge(fatal, boxes...)
	room.fill("after", 5, 5, others(boxes, leader)...)
	release()
	if leader.result() == nil {
		t.Error("Run returned nil")
	}
}

func TestMetricsPassTheLinter(t *testing.T) {
	room := newRoom(t)
	registry := prometheus.NewRegistry()
	one := room.box("n1")
	one.edit = func(o *Options) { o.Registerer = registry }
	one.start()
	room.whole(one)
	problems, err := testutil.GatherAndLint(registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == "highlander_raft_leader" && family.GetMetric()[0].GetGauge().GetValue() != 1 {
			t.Error("highlander_raft_leader is not 1")
		}
	}
}

func TestClassify(t *testing.T) {
	cases := []struct {
		err     error
		certain bool
	}{
		{raft.ErrNotLeader, true},
		{raft.ErrEnqueueTimeout, true},
		{raft.ErrLeadershipTransferInProgress, true},
		{raft.ErrLeadershipLost, false},
		{raft.ErrRaftShutdown, false},
		{errors.New("disk"), false},
		{context.DeadlineExceeded, false},
	}
	for _, test := range cases {
		got := classify(test.err)
		if errors.Is(got, ErrNotLeader) != test.certain || errors.Is(got, ErrUncertain) == test.certain || !errors.Is(got, test.err) {
			t.Errorf("%v is classified as %v", test.err, got)
		}
	}
	if classify(nil) != nil {
		t.Error("success is an error")
	}
}

func BenchmarkPropose(b *testing.B) {
	dir, err := OpenDir(b.TempDir(), "n1", false)
	if err != nil {
		b.Fatal(err)
	}
	defer dir.Close()
	node, err := Open(b.Context(), Options{Dir: dir, BindAddress: "127.0.0.1:0", Log: newMemoryLog(), FSM: &ledger{}, HeartbeatTimeout: 100 * time.Millisecond})
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- node.Run(context.Background(), nil) }()
	for !node.IsLeader() {
		time.Sleep(time.Millisecond)
	}
	entry := make([]byte, 10<<10)
	b.SetBytes(int64(len(entry)))
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, _, err := node.Propose(entry, time.Second).Wait(context.Background()); err != nil {
				b.Error(err)
			}
		}
	})
	b.StopTimer()
	if err := errors.Join(node.Shutdown(context.Background()), <-done); err != nil {
		b.Error(fmt.Errorf("shutdown: %w", err))
	}
}

// L4: a leader that was deposed without noticing finds out by asking, and asking writes nothing.
func TestStillLeads(t *testing.T) {
	room := newRoom(t)
	boxes := startAll(room.boxes(3))
	leader, turn := room.undisturbed(boxes, func(leader *box, turn any) error {
		before, _ := leader.log.LastIndex()
		if err := leader.node.StillLeads(within(t), turn); err != nil {
			return err
		}
		if after, _ := leader.log.LastIndex(); after != before {
			return fmt.Errorf("the question cost %d entries", after-before)
		}
		follower := others(boxes, leader)[0]
		if err := follower.node.StillLeads(within(t), follower.node.Leadership()); !errors.Is(err, ErrNotLeader) {
			return fmt.Errorf("a follower: %w", err)
		}
		return nil
	})
	room.fabric.isolate(leader.address)
	if err := leader.node.StillLeads(within(t), turn); !errors.Is(err, ErrNotLeader) {
		t.Errorf("an isolated leader: %v", err)
	}
	room.leadsAgain(leader, boxes...)
	if err := leader.node.StillLeads(within(t), turn); !errors.Is(err, ErrNotLeader) {
		t.Errorf("an earlier turn: %v", err)
	}
}

// L4 holds although Raft's word that the leader was deposed has not been heard yet: a later leader's term is not the turn's.
func TestStillLeadsBeforeTheLossIsHeard(t *testing.T) {
	room := newRoom(t)
	boxes := startAll(room.boxes(3))
	leader := room.whole(boxes...)
	inst := leader.node.current.Load()
	first := inst.raft.CurrentTerm()
	other := others(boxes, leader)[0]
	if err := leader.node.TransferLeadership(within(t), other.name); err != nil {
		t.Fatal(err)
	}
	room.leader(other)
	if err := other.node.TransferLeadership(within(t), leader.name); err != nil {
		t.Fatal(err)
	}
	room.leader(leader)
	real := inst.leading.Load()
	late := &leadership{ctx: context.Background(), term: first, done: make(chan struct{})} // of the first term
	inst.leading.Store(late)
	defer inst.leading.Store(real)
	if err := leader.node.StillLeads(within(t), late); !errors.Is(err, ErrNotLeader) {
		t.Errorf("another node has led since: %v", err)
	}
}
