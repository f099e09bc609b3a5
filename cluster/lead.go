package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// leadership is one turn of this node as leader, from the moment its state machine has everything that was
// committed before. It is a context: whoever works for the leader needs to know nothing of elections.
type leadership struct {
	ctx      context.Context
	term     uint64 // Raft's, before the turn began; a later one is not this turn's
	end      context.CancelCauseFunc
	done     chan struct{} // closed when everything that worked under it has returned
	verified atomic.Int64  // when, after the node's start, a majority last confirmed it; nanoseconds
}

var started = time.Now() // origin of monotonic times

func monotonic() int64 { return int64(time.Since(started)) }

// watchLeadership turns Raft's notifications into turns. The channel is deep enough that Raft never waits for
// a leader's work to end.
func (i *instance) watchLeadership(ctx context.Context, lead func(context.Context)) {
	var turn *leadership
	stop := func(cause error) {
		if turn != nil {
			i.endTurn(turn, cause)
			turn = nil
		}
	}
	for {
		select {
		case gained := <-i.notify:
			stop(ErrLeadershipLost)
			if gained {
				turn = i.beginTurn(ctx, lead)
			}
		case <-ctx.Done():
			stop(context.Cause(ctx))
			return
		}
	}
}

func (i *instance) beginTurn(ctx context.Context, lead func(context.Context)) *leadership {
	turn := &leadership{term: i.raft.CurrentTerm(), done: make(chan struct{})}
	turn.ctx, turn.end = context.WithCancelCause(ctx)
	go func() {
		defer close(turn.done)
		start := monotonic()
		if err := await(turn.ctx, i.raft.Barrier(0)); err != nil {
			return // leadership is lost, the notification is on its way
		}
		turn.verified.Store(start)
		i.leading.Store(turn)
		i.node.metrics.leaderships.Inc()
		i.node.logger.Info("this node leads", "term", i.raft.CurrentTerm(), "index", i.raft.LastIndex())
		var tasks sync.WaitGroup
		tasks.Go(func() { i.verify(turn) })
		tasks.Go(func() { i.tend(turn.ctx) })
		if lead != nil {
			lead(turn.ctx)
		}
		tasks.Wait()
	}()
	return turn
}

// endTurn returns when nothing works for the leader any more.
func (i *instance) endTurn(turn *leadership, cause error) {
	led := i.leading.Swap(nil) != nil
	turn.end(cause)
	<-turn.done
	i.leading.Store(nil) // the turn may have begun between the two lines above
	if led {
		i.node.logger.Info("this node no longer leads", "term", i.raft.CurrentTerm(), "err", cause)
	}
}

// verify asks a majority, again and again, whether this node still leads.
func (i *instance) verify(turn *leadership) {
	tick := time.NewTicker(i.node.opts.HeartbeatTimeout / 7)
	defer tick.Stop()
	for {
		select {
		case <-turn.ctx.Done():
			return
		case <-tick.C:
		}
		asked := monotonic()
		if err := await(turn.ctx, i.raft.VerifyLeader()); err == nil {
			turn.verified.Store(asked)
		}
	}
}

// Lease reports whether this node may still act as leader towards the outside: nil for as long as no other
// leader can have been elected since a majority last confirmed this one. A process that was stopped for a
// while finds its lease expired.
func (n *Node) Lease() error {
	turn := n.leadership()
	if turn == nil {
		return ErrNotLeader
	}
	if age := time.Duration(monotonic() - turn.verified.Load()); age > n.opts.HeartbeatTimeout {
		return fmt.Errorf("%w: no majority has confirmed it for %s", ErrNotLeader, age.Round(time.Millisecond))
	}
	return nil
}

// handOver gives leadership to the most advanced voter and returns when this node leads no more.
func (n *Node) handOver(ctx context.Context) error { return n.handOverTo(ctx, nil) }

const handOverAttempts = 3

func (n *Node) handOverTo(ctx context.Context, to *raft.Server) error {
	inst := n.current.Load()
	if inst == nil {
		return ErrNotLeader
	}
	var err error
	for range handOverAttempts {
		var future raft.Future
		if to == nil {
			future = inst.raft.LeadershipTransfer()
		} else {
			future = inst.raft.LeadershipTransferToServer(to.ID, to.Address)
		}
		err = await(ctx, future)
		if err == nil || errors.Is(err, raft.ErrNotLeader) || inst.raft.State() != raft.Leader {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return fmt.Errorf("hand leadership over: %w", err)
}
