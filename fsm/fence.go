package fsm

import (
	"fmt"
	"math"
)

// Fence is the line between two sources of a group while a handover is under way: per series, what the old source had
// delivered. The samples it is made of are in the log, and whoever leads derives it from there; the state remembers from
// where.
type Fence struct {
	Epoch    uint64 `json:"epoch"`       // of the change, the last one where several follow each other
	From     uint64 `json:"from"`        // lowest index the fence is built from
	Index    uint64 `json:"index"`       // of the change: batches above it are of the new source
	Boundary int64  `json:"boundary_ms"` // watermark of the old source
}

// openFence opens the fence of a change from one source to another. One that is still open reaches as far back as the
// first of the changes that follow each other: its source may not have delivered everything of the one before.
func (f *FSM) openFence(index uint64, g *group, e *Elect) {
	if g.current == nil || e.FenceFrom == 0 && g.fence == nil {
		return
	}
	from := uint64(math.MaxUint64)
	if g.fence != nil {
		from = g.fence.From
	}
	if e.FenceFrom > 0 {
		from = min(from, e.FenceFrom)
	}
	g.fence = &Fence{Epoch: g.epoch, From: min(from, index), Index: index, Boundary: e.Boundary}
	f.fenced[g] = struct{}{}
}

func (f *FSM) applyFenceEnd(e *FenceEnd) error {
	g := f.groups[e.Group]
	if g == nil || g.fence == nil || g.fence.Epoch != e.Epoch {
		return fmt.Errorf("fsm: end the fence of group %q, epoch %d: %w: it is not open", e.Group.Name, e.Epoch, ErrEpoch)
	}
	g.fence = nil
	delete(f.fenced, g)
	g.touch(e.Time)
	return nil
}

// lowestFence is the lowest index that an open fence is built from; the largest index if none is open.
func (s *state) lowestFence() uint64 {
	lowest := uint64(math.MaxUint64)
	for g := range s.fenced {
		lowest = min(lowest, g.fence.From)
	}
	return lowest
}

// windowShare is the part of Options.WindowBytes that WindowStart uses.
const windowShare = 0.75

// WindowStart returns where the last Options.Margin of batches begins: what a leader writes into Elect.FenceFrom. It is
// higher than the floor by FloorSlack and by a quarter of Options.WindowBytes, so that what it names is still there when
// the change is applied.
func (f *FSM) WindowStart() uint64 {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return min(f.marks.start(f.margin, uint64(windowShare*float64(f.window))), f.applied+1)
}

func (e *encoder) fence(fence *Fence) {
	e.flag(fence != nil)
	if fence != nil {
		e.uint(fence.Epoch)
		e.uint(fence.From)
		e.uint(fence.Index)
		e.int(fence.Boundary)
	}
}

func (d *decoder) fence() *Fence {
	if !d.flag() {
		return nil
	}
	fence := &Fence{Epoch: d.uvarint(), From: d.uvarint(), Index: d.uvarint(), Boundary: d.varint()}
	d.must(fence.From <= fence.Index)
	return fence
}
