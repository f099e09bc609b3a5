package cluster

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func (b *box) recover(t *testing.T) error {
	t.Helper()
	dir, err := OpenDir(b.path, b.name, false)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	return Recover(dir, b.log, RecoverOptions{AdvertiseAddress: b.address})
}

// Trap 8: a lost majority costs no entry of the node that is left, the old members are refused, and new ones
// get everything, also from behind a snapshot.
func TestRecoverKeepsEveryEntry(t *testing.T) {
	room := newRoom(t)
	boxes := room.boxes(3)
	for _, b := range boxes {
		b.edit = func(o *Options) { o.SnapshotBytes, o.seams.trailing = 2<<10, 1 }
	}
	startAll(boxes)
	room.whole(boxes...)
	acked := room.backlog(boxes...)
	left := room.leader(boxes...) // has everything
	old := left.node.ClusterUUID()
	gone := others(boxes, left)
	for _, b := range boxes {
		b.kill()
	}
	if err := left.recover(t); err != nil {
		t.Fatal(err)
	}
	left.start()
	room.whole(left)
	if lost := left.missing(acked, nil); lost > 0 {
		t.Errorf("%d of %d entries lost", lost, len(acked))
	}
	if left.node.ClusterUUID() == old {
		t.Error("the cluster kept its UUID")
	}
	acked = append(acked, room.fill("after", 20, 20, left)...)

	gone[0].start() // with its old disk
	refused := left.node.metrics.refused.WithLabelValues("identity")
	eventually(t, "the old member is refused", func() error {
		if counted(refused) == 0 {
			return errors.New("no refusal yet")
		}
		return nil
	})
	if len(left.node.servers()) != 1 || !left.node.IsLeader() {
		t.Errorf("members: %v", left.node.servers())
	}
	if err := left.node.ForeignDialed(); err != nil {
		t.Errorf("a recovered node with a join list: %v", err)
	}
	gone[0].kill()
	for _, b := range gone {
		b.wipe()
		b.start()
	}
	leader := room.whole(boxes...)
	for _, b := range boxes {
		b.caughtUp(t, leader)
		if lost := b.missing(acked, nil); lost > 0 {
			t.Errorf("%s lacks %d of %d entries", b.name, lost, len(acked))
		}
	}
}

// A recover that stopped half-way leaves a node that starts nowhere and can be recovered again.
func TestRecoverCanBeRepeated(t *testing.T) {
	room := newRoom(t)
	one := room.box("n1").start()
	room.whole(one)
	acked := room.fill("a", 20, 20, one)
	one.stop()
	dir, err := OpenDir(one.path, one.name, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(dir.recovered("half-way"), dir.Close()); err != nil {
		t.Fatal(err)
	}
	one.start()
	err = one.result()
	if err == nil || !strings.Contains(err.Error(), "run it again") {
		t.Errorf("Run returned %v", err)
	}
	one.gone()
	for range 2 {
		if err := one.recover(t); err != nil {
			t.Fatal(err)
		}
	}
	one.start()
	room.whole(one)
	if lost := one.missing(acked, nil); lost > 0 {
		t.Errorf("%d entries lost", lost)
	}
}

func TestNothingToRecover(t *testing.T) {
	room := newRoom(t)
	one := room.box("n1")
	if err := one.recover(t); err == nil || !strings.Contains(err.Error(), "nothing to recover") {
		t.Errorf("recover: %v", err)
	}
}

// A lost or damaged ballot does not keep the last node left from being recovered: its votes bound it to the old cluster only.
func TestRecoverWithoutBallot(t *testing.T) {
	for what, spoil := range map[string]func(string) error{
		"missing": os.Remove,
		"damaged": func(path string) error { return os.WriteFile(path, make([]byte, 2*ballotBlock), 0o600) },
	} {
		t.Run(what, func(t *testing.T) {
			room := newRoom(t)
			one := room.box("n1").start()
			room.whole(one)
			acked := room.fill("a", 20, 20, one)
			one.stop()
			if err := errors.Join(spoil(filepath.Join(one.path, ballotFile)), one.recover(t)); err != nil {
				t.Fatal(err)
			}
			one.start()
			room.whole(one)
			if lost := one.missing(acked, nil); lost > 0 {
				t.Errorf("%d entries lost", lost)
			}
		})
	}
}
