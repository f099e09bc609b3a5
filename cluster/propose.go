package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// Future is a proposal whose outcome is not known yet. Wait is called once.
type Future struct {
	node    *Node
	inner   raft.ApplyFuture
	err     error
	turn    *leadership
	arrived uint64 // callers of Confirm that this proposal came after
}

// Propose hands an entry to Raft and returns at once, or after timeout if Raft's queue stays full. The entry
// must not be changed afterwards.
func (n *Node) Propose(entry []byte, timeout time.Duration) Future {
	n.proposing.RLock()
	defer n.proposing.RUnlock()
	turn := n.leadership()
	if turn == nil || n.stopping.Load() {
		return Future{err: ErrNotLeader}
	}
	inst := n.current.Load()
	if inst == nil {
		return Future{err: ErrNotLeader}
	}
	arrived := n.confirm.arrived.Load()
	return Future{node: n, inner: inst.raft.Apply(entry, timeout), turn: turn, arrived: arrived}
}

// Wait returns the state machine's response and the entry's index once the entry is committed and applied.
// An error wraps ErrNotLeader if the entry has certainly not been committed, else ErrUncertain.
func (f Future) Wait(ctx context.Context) (response any, index uint64, err error) {
	if f.err != nil {
		return nil, 0, f.err
	}
	if err := f.outcome(ctx); err != nil {
		return nil, 0, err
	}
	f.node.confirm.release(f.turn, f.arrived, nil)
	return f.inner.Response(), f.inner.Index(), nil
}

func (f Future) outcome(ctx context.Context) error {
	var err error
	if ctx.Done() == nil {
		err = f.inner.Error()
	} else {
		err = await(ctx, f.inner)
	}
	return classify(err)
}

// classify tells what has certainly not happened from what may have.
func classify(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrEnqueueTimeout), errors.Is(err, raft.ErrLeadershipTransferInProgress),
		errors.Is(err, ErrNoRoom):
		return fmt.Errorf("%w: %w", ErrNotLeader, err)
	}
	return fmt.Errorf("%w: %w", ErrUncertain, err)
}

// confirmGrace is how long a caller waits for live entries to confirm it before a barrier is spent on it. A barrier is
// an entry like any other, with an fsync on every node: beside live traffic nobody should need one.
const confirmGrace = 20 * time.Millisecond

// confirmer answers callers who need to know that an entry proposed after their question was committed. Any
// proposal does; when there are none for a while, one barrier serves everybody who waits.
type confirmer struct {
	arrived atomic.Uint64

	mu      sync.Mutex
	waiting []*confirmation
	driving bool
}

type confirmation struct {
	turn   *leadership
	number uint64
	since  int64 // monotonic
	done   chan error
}

// Leadership returns a token of this node's present turn as leader, or nil. ConfirmSince takes it.
func (n *Node) Leadership() any {
	if turn := n.leadership(); turn != nil {
		return turn
	}
	return nil
}

// Confirm returns nil when an entry that was proposed after the call has been committed while this node led
// without interruption: whatever the caller concluded from the state machine just before was not the
// conclusion of a deposed leader.
func (n *Node) Confirm(ctx context.Context) error { return n.ConfirmSince(ctx, n.Leadership()) }

// ConfirmSince is Confirm for a conclusion drawn under the given turn as leader: it fails if the turn has
// ended since, even if this node leads again.
func (n *Node) ConfirmSince(ctx context.Context, leadership any) error {
	turn := n.leadership()
	if turn == nil || leadership != any(turn) {
		return ErrNotLeader
	}
	inst := n.current.Load()
	if inst == nil {
		return ErrNotLeader
	}
	c := n.confirm.join(turn, func() { n.driveConfirmations(inst) })
	select {
	case err := <-c.done:
		return err
	case <-turn.ctx.Done():
		return fmt.Errorf("%w: %w", ErrNotLeader, context.Cause(turn.ctx))
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (c *confirmer) join(turn *leadership, drive func()) *confirmation {
	c.mu.Lock()
	defer c.mu.Unlock()
	own := &confirmation{turn: turn, number: c.arrived.Add(1), since: monotonic(), done: make(chan error, 1)}
	c.waiting = append(c.waiting, own)
	if !c.driving {
		c.driving = true
		go drive()
	}
	return own
}

// release answers everybody who arrived, in that turn, before the proposal that came to an end.
func (c *confirmer) release(turn *leadership, arrived uint64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) == 0 {
		return
	}
	c.waiting = slices.DeleteFunc(c.waiting, func(w *confirmation) bool {
		switch {
		case w.turn == turn && w.number <= arrived:
			w.done <- err
		case w.turn.ctx.Err() != nil:
			w.done <- ErrNotLeader
		default:
			return false
		}
		return true
	})
}

// oldest returns who has waited for longest. If nobody waits it returns nil, and the next caller starts a new driver.
func (c *confirmer) oldest() *confirmation {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) == 0 {
		c.driving = false
		return nil
	}
	return c.waiting[0]
}

// driveConfirmations spends a barrier whenever somebody has waited for too long.
func (n *Node) driveConfirmations(inst *instance) {
	for oldest := n.confirm.oldest(); oldest != nil; oldest = n.confirm.oldest() {
		if left := confirmGrace - time.Duration(monotonic()-oldest.since); left > 0 {
			time.Sleep(left)
			continue
		}
		arrived := n.confirm.arrived.Load()
		n.confirm.release(oldest.turn, arrived, classify(n.barrier(inst, oldest.turn)))
	}
}

func (n *Node) barrier(inst *instance, turn *leadership) error {
	n.proposing.RLock()
	if n.stopping.Load() || n.current.Load() != inst {
		n.proposing.RUnlock()
		return raft.ErrNotLeader
	}
	future := inst.raft.Barrier(0)
	n.proposing.RUnlock()
	return await(turn.ctx, future)
}
