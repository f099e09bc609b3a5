package wal

import (
	"sync/atomic"

	"github.com/hashicorp/raft"
)

const (
	tailEntryOverhead = 128     // of a raft.Log and its slot, counted to the bound
	tailSlotsMax      = 1 << 16 // bounds the ring for tiny entries
	tailSlotsMin      = 1 << 6
)

// tail is the cache of the newest entries, bounded in bytes. The writer alone adds
// and drops; readers look up without a lock. Reads of older entries never fill it:
// they would push out what replication and the drain are about to want.
type tail struct {
	slots    []atomic.Pointer[raft.Log] // at index modulo len, a power of two
	bytesMax int64

	// The writer's own: the entries held are [low, next).
	low, next uint64
	bytes     int64
}

func newTail(bytesMax int64) *tail {
	n := tailSlotsMin
	for n < tailSlotsMax && int64(n)*1024 < bytesMax {
		n *= 2
	}
	return &tail{slots: make([]atomic.Pointer[raft.Log], n), bytesMax: bytesMax}
}

func (t *tail) slot(index uint64) *atomic.Pointer[raft.Log] {
	return &t.slots[index&uint64(len(t.slots)-1)]
}

// get returns the entry, or nil if it is not held.
func (t *tail) get(index uint64) *raft.Log {
	if l := t.slot(index).Load(); l != nil && l.Index == index {
		return l
	}
	return nil
}

// put adds the entry that follows the newest one, and drops the oldest as needed.
// It keeps the pointer: raft never changes an entry after storing it.
func (t *tail) put(l *raft.Log) {
	if l.Index != t.next {
		t.clear()
		t.low, t.next = l.Index, l.Index
	}
	for t.low < t.next && (t.bytes+cost(l) > t.bytesMax || t.next-t.low == uint64(len(t.slots))) {
		t.drop(t.low)
		t.low++
	}
	t.next++
	if cost(l) > t.bytesMax {
		t.low = t.next
		return
	}
	t.slot(l.Index).Store(l)
	t.bytes += cost(l)
}

// truncate drops the entries from index on.
func (t *tail) truncate(index uint64) {
	for t.next > max(index, t.low) {
		t.next--
		t.drop(t.next)
	}
	t.low, t.next = min(t.low, index), min(t.next, index)
}

func (t *tail) clear() { t.truncate(t.low) }

func (t *tail) drop(index uint64) {
	s := t.slot(index)
	if l := s.Load(); l != nil && l.Index == index {
		t.bytes -= cost(l)
		s.Store(nil)
	}
}

func cost(l *raft.Log) int64 {
	return int64(len(l.Data)) + int64(len(l.Extensions)) + tailEntryOverhead
}
