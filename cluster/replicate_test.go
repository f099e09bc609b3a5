package cluster

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/raft"
)

// inspector watches what leaves a node through Raft's transport.
type inspector struct {
	*transport
	onInstall func(*raft.InstallSnapshotRequest)
}

func (i *inspector) InstallSnapshot(id raft.ServerID, to raft.ServerAddress, request *raft.InstallSnapshotRequest, response *raft.InstallSnapshotResponse, data io.Reader) error {
	i.onInstall(request)
	return i.transport.InstallSnapshot(id, to, request, response, data)
}

// auditor asserts R2 and R3 on every node of a room, and counts.
type auditor struct {
	mu       sync.Mutex
	installs map[string]int
	wrong    []string
}

func (a *auditor) watch(b *box) {
	b.edit = func(o *Options) {
		floor := b.ledger.floor
		o.SnapshotBytes = 2 << 10
		o.seams.trailing = 1
		o.seams.wrapTransport = func(t raft.Transport) raft.Transport {
			return &inspector{transport: t.(*transport), onInstall: func(r *raft.InstallSnapshotRequest) {
				a.note(b.name, r.LastLogIndex >= floor(), fmt.Sprintf("%s sent a snapshot up to %d, its floor is %d", b.name, r.LastLogIndex, floor()))
			}}
		}
		b.log.onTrim = func(lowest, highest, last uint64) {
			if highest < last && highest >= floor() {
				a.note("", true, fmt.Sprintf("%s deleted %d to %d, its floor is %d", b.name, lowest, highest, floor()))
			}
		}
	}
}

func (a *auditor) note(installedBy string, wrong bool, text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.installs == nil {
		a.installs = make(map[string]int)
	}
	if installedBy != "" {
		a.installs[installedBy]++
	}
	if wrong {
		a.wrong = append(a.wrong, text)
	}
}

func (a *auditor) sent(by string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.installs[by]
}

func (a *auditor) check(t *testing.T) map[string]int {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, text := range a.wrong {
		t.Error(text)
	}
	return a.installs
}

// backlog makes a cluster whose leader's log has a drained, compacted part and an undrained rest.
func (r *machineRoom) backlog(boxes ...*box) (acked []string) {
	r.t.Helper()
	eventually(r.t, "a base", func() error {
		r.fill("drained", 50, 100, boxes...)
		leader := r.leader(boxes...)
		if _, err := leader.propose(fmt.Sprintf("cursor:%d", leader.ledger.now().Applied)); err != nil {
			return err
		}
		if s := leader.node.Stats(); s.BaseIndex < 20 {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	for i := range 5 {
		acked = append(acked, r.fill(fmt.Sprintf("kept%d", i), 60, 100, boxes...)...)
	}
	eventually(r.t, "compaction", func() error {
		if first, _ := r.leader(boxes...).log.FirstIndex(); first < 20 {
			return fmt.Errorf("log begins at %d", first)
		}
		return nil
	})
	return acked
}

// R2, R3: a node that joins while there is a backlog gets every entry of it, from a leader that has compacted
// its log, and can itself bring up the next (traps 1, 2, 3).
func TestJoinersGetTheWholeBacklog(t *testing.T) {
	room := newRoom(t)
	var audit auditor
	one := room.box("n1", "n1.test:6746", "n2.test:6746", "n3.test:6746")
	one.join = nil
	two := room.box("n2", "n1.test:6746", "n2.test:6746", "n3.test:6746")
	three := room.box("n3", "n1.test:6746", "n2.test:6746", "n3.test:6746")
	for _, b := range []*box{one, two, three} {
		audit.watch(b)
	}
	one.start()
	room.whole(one)
	acked := room.backlog(one)

	two.start()
	acked = append(acked, room.fill("during", 50, 100, one, two)...)
	room.whole(one, two)
	two.caughtUp(t, one)
	if lost := two.missing(acked, nil); lost > 0 {
		t.Errorf("the first joiner lacks %d of %d entries", lost, len(acked))
	}
	eventually(t, "a joiner that n2 brings up alone", func() error {
		room.lead(two, one, two)
		turn, before := two.node.Leadership(), audit.sent("n2")
		three.start()
		acked = append(acked, room.fill("later", 50, 100, one, two)...)
		room.whole(one, two, three)
		three.caughtUp(t, two)
		if lost := three.missing(acked, nil); lost > 0 {
			t.Errorf("the second joiner lacks %d of %d entries", lost, len(acked))
		}
		if turn == nil || turn != two.node.Leadership() {
			three.kill()
			three.wipe()
			audit.watch(three)
			return errors.New("n2 did not lead throughout")
		}
		if sent := audit.sent("n2") - before; sent == 0 || sent > 3 {
			t.Errorf("n2 sent %d snapshots", sent)
		}
		return nil
	})
	if installs := audit.check(t); installs["n1"] == 0 {
		t.Errorf("snapshots sent: %v", installs)
	}
}

// Control: with the rules of raft's own stores the same joiner misses entries. If this fails, the test above
// proves nothing.
func TestControlStockStoresLoseTheBacklog(t *testing.T) {
	room := newRoom(t)
	one := room.box("n1")
	two := room.box("n2", "n1.test:6746", "n2.test:6746")
	for _, b := range []*box{one, two} {
		b.edit = func(o *Options) {
			o.SnapshotBytes, o.seams.trailing, o.seams.stockStores = 2<<10, 1, true
		}
	}
	one.start()
	room.whole(one)
	acked := room.backlog(one)
	two.start()
	room.whole(one, two)
	if two.missing(acked, nil) == 0 {
		t.Error("nothing was lost")
	}
}

// The log shrinks when the floor moves, also when no new snapshot is due.
func TestLogShrinksWithTheFloor(t *testing.T) {
	room := newRoom(t)
	var audit auditor
	one := room.box("n1")
	audit.watch(one)
	one.start()
	room.whole(one)
	room.fill("a", 30, 100, one)
	if first, _ := one.log.FirstIndex(); first != 1 {
		t.Fatalf("undrained entries are gone: log begins at %d", first)
	}
	eventually(t, "a snapshot", func() error {
		if s := one.node.Stats(); s.Snapshots == 0 {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	room.fill("b", 5, 5, one) // above every snapshot; too little for another
	if _, err := one.propose(fmt.Sprintf("cursor:%d", one.ledger.now().Applied)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "shrinking", func() error {
		first, _ := one.log.FirstIndex()
		if s := one.node.Stats(); first < 2 || first != min(s.BaseIndex, s.LastIndex) {
			return fmt.Errorf("log begins at %d; %+v", first, s)
		}
		return nil
	})
	audit.check(t)
}

// A restart replays from the newest snapshot, not from the base (trap 13, invariant I10).
func TestRestartReplaysLittle(t *testing.T) {
	room := newRoom(t)
	one := room.box("n1")
	one.edit = func(o *Options) { o.SnapshotBytes = 2 << 10 }
	one.start()
	room.whole(one)
	acked := room.fill("a", 300, 100, one)
	eventually(t, "snapshots", func() error {
		unsaved := one.node.current.Load().machine.unsaved.Load()
		if s := one.node.Stats(); s.Snapshots == 0 || s.BaseIndex != 0 || unsaved >= 2<<10 {
			return fmt.Errorf("%+v, %d bytes applied since", s, unsaved)
		}
		return nil
	})
	before := one.ledger.now()
	one.stop()
	counter := &countingMachine{}
	one.edit = func(o *Options) { o.SnapshotBytes = 2 << 10; counter.FSM = o.FSM; o.FSM = counter }
	one.start()
	room.whole(one)
	eventually(t, "state", func() error {
		if got := one.ledger.now(); got != before {
			return fmt.Errorf("%+v, want %+v", got, before)
		}
		return nil
	})
	if n := counter.count(); n > 40 { // 2 KiB of entries, and what a snapshot overlaps
		t.Errorf("%d entries were applied again", n)
	}
	if lost := one.missing(acked, nil); lost > 0 {
		t.Errorf("%d entries lost", lost)
	}
}

type countingMachine struct {
	raft.FSM
	mu sync.Mutex
	n  int
}

func (c *countingMachine) Apply(entry *raft.Log) any {
	c.mu.Lock()
	c.n++
	c.mu.Unlock()
	return c.FSM.Apply(entry)
}

func (c *countingMachine) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// wipedVoter is the worst trap: C is away while A and B acknowledge, B's disk is lost, B comes back empty, A is
// away, C comes back and asks B for its vote until asked says that this has gone on long enough. Then A comes
// back. The result is what A or C lacks of what was acknowledged. impostor is B's old UUID once B is empty.
func wipedVoter(t *testing.T, examine func(g greeting, own Identity, impostor string) string, asked func(c *box) error) (lost int) {
	room := newRoom(t)
	var impostor atomic.Value
	impostor.Store("")
	room.edit = func(o *Options) {
		o.seams.examine = func(g greeting, own Identity) string { return examine(g, own, impostor.Load().(string)) }
	}
	boxes := startAll(room.boxes(3))
	room.whole(boxes...)
	a, b, c := boxes[0], boxes[1], boxes[2]
	room.lead(a, boxes...)
	room.fabric.isolate(c.address)
	acked := room.fill("a", 200, 20, a, b)
	impostor.Store(b.node.UUID())
	b.kill()
	b.wipe()
	room.fabric.isolate(a.address)
	b.start()
	room.fabric.reconnect(c.address)
	eventually(t, "C asks B for its vote", func() error { return asked(c) })
	room.fabric.reconnect(a.address)
	eventually(t, "A and C hold the same log", func() error {
		leader := leaderOf(boxes...)
		if leader == nil {
			return errors.New("nobody leads")
		}
		for _, x := range []*box{a, c} {
			if got, want := x.log.end(), leader.log.end(); got != want || x.node.Ready() != nil {
				return fmt.Errorf("%s ends at %v, the leader at %v; %v", x.name, got, want, x.node.Ready())
			}
		}
		return nil
	})
	return max(a.missing(acked, nil), c.missing(acked, nil))
}

// I1, I3: C asks for several elections, gets no vote, and nothing is lost.
func TestWipedVoterElectsNobody(t *testing.T) {
	var refused atomic.Int64
	count := func(g greeting, own Identity, _ string) string {
		reason := examine(g, own)
		if g.Stream == streamRaft && reason != "" {
			refused.Add(1)
		}
		return reason
	}
	lost := wipedVoter(t, count, func(c *box) error {
		if c.node.IsLeader() {
			t.Error("C was elected")
		}
		if n := refused.Load(); n < 30 {
			return fmt.Errorf("%d connections refused", n)
		}
		return nil
	})
	if lost > 0 {
		t.Errorf("%d acknowledged entries lost", lost)
	}
}

// Control: if B's empty disk answers to its old identity, the same story loses them.
func TestControlWipedVoterWithoutHandshake(t *testing.T) {
	mistaken := func(g greeting, own Identity, impostor string) string {
		if g.Stream == streamRaft && g.Target == impostor && own.Name == "n2" && own.UUID != impostor {
			return ""
		}
		return examine(g, own)
	}
	lost := wipedVoter(t, mistaken, func(c *box) error {
		_, err := c.propose("usurper")
		return err
	})
	if lost == 0 {
		t.Error("nothing was lost")
	}
}

// Invariant I6: equal states after a direct run, a restart, and a join.
func TestStatesAreEqualHoweverTheyCameAbout(t *testing.T) {
	room := newRoom(t)
	boxes := room.boxes(3)
	for _, b := range boxes {
		b.edit = func(o *Options) { o.SnapshotBytes = 4 << 10 }
		b.start()
	}
	leader := room.whole(boxes...)
	room.fill("a", 200, 50, boxes...)
	for _, b := range boxes {
		if b != leader {
			b.stop()
			room.fill("b"+b.name, 50, 50, boxes...)
			b.start()
			b.caughtUp(t, leader)
		}
	}
	room.whole(boxes...)
	for _, b := range boxes {
		b.caughtUp(t, leader)
	}
}
