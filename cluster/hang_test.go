package cluster

import (
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// Trap 11 also where the disk hangs while room is made for a leader's entries.
func TestHangingDiskEndsAFollowerThatMakesRoom(t *testing.T) {
	room := newRoom(t)
	boxes := room.boxes(3)
	stall := make(chan struct{})
	release := sync.OnceFunc(func() { close(stall) })
	var mu sync.Mutex
	hanging := map[*box]bool{}
	for _, b := range boxes {
		b.edit = func(o *Options) {
			o.StallTimeout = room.slow * 300 * time.Millisecond
			o.Room = func([]*raft.Log) error {
				mu.Lock()
				hangs := hanging[b]
				mu.Unlock()
				if hangs {
					<-stall
				}
				return nil
			}
		}
	}
	startAll(boxes)
	t.Cleanup(release)
	leader := room.whole(boxes...)
	victim := others(boxes, leader)[0]
	mu.Lock()
	hanging[victim] = true
	mu.Unlock()
	room.lead(leader, boxes...)
	room.fill("while", 5, 5, others(boxes, victim)...)
	ended := make(chan error, 1)
	go func() { ended <- victim.result() }()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("Run returned nil")
		}
	case <-time.After(patience / 2):
		t.Error("the node lives on with a disk that hangs")
	}
	release()
}
