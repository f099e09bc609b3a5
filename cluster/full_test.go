package cluster

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/raft"
)

// errFull is what a full disk is told with.
var errFull = errors.New("the disk is full")

// tank is the room of a node's log. What is stored takes it away, as on a disk on which somebody else has the rest.
type tank struct {
	mu     sync.Mutex
	short  bool // without it there is always room
	left   int
	asked  int          // how often a candidacy was refused
	turned atomic.Int64 // how often a leader's entries were turned away
}

const (
	tankReserve = 2000 // left for changes of members
	tankFrame   = 48
)

// fit gives a box a tank.
func (b *box) fit() *tank {
	k := &tank{}
	b.edit = func(o *Options) {
		o.Room = func(entries []*raft.Log) error {
			err := k.take(entries, 0)
			if err != nil {
				k.turned.Add(1)
			}
			return err
		}
		o.Afford = func(entries []*raft.Log) error {
			leave := tankReserve
			if entries[0].Type == raft.LogConfiguration {
				leave = 0
			}
			return k.take(entries, leave)
		}
		o.MayLead = func() error {
			k.mu.Lock()
			defer k.mu.Unlock()
			if k.short && k.left < tankReserve+2*tankFrame {
				k.asked++
				return errFull
			}
			return nil
		}
	}
	return k
}

// tanked starts three boxes with a tank each.
func (r *machineRoom) tanked() (boxes []*box, tanks map[*box]*tank) {
	boxes, tanks = r.boxes(3), map[*box]*tank{}
	for _, b := range boxes {
		tanks[b] = b.fit()
	}
	startAll(boxes)
	return boxes, tanks
}

func (k *tank) take(entries []*raft.Log, leave int) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.short {
		return nil
	}
	left := k.left
	for _, l := range entries {
		left -= tankFrame + len(l.Data)
	}
	if left < leave {
		return errFull
	}
	k.left = left
	return nil
}

func (k *tank) set(short bool, left int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.short, k.left, k.asked = short, left, 0
	k.turned.Store(0)
}

func (k *tank) refusals() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.asked
}

// unwritten is a batch that no log may ever hold.
const unwritten = "unwritten"

// refused proposes a batch that a leader has no room for. It must be told that it certainly was not committed. An error says
// that the node had lost its leadership for another reason.
func refused(t *testing.T, leader *box) error {
	t.Helper()
	_, err := leader.propose(unwritten)
	switch {
	case errors.Is(err, ErrNotLeader) && errors.Is(err, ErrNoRoom):
		return nil
	case errors.Is(err, ErrNotLeader):
		return err
	}
	t.Fatalf("a leader without room answered %v", err)
	return nil
}

func nowhere(t *testing.T, text string, boxes ...*box) {
	t.Helper()
	for _, b := range boxes {
		if _, held := b.log.commands(t)[text]; held {
			t.Errorf("%s holds what was refused", b.name)
		}
	}
}

// A leader that runs out of room gives leadership up and lives on: the others go on without it, it follows as far as it
// can and votes, it does not lead again, and it has everything once there is room.
func TestFullLeaderStepsDown(t *testing.T) {
	room := newRoom(t)
	boxes, tanks := room.tanked()
	acked := room.fill("before", 5, 10, boxes...)
	var full *box
	eventually(t, "a leader that runs out of room", func() error {
		full = room.whole(boxes...)
		tanks[full].set(true, tankReserve+40)
		err := refused(t, full)
		if err != nil {
			tanks[full].set(false, 0)
		}
		return err
	})
	turns, rest := len(full.leads), others(boxes, full)
	room.leader(rest...)
	acked = append(acked, room.fill("without", 50, 1000, rest...)...)

	// One of the others goes for good, again and again: what it takes to elect the last one is this node's vote.
	for range 3 {
		old := room.leader(rest...)
		old.stop()
		eventually(t, "a leader by its vote", func() error {
			inst := others(rest, old)[0].node.current.Load()
			if inst.raft.State() != raft.Leader {
				return errors.New(inst.raft.State().String())
			}
			return nil
		})
		old.start()
		room.leader(rest...)
		acked = append(acked, room.fill("between", 3, 10, rest...)...)
	}
	if len(full.leads) > turns {
		t.Error("it has led again")
	}
	if leaderOf(full) != nil || tanks[full].turned.Load() == 0 {
		t.Error("a full node leads, or took what it has no room for")
	}
	tanks[full].set(false, 0)
	full.caughtUp(t, room.leader(rest...))
	if n := full.missing(acked, nil); n > 0 {
		t.Errorf("%d acknowledged batches are missing", n)
	}
	nowhere(t, unwritten, boxes...)
}

// A node without company waits, alive, and leads by itself when there is room. Snapshots, which make room, go on meanwhile.
func TestFullStandaloneWaits(t *testing.T) {
	room := newRoom(t)
	b := room.box("n1")
	k := b.fit()
	b.start()
	room.leader(b)
	acked := room.fill("before", 5, 10, b)
	first := <-b.leads
	k.set(true, tankReserve)
	if err := refused(t, b); err != nil {
		t.Fatal(err)
	}
	<-first.Done()
	term := b.node.Stats().Term
	eventually(t, "several attempts to lead", func() error {
		if s := b.node.Stats(); s.Term < term+3 {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	if b.node.IsLeader() || len(b.leads) > 0 {
		t.Error("it leads without room")
	}
	if _, err := b.propose("during"); !errors.Is(err, ErrNotLeader) {
		t.Errorf("a node that waits answered %v", err)
	}
	b.node.Compact()
	eventually(t, "a snapshot", func() error {
		if b.node.Stats().Snapshots == 0 {
			return errors.New("none")
		}
		return nil
	})
	k.set(false, 0)
	room.leader(b)
	acked = append(acked, room.fill("after", 5, 10, b)...)
	if n := b.missing(acked, nil); n > 0 {
		t.Errorf("%d acknowledged batches are missing", n)
	}
	nowhere(t, unwritten, b)
	nowhere(t, "during", b)
}

// With no room anywhere nobody asks for votes, so that no term is spent on waiting; one node with room leads again, and
// with a second one the cluster goes on.
func TestNobodyStandsWithoutRoom(t *testing.T) {
	room := newRoom(t)
	boxes, tanks := room.tanked()
	leader := room.whole(boxes...)
	acked := room.fill("before", 5, 10, boxes...)
	for _, k := range tanks {
		k.set(true, 10)
	}
	if err := refused(t, leader); err != nil {
		t.Logf("the leader had lost its leadership already: %v", err)
	}
	asked := func(n int) {
		eventually(t, "candidacies without room", func() error {
			for b, k := range tanks {
				if k.refusals() < n {
					return fmt.Errorf("%d of %s", k.refusals(), b.name)
				}
			}
			return nil
		})
	}
	asked(2)
	terms := func() (list [3]uint64) {
		for i, b := range boxes {
			list[i] = b.node.Stats().Term
		}
		return list
	}
	before := terms()
	asked(8)
	if after := terms(); after != before {
		t.Errorf("the terms went from %v to %v", before, after)
	}
	if leaderOf(boxes...) != nil {
		t.Error("somebody leads")
	}
	tanks[boxes[0]].set(false, 0)
	eventually(t, "the node with room to lead", func() error {
		if state := boxes[0].node.current.Load().raft.State(); state != raft.Leader {
			return errors.New(state.String())
		}
		return nil
	})
	tanks[boxes[1]].set(false, 0)
	acked = append(acked, room.fill("after", 20, 100, boxes...)...)
	tanks[boxes[2]].set(false, 0)
	for _, b := range boxes {
		b.caughtUp(t, room.leader(boxes...))
		if n := b.missing(acked, nil); n > 0 {
			t.Errorf("%s misses %d acknowledged batches", b.name, n)
		}
	}
}

// Raft takes a change of members for made even if it could not store it. So it is not begun without room for it, and what
// it needs is left to it by everything else.
func TestMembersChangeOnlyWithRoom(t *testing.T) {
	room := newRoom(t)
	boxes, tanks := room.tanked()
	var leader *box
	var request changeRequest
	eventually(t, "a leader that refuses to change the members", func() error {
		leader = room.whole(boxes...)
		tanks[leader].set(true, tankReserve+tankFrame) // it leads on, as long as there is nothing to write
		request = changeRequest{Op: opRemove, Node: others(boxes, leader)[0].name, Force: true}
		err := leader.node.execute(t.Context(), request)
		switch {
		case errors.Is(err, ErrNoRoom):
			return nil
		case !errors.Is(err, errElsewhere):
			t.Fatalf("a change of members without room: %v", err)
		}
		tanks[leader].set(false, 0)
		return err
	})
	if n := len(leader.node.servers()); n != 3 {
		t.Errorf("%d members are left", n)
	}
	tanks[leader].set(true, tankReserve+3*tankFrame)
	if err := leader.node.execute(t.Context(), request); err != nil {
		t.Errorf("a change of members that has room: %v", err)
	}
	if n := len(leader.node.servers()); n != 2 {
		t.Errorf("%d members are left", n)
	}
}

// The last line: one that cannot be stored all the same ends the node, which would count votes by it.
func TestMembersThatCannotBeStored(t *testing.T) {
	b := newBench(t)
	b.leads = func() bool { return true }
	b.afford = func([]*raft.Log) error { return errFull }
	if err := b.StoreLogs([]*raft.Log{{Index: 1, Term: 1}}); !errors.Is(err, ErrNoRoom) || len(b.fatal) != 0 {
		t.Errorf("a leader's entry without room: %v, fatal %v", err, b.fatal)
	}
	err := b.StoreLogs([]*raft.Log{{Index: 1, Term: 1}, {Index: 2, Term: 1, Type: raft.LogConfiguration}})
	if !errors.Is(err, ErrNoRoom) || len(b.fatal) != 1 {
		t.Errorf("a change of members without room: %v, fatal %v", err, b.fatal)
	}
	if got := b.log.end(); got != [2]uint64{} {
		t.Errorf("the log holds %v", got)
	}
}
