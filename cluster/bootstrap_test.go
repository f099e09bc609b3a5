package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestStandaloneStartsAtOnceAndKeepsItsIdentity(t *testing.T) {
	room := newRoom(t)
	one := room.box("n1").start()
	room.whole(one)
	acked := room.fill("a", 10, 10, one)
	uuid, cluster := one.node.UUID(), one.node.ClusterUUID()
	one.stop()
	one.start()
	room.whole(one)
	if one.node.UUID() != uuid || one.node.ClusterUUID() != cluster {
		t.Errorf("identity changed: %s %s, want %s %s", one.node.UUID(), one.node.ClusterUUID(), uuid, cluster)
	}
	if lost := one.missing(acked, nil); lost > 0 {
		t.Errorf("%d entries lost by a restart", lost)
	}
}

func TestThreeNodesMakeOneClusterInAnyOrder(t *testing.T) {
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		t.Run("", func(t *testing.T) {
			room := newRoom(t)
			boxes := room.boxes(3)
			boxes[1].join = []string{boxes[2].address, boxes[0].address, boxes[1].address} // order does not matter
			for _, i := range order {
				boxes[i].start()
				time.Sleep(30 * time.Millisecond) // one after another; correctness does not depend on it
			}
			room.whole(boxes...)
		})
	}
}

func TestTwoOfThreeDoNotStart(t *testing.T) {
	room := newRoom(t)
	boxes := room.boxes(3)
	boxes[0].start()
	boxes[1].start()
	eventually(t, "both say why", func() error {
		for _, b := range boxes[:2] {
			if why := b.node.Ready(); !strings.Contains(why.Error(), "no answer from n3.test:6746") {
				return why
			}
		}
		return nil
	})
	if leaderOf(boxes[:2]...) != nil || boxes[0].node.ClusterUUID() != "" {
		t.Error("a cluster was started without its third node")
	}
	boxes[2].start()
	room.whole(boxes...)
}

func TestJoinListsThatDoNotAgree(t *testing.T) {
	a, b, c := "n1.test:6746", "n2.test:6746", "n3.test:6746"
	cases := []struct {
		name  string
		lists [][]string
		want  string
	}{
		{"sets differ", [][]string{{a, b}, {a, b, c}, {a, b, c}}, "make the lists the same"},
		{"one lacks itself", [][]string{{b, c}, {a, b, c}, {a, b, c}}, "does not name this node"},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			room := newRoom(t)
			boxes := room.boxes(3)
			for i, b := range boxes {
				b.join = test.lists[i]
				b.start()
			}
			eventually(t, "waiting loudly", func() error {
				if why := boxes[0].node.Ready(); !strings.Contains(why.Error(), test.want) {
					return why
				}
				return nil
			})
			for _, b := range boxes {
				if b.node.IsLeader() {
					t.Errorf("%s leads", b.name)
				}
			}
		})
	}
}

func TestListOfOnlyItselfIsAnError(t *testing.T) {
	room := newRoom(t)
	one := room.box("n1", "n1.test:6746").start()
	err := one.result()
	if err == nil || !strings.Contains(err.Error(), "names only this node itself") {
		t.Errorf("Run returned %v", err)
	}
}

func TestNodeFindsItselfWhateverTheAddress(t *testing.T) {
	room := newRoom(t)
	boxes := room.boxes(2)
	for _, b := range boxes {
		b.start()
	}
	// The same two nodes under other names: the sets are compared by who answers.
	room.whole(boxes...)
	other := newFabricNames(room, boxes)
	if !other {
		t.Error("aliases were not resolved")
	}
}

func newFabricNames(room *machineRoom, boxes []*box) bool {
	for i, b := range boxes {
		room.fabric.place("alias"+b.name+".test:1", b.node.port.listener.Addr().String())
		report, err := boxes[1-i].node.port.hello(room.t.Context(), "alias"+b.name+".test:1")
		if err != nil || report.UUID != b.node.UUID() {
			return false
		}
	}
	return true
}

func TestTwoEmptyNodesOfOneNameDoNotStart(t *testing.T) {
	room := newRoom(t)
	one := room.box("n1", "n1.test:6746", "n2.test:6746").start()
	two := room.box("n1", "n1.test:6746", "n2.test:6746")
	two.address = "n2.test:6746"
	two.start()
	eventually(t, "waiting loudly", func() error {
		if why := one.node.Ready(); !strings.Contains(why.Error(), `both call themselves "n1"`) {
			return why
		}
		return nil
	})
}

// called gives a box the UUID that the story needs; the smallest one founds.
func (b *box) called(t *testing.T, uuid string) {
	t.Helper()
	dir, err := OpenDir(b.path, b.name, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(dir.change(func(id *Identity) error { id.UUID = uuid; return nil }), dir.Close()); err != nil {
		t.Fatal(err)
	}
}

// deafness refuses Raft's connections while it is on.
func deafness(on *atomic.Bool) func(*Options) {
	return func(o *Options) {
		o.seams.examine = func(g greeting, own Identity) string {
			if g.Stream == streamRaft && on.Load() {
				return "deaf"
			}
			return examine(g, own)
		}
	}
}

// A node of the first configuration has promised itself, but its disk is lost before it held an entry.
func TestNodeLostBeforeItsFirstEntry(t *testing.T) {
	room := newRoom(t)
	boxes := room.boxes(3)
	lost := boxes[2]
	lost.called(t, "ffffffff-0000-0000-0000-000000000000")
	var deaf atomic.Bool
	deaf.Store(true)
	lost.edit = deafness(&deaf)
	startAll(boxes)
	room.leader(boxes[:2]...)
	if own := lost.dir.Identity(); own.Held || own.Cluster == "" {
		t.Fatalf("identity of the deaf node: %+v", own)
	}
	acked := room.fill("a", 20, 10, boxes[:2]...)
	lost.kill()
	lost.wipe()
	deaf.Store(false)
	lost.start()
	leader := room.whole(boxes...)
	lost.caughtUp(t, leader)
	if missing := lost.missing(acked, nil); missing > 0 {
		t.Errorf("%d entries missing", missing)
	}
}

// I4: the founder's disk is lost before anybody else held an entry. The others' promises do not keep the three
// from starting again, and when the founder's old disk returns beside the new one, nobody follows it.
func TestFounderLostBeforeAnybodyHeldAnEntry(t *testing.T) {
	room := newRoom(t)
	boxes := room.boxes(3)
	founder := boxes[0]
	founder.called(t, "00000000-0000-0000-0000-000000000000")
	var deaf atomic.Bool
	deaf.Store(true)
	boxes[1].edit, boxes[2].edit = deafness(&deaf), deafness(&deaf)
	startAll(boxes)
	eventually(t, "founding", func() error {
		if !founder.dir.Identity().Held {
			return errors.New("nothing was founded")
		}
		return nil
	})
	founder.kill()
	oldPath, oldLog := founder.path, founder.log
	founder.wipe()
	deaf.Store(false)
	founder.start()
	leader := room.whole(boxes...)
	acked := room.fill("a", 20, 10, boxes...)

	ghost := room.box("n1", founder.join...)
	ghost.path, ghost.log, ghost.address = oldPath, oldLog, "ghost.test:6746"
	var refused atomic.Int64
	ghost.start()
	eventually(t, "the ghost asks for votes", func() error {
		refused.Store(int64(counted(boxes[1].node.metrics.refused.WithLabelValues("identity"))))
		if refused.Load() < 6 {
			return fmt.Errorf("%d connections refused", refused.Load())
		}
		return nil
	})
	if ghost.node.IsLeader() || ghost.node.ClusterUUID() == leader.node.ClusterUUID() {
		t.Error("the old founder has followers")
	}
	room.fill("b", 5, 5, boxes...)
	if lost := room.leader(boxes...).missing(acked, nil); lost > 0 {
		t.Errorf("%d entries lost", lost)
	}
}

// A promise made for a founding that never took place does not keep the nodes from starting another cluster.
func TestFoundingThatWasInterrupted(t *testing.T) {
	room := newRoom(t)
	boxes := room.boxes(3)
	for _, b := range boxes {
		dir, err := OpenDir(b.path, b.name, false)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(dir.promise("00000000-dead-dead-dead-000000000000", false), dir.Close()); err != nil {
			t.Fatal(err)
		}
	}
	for _, b := range boxes {
		b.start()
	}
	leader := room.whole(boxes...)
	if leader.node.ClusterUUID() == "00000000-dead-dead-dead-000000000000" {
		t.Error("the dead cluster came to life")
	}
}

// B1: a node that holds entries promises itself to nobody else.
func TestPrepareIsRefusedByAMember(t *testing.T) {
	room := newRoom(t)
	one := room.box("n1").start()
	room.whole(one)
	err := one.node.prepare(prepareRequest{Cluster: "other", Members: []Peer{{Name: "n1", UUID: one.node.UUID()}}})
	if !errors.Is(err, ErrRefused) {
		t.Errorf("prepare: %v, want a refusal", err)
	}
	if err := one.dir.promise("other", false); err == nil {
		t.Error("a directory that holds entries was bound to another cluster")
	}
}

func TestStandaloneOnANewDiskNoticesItsOldCluster(t *testing.T) {
	room := newRoom(t)
	boxes := room.boxes(3)
	for _, b := range boxes {
		b.start()
	}
	room.whole(boxes...)
	lost := boxes[2]
	lost.kill()
	lost.wipe()
	lost.join = nil
	lost.start()
	eventually(t, "foreign dials noticed", func() error {
		if lost.node.ForeignDialed() == nil {
			return errors.New("nothing noticed")
		}
		return nil
	})
	room.leader(boxes[:2]...)
	alone := room.box("n9").start()
	room.whole(alone)
	if err := alone.node.ForeignDialed(); err != nil {
		t.Errorf("a node nobody looks for: %v", err)
	}
}

func TestRunEndsWhileWaitingForACluster(t *testing.T) {
	room := newRoom(t)
	one := room.box("n1", "n1.test:6746", "n2.test:6746").start()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := one.node.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	one.gone()
	if err := <-one.ended; err != nil {
		t.Errorf("Run returned %v", err)
	} else {
		one.ended <- nil
	}
}
