package cluster

import (
	"errors"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/raft"
)

// A member without room for entries stores none, stays a follower that votes, and gets them when it has room again; the
// others go on meanwhile.
func TestEntriesAreTurnedAwayWithoutRoom(t *testing.T) {
	room := newRoom(t)
	boxes := room.boxes(3)
	full := boxes[2]
	var noRoom atomic.Bool
	var turnedAway atomic.Int64
	full.edit = func(o *Options) {
		o.Room = func([]*raft.Log) error {
			if !noRoom.Load() {
				return nil
			}
			turnedAway.Add(1)
			return errors.New("the disk is full")
		}
	}
	for _, b := range boxes {
		b.start()
	}
	room.whole(boxes...)
	var acked []string
	var end [2]uint64
	eventually(t, "another leader while there is no room", func() error {
		noRoom.Store(false)
		led := counted(full.node.metrics.leaderships)
		room.lead(boxes[0], boxes...)
		acked = append(acked, room.fill("before", 5, 10, boxes...)...)
		full.caughtUp(t, boxes[0])
		noRoom.Store(true)
		end = full.log.end()
		acked = append(acked, room.fill("while", 50, 1000, boxes...)...)
		if counted(full.node.metrics.leaderships) != led {
			return errors.New("the full one has led meanwhile")
		}
		return nil
	})
	leader := room.leader(boxes...)
	eventually(t, "entries to be turned away", func() error {
		if turnedAway.Load() < 5 {
			return errors.New("not yet")
		}
		return nil
	})
	if got := full.log.end(); got != end {
		t.Errorf("the log went from %v to %v", end, got)
	}
	eventually(t, "a follower", func() error {
		if s := full.node.Stats(); s.Role != "follower" {
			return errors.New(s.Role)
		}
		return nil
	})
	// Its vote counts: with the other follower gone for good and the leader restarted, it elects.
	for _, b := range boxes[:2] {
		if b != leader {
			b.stop()
		}
	}
	leader.stop()
	leader.start()
	eventually(t, "the node that has everything to lead again", func() error {
		if inst := leader.node.current.Load(); inst == nil || inst.raft.State() != raft.Leader {
			return errors.New("not yet")
		}
		return nil
	})
	noRoom.Store(false)
	full.caughtUp(t, room.leader(leader))
	if n := full.missing(acked, nil); n > 0 {
		t.Errorf("%d acknowledged batches are missing", n)
	}
}
