package ingest

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/highlander-io/highlander/fsm"
)

// handover is one change of a group's source, from the moment it is proposed until its fence has ended:
//
//	proposed ─▶ elected ─▶ fence built ─▶ kept samples passed ─▶ open ─▶ ended
//
// Until it is open, live requests of the new source wait.
type handover struct {
	group *group
	epoch uint64
	// before is the handover that this one follows, as long as the log has not decided about this one.
	before atomic.Pointer[handover]
	opened chan struct{} // closed when live requests may pass
	void   chan struct{} // closed when another change followed

	// Of the worker (advance), and of whoever waited for opened.
	state  fsm.Fence
	change fsm.Change
	fence  *fence
	again  bool // of an earlier leadership: part of the kept samples may have been passed on

	elected  bool // guarded by the group's mu
	building bool // the same
	openedAt time.Time
	passed   int64 // before which everything of the new source has arrived that was kept; set when it is opened

	below  atomic.Pointer[time.Time] // when a request of the new source last needed the fence
	above  atomic.Bool               // one did not
	ending atomic.Bool               // the end is proposed

	mu    sync.Mutex
	tally account
	met   map[uint64]struct{} // series of the fence of which the new source's first sample was seen
}

func newHandover(g *group, epoch uint64, before *handover) *handover {
	ho := &handover{group: g, epoch: epoch, opened: make(chan struct{}), void: make(chan struct{})}
	ho.before.Store(before)
	return ho
}

func (ho *handover) isOpen() bool {
	select {
	case <-ho.opened:
		return true
	default:
		return false
	}
}

// propose puts a handover in front of the new source's requests before the change goes to the log: they must find it
// whenever they find themselves current.
func (g *group) propose(epoch uint64) *handover {
	before := g.handover.Load()
	if before != nil && !before.elected {
		before = before.before.Load() // it never came to pass
	}
	ho := newHandover(g, epoch, before)
	g.handover.Store(ho)
	return ho
}

// withdraw takes back a handover whose change the log has refused.
func (g *group) withdraw(ho *handover) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.handover.CompareAndSwap(ho, ho.before.Load())
}

// confirm notes that the log has made the change, and wakes the worker.
func (l *leadership) confirm(ho *handover) {
	g := ho.group
	g.mu.Lock()
	defer g.mu.Unlock()
	if ho.elected {
		return
	}
	ho.elected = true
	if before := ho.before.Swap(nil); before != nil {
		close(before.void)
		if change, news := before.changes(); news {
			g.owed = append(g.owed, change)
		}
	}
	l.wake()
}

func (l *leadership) wake() {
	select {
	case l.work <- struct{}{}:
	default:
	}
}

// reconcile looks whether a change whose fate was uncertain has come to pass, and ends fences that are over.
func (h *Handler) reconcile(l *leadership, g *group) {
	ho := g.handover.Load()
	if ho == nil {
		return
	}
	g.mu.Lock()
	elected := ho.elected
	g.mu.Unlock()
	if !elected {
		if state, _ := h.state.Group(g.id); state.Epoch >= ho.epoch {
			l.confirm(ho)
		}
		return
	}
	if ho.isOpen() && ho.over(h.options.Load().Margin, h.now()) {
		h.endFence(l, ho)
	}
}

// over says whether the new source has passed the fence for good: for a margin nothing of it needed the fence, and
// something came that did not.
func (ho *handover) over(margin time.Duration, now time.Time) bool {
	needed := ho.openedAt
	if at := ho.below.Load(); at != nil && at.After(needed) {
		needed = *at
	}
	return ho.above.Load() && now.Sub(needed) >= margin
}

// endFence proposes the end; it is proposed again if nothing comes of it.
func (h *Handler) endFence(l *leadership, ho *handover) {
	if !ho.ending.CompareAndSwap(false, true) {
		return
	}
	entry, err := fsm.Encode(&fsm.FenceEnd{Group: ho.group.id, Epoch: ho.epoch, Time: h.now().UnixMilli()})
	if err != nil {
		panic("BUG: the end of a fence cannot be encoded: " + err.Error())
	}
	future := h.node.Propose(entry, proposeTimeout)
	l.tasks.Go(func() {
		defer ho.ending.Store(false)
		ctx, cancel := context.WithTimeout(context.Background(), proposeTimeout)
		defer cancel()
		if _, _, err := future.Wait(ctx); err != nil {
			return
		}
		if state, _ := h.state.Group(ho.group.id); state.Fence == nil {
			ho.group.handover.CompareAndSwap(ho, nil)
		}
	})
}

// advance builds the fences of all changes that have been made since the last time, in one pass over the log, and then
// passes on what is kept, each group by itself.
func (h *Handler) advance(ctx context.Context, l *leadership) {
	if !l.collected.Load() {
		return
	}
	var list []*handover
	for _, g := range l.all() {
		if ho := h.due(g); ho != nil {
			list = append(list, ho)
		}
	}
	if len(list) == 0 {
		return
	}
	start := time.Now()
	if err := h.build(ctx, list); err != nil {
		if ctx.Err() == nil {
			h.log.Error("a fence cannot be built, it is tried again", "err", err)
		}
		for _, ho := range list {
			ho.group.mu.Lock()
			ho.building = false
			ho.group.mu.Unlock()
		}
		return
	}
	h.metrics.fenceBuilds.Observe(time.Since(start).Seconds())
	for _, ho := range list {
		l.tasks.Go(func() {
			l.passing <- struct{}{}
			defer func() { <-l.passing }()
			h.passKept(ctx, ho)
			h.metrics.handovers.Observe(time.Since(start).Seconds())
		})
	}
}

// due returns the group's handover if it waits for its fence.
func (h *Handler) due(g *group) *handover {
	ho := g.handover.Load()
	if ho == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !ho.elected || ho.building {
		return nil
	}
	state, _ := h.state.Group(g.id)
	if state.Fence == nil || state.Fence.Epoch != ho.epoch {
		if state.Epoch == ho.epoch { // the change needed none
			g.open(ho, h.now())
			g.handover.CompareAndSwap(ho, nil)
		}
		return nil
	}
	ho.state, ho.building = *state.Fence, true
	for _, c := range state.History {
		if c.Epoch == ho.epoch {
			ho.change = c
		}
	}
	return ho
}

// open lets live requests of the new source pass. The caller holds g.mu.
func (g *group) open(ho *handover, now time.Time) {
	ho.openedAt = now
	for _, s := range g.sources {
		s.slowest = slowest{} // from now on the new source's pace counts
	}
	close(ho.opened)
}

// work does what changes of source need until ctx ends.
func (h *Handler) workHandovers(ctx context.Context, l *leadership) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.work:
			h.advance(ctx, l)
		}
	}
}
