package cluster

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
)

func startAll(boxes []*box) []*box {
	for _, b := range boxes {
		b.start()
	}
	return boxes
}

func others(all []*box, not ...*box) []*box {
	return slices.DeleteFunc(slices.Clone(all), func(b *box) bool { return slices.Contains(not, b) })
}

// A machine whose disk was lost starts again with the same configuration and takes its old place, also when
// it led.
func TestReplacedNodeTakesItsOldPlace(t *testing.T) {
	room := newRoom(t)
	boxes := startAll(room.boxes(3))
	lost := room.whole(boxes...)
	acked := room.fill("a", 100, 20, boxes...)
	old := lost.node.UUID()
	lost.kill()
	rest := others(boxes, lost)
	acked = append(acked, room.fill("b", 100, 20, rest...)...)
	lost.wipe()
	lost.start()
	leader := room.whole(boxes...)
	lost.caughtUp(t, leader)
	if lost.node.UUID() == old {
		t.Error("the new disk has the old identity")
	}
	if missing := lost.missing(acked, nil); missing > 0 {
		t.Errorf("%d entries missing", missing)
	}
}

func TestReplacementGoesOnUnderANewLeader(t *testing.T) {
	room := newRoom(t)
	boxes := startAll(room.boxes(3))
	leader := room.whole(boxes...)
	lost := others(boxes, leader)[0]
	lost.kill()
	lost.wipe()
	lost.start()
	eventually(t, "the newcomer is known", func() error {
		if _, ok := findServer(leader.node.servers(), lost.node.UUID()); !ok {
			return errors.New("not yet")
		}
		return nil
	})
	_ = leader.node.TransferLeadership(within(t), "") // whether it comes before or after the last step
	room.whole(boxes...)
}

// A newcomer under a name that is in use is refused while the old one lives, and the old one goes on.
func TestTwoLiveNodesOfOneName(t *testing.T) {
	room := newRoom(t)
	boxes := startAll(room.boxes(3))
	leader := room.whole(boxes...)
	twin := room.box("n2", boxes[0].join...)
	twin.address = "twin.test:6746"
	twin.start()
	eventually(t, "refusal", func() error {
		if why := twin.node.Ready(); !strings.Contains(why.Error(), "is alive") {
			return why
		}
		return nil
	})
	if n := len(leader.node.servers()); n != 3 {
		t.Errorf("%d members", n)
	}
	room.fill("a", 10, 10, boxes...)
}

func TestLeave(t *testing.T) {
	room := newRoom(t)
	boxes := startAll(room.boxes(3))
	leader := room.whole(boxes...)
	acked := room.fill("a", 50, 20, boxes...)
	if err := leader.node.Leave(within(t)); err != nil {
		t.Fatal(err)
	}
	leader.gone()
	if err := leader.result(); !errors.Is(err, ErrLeft) {
		t.Errorf("Run returned %v", err)
	}
	leader.ended = nil
	if err := leader.open(); !errors.Is(err, ErrLeft) || !strings.Contains(err.Error(), "cluster.rejoin") {
		t.Errorf("the directory was opened again: %v", err)
	}
	rest := others(boxes, leader)
	next := room.whole(rest...)
	if missing := next.missing(acked, nil); missing > 0 {
		t.Errorf("%d entries missing", missing)
	}
	leader.rejoin = true
	leader.start()
	room.whole(boxes...)
}

func TestLastNodeDoesNotLeave(t *testing.T) {
	room := newRoom(t)
	one := room.box("n1").start()
	room.whole(one)
	if err := one.node.Leave(within(t)); !errors.Is(err, ErrRefused) {
		t.Errorf("leave: %v", err)
	}
	room.fill("a", 1, 1, one)
}

func TestRemove(t *testing.T) {
	room := newRoom(t)
	boxes := startAll(room.boxes(3))
	leader := room.whole(boxes...)
	follower := others(boxes, leader)[0]
	victim := others(boxes, leader, follower)[0]
	err := follower.node.Remove(within(t), "n7", false)
	if !errors.Is(err, ErrUnknownNode) || !strings.Contains(err.Error(), "n1, n2, n3") {
		t.Errorf("unknown name: %v", err)
	}
	if err := follower.node.Remove(within(t), victim.name, false); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "alive") {
		t.Errorf("a live node: %v", err)
	}
	victim.kill()
	if err := follower.node.Remove(within(t), victim.dir.Identity().UUID, false); err != nil {
		t.Errorf("a lost node: %v", err)
	}
	room.whole(leader, follower)
}

// A node that the others removed while it was away finds out, ends, and does not come back.
func TestForcedRemovalOfALiveNode(t *testing.T) {
	room := newRoom(t)
	boxes := startAll(room.boxes(3))
	leader := room.whole(boxes...)
	if err := leader.node.Remove(within(t), leader.name, true); err != nil { // of the leader itself
		t.Fatal(err)
	}
	err := leader.result()
	if !errors.Is(err, ErrRemoved) {
		t.Errorf("Run returned %v", err)
	}
	leader.gone()
	if err := leader.open(); !errors.Is(err, ErrLeft) {
		t.Errorf("the directory was opened again: %v", err)
	}
	room.whole(others(boxes, leader)...)
}

func TestRemovalThatCostsTheMajorityNeedsForce(t *testing.T) {
	room := newRoom(t)
	boxes := room.boxes(2)
	boxes = startAll(boxes)
	leader := room.whole(boxes...)
	// Of two nodes, both are needed: the other one is alive, and the rest would be a majority of one.
	other := others(boxes, leader)[0]
	if err := leader.node.Remove(within(t), other.name, false); !errors.Is(err, ErrRefused) {
		t.Errorf("remove: %v", err)
	}
	if err := leader.node.Remove(within(t), other.name, true); err != nil {
		t.Errorf("forced: %v", err)
	}
	room.whole(leader)
}

func TestTransferLeadership(t *testing.T) {
	room := newRoom(t)
	boxes := startAll(room.boxes(3))
	leader := room.whole(boxes...)
	for range 2 {
		next := others(boxes, leader)[0]
		if err := others(boxes, next)[0].node.TransferLeadership(within(t), next.name); err != nil {
			t.Fatal(err)
		}
		room.lead(next, boxes...)
		leader = next
	}
	err := leader.node.TransferLeadership(within(t), "nobody")
	if !errors.Is(err, ErrUnknownNode) || !strings.Contains(err.Error(), "n1, n2, n3") {
		t.Errorf("transfer to nobody: %v", err)
	}
	if err := leader.node.TransferLeadership(within(t), leader.name); err != nil {
		t.Errorf("transfer to the leader: %v", err)
	}
}

// A standalone node grows to three at run time; the joiners leave their own clusters of one.
func TestJoinAtRunTime(t *testing.T) {
	room := newRoom(t)
	one := room.box("n1").start()
	room.whole(one)
	acked := room.fill("a", 50, 20, one)
	two, three := room.box("n2").start(), room.box("n3").start()
	room.whole(two)
	room.whole(three)
	own := two.node.UUID()
	two.joins(t, one)
	three.joins(t, two) // by way of a follower
	leader := room.whole(one, two, three)
	if two.node.UUID() == own {
		t.Error("a node that was reset kept its identity")
	}
	for _, b := range []*box{two, three} {
		b.caughtUp(t, leader)
		if missing := b.missing(acked, nil); missing > 0 {
			t.Errorf("%s lacks %d entries", b.name, missing)
		}
	}
	two.stop()
	two.start()
	room.whole(one, two, three)
}

// joins asks again while a starved node lets the time for a handshake pass.
func (b *box) joins(t *testing.T, via *box) {
	t.Helper()
	eventually(t, b.name+" to join", func() error {
		err := b.node.Join(within(t), via.address)
		if err != nil && !strings.Contains(err.Error(), "no node answers") {
			t.Fatal(err)
		}
		return err
	})
}

func TestJoinIsRefused(t *testing.T) {
	room := newRoom(t)
	one := room.box("n1").start()
	room.whole(one)
	joiner := room.box("n2").start()
	room.whole(joiner)
	empty := room.box("n3", "n3.test:6746", "n4.test:6746").start()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("SSH-2.0-OpenSSH_9.2 and so on, a different kind of server altogether\r\n"))
			conn.Close()
		}
	}()
	room.fabric.place("ssh.test:22", listener.Addr().String())
	twin := room.box("n1")
	twin.address = "twin.test:6746"
	twin.start()
	room.whole(twin)

	cases := []struct {
		who  *box
		to   string
		want string
	}{
		{joiner, "nowhere.test:1", "no node answers at nowhere.test:1"},
		{joiner, "ssh.test:22", "not a highlander cluster port"},
		{joiner, joiner.address, "is this node itself"},
		{joiner, empty.address, "belongs to no cluster yet"},
		{twin, one.address, "is alive"},
	}
	for _, test := range cases {
		err := test.who.node.Join(within(t), test.to)
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s joins %s: %v, want %q", test.who.name, test.to, err, test.want)
		}
	}
	acked := room.fill("mine", 10, 10, joiner)
	if err := joiner.node.Join(within(t), one.address); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "holds batches") {
		t.Errorf("a node with batches: %v", err)
	}
	if lost := joiner.missing(acked, nil); lost > 0 {
		t.Errorf("the refused join cost %d entries", lost)
	}
}

// A join from one cluster of several to another is refused; so is a node of another cluster at a member's
// address.
func TestMembersOfAnotherCluster(t *testing.T) {
	room := newRoom(t)
	boxes := startAll(room.boxes(2))
	room.whole(boxes...)
	stranger := room.box("x1").start()
	room.whole(stranger)
	if err := boxes[0].node.Join(within(t), stranger.address); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "leave it first") {
		t.Errorf("join: %v", err)
	}
	here := boxes[0].node.port
	wrong := target{UUID: boxes[1].node.UUID(), Cluster: stranger.node.ClusterUUID(), HostPort: boxes[1].address}
	_, err := here.dial(within(t), wrong, streamRaft)
	var refused *RefusedError
	if !errors.As(err, &refused) || !strings.Contains(refused.Reason, "belongs to cluster") {
		t.Errorf("wrong cluster: %v", err)
	}
	wrong = target{UUID: "someone", Cluster: boxes[0].node.ClusterUUID(), HostPort: stranger.address}
	if _, err := here.dial(within(t), wrong, streamHTTP); !errors.As(err, &refused) || refused.UUID != stranger.node.UUID() {
		t.Errorf("wrong node: %v", err)
	}
}

// A node comes back under another address; the leader finds it by its UUID and commits the change. Then the
// leader itself moves.
func TestNodesMove(t *testing.T) {
	room := newRoom(t)
	boxes := startAll(room.boxes(3))
	leader := room.whole(boxes...)
	for _, moved := range []*box{others(boxes, leader)[0], leader} {
		old := moved.address
		moved.stop()
		moved.address = "moved-" + moved.name + ".test:1"
		room.fabric.place(old, "127.0.0.1:1") // nobody there
		moved.start()
		eventually(t, "the new address is committed", func() error {
			for _, b := range boxes {
				for _, m := range b.node.Members() {
					if m.Name == moved.name && m.Address != moved.address {
						return fmt.Errorf("%s thinks %s is at %s", b.name, m.Name, m.Address)
					}
				}
			}
			return nil
		})
		room.whole(boxes...)
	}
}

func TestMembersKnowEachOther(t *testing.T) {
	room := newRoom(t)
	boxes := startAll(room.boxes(3))
	down := others(boxes, room.whole(boxes...))[0]
	check := func(reachable bool) {
		eventually(t, "members", func() error {
			leader := leaderOf(boxes...)
			if leader == nil {
				return errors.New("nobody leads")
			}
			for _, b := range others(boxes, down) {
				for _, m := range b.node.Members() {
					if m.Leader != (m.Name == leader.name) || !m.Voter {
						return fmt.Errorf("%s: %+v", b.name, m)
					}
					if want := m.Name != down.name || reachable; m.Reachable != want || want && m.Info.Version != "test" {
						return fmt.Errorf("%s: %+v", b.name, m)
					}
				}
			}
			return nil
		})
	}
	check(true)
	down.kill()
	check(false)
}

func TestSuperseded(t *testing.T) {
	server := func(id string, suffrage raft.ServerSuffrage) raft.Server {
		return raft.Server{ID: raft.ServerID(id), Suffrage: suffrage}
	}
	a1, b1 := server("a/1", raft.Voter), server("b/1", raft.Voter)
	a2, a3 := server("a/2", raft.Nonvoter), server("a/3", raft.Nonvoter)
	a3voter := server("a/3", raft.Voter)
	cases := []struct {
		servers []raft.Server
		old     raft.Server
		want    bool
	}{
		{[]raft.Server{a1, b1}, a1, false},
		{[]raft.Server{a1, b1, a2}, a1, false},     // not yet
		{[]raft.Server{a1, b1, a2}, a2, false},     // the successor itself
		{[]raft.Server{a1, b1, a2, a3}, a2, true},  // replaced before it had a vote
		{[]raft.Server{a1, b1, a2, a3}, a1, false}, // still not yet
		{[]raft.Server{a1, b1, a3voter}, a1, true},
		{[]raft.Server{a1, b1, a3voter}, b1, false},
	}
	for _, test := range cases {
		if got := superseded(test.servers, test.old); got != test.want {
			t.Errorf("%s in %v: %v, want %v", test.old.ID, test.servers, got, test.want)
		}
	}
}
