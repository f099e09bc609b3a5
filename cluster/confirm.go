package cluster

import (
	"context"
	"fmt"
	"net/http"

	"github.com/hashicorp/raft"
)

// StillLeads returns nil if, at some instant after the call, nobody had been elected after the given turn as leader: what
// the state machine held before the call was then not a deposed leader's view. It asks the voters for their terms and takes
// a majority's word, its own included: a later leader needs the votes, and with them the terms, of a majority.
//
// Unlike Confirm it writes nothing, so anybody may ask, also while there is no room left on disk. Unlike Lease and
// raft.VerifyLeader it counts nobody but voters, and only answers to this question.
func (n *Node) StillLeads(ctx context.Context, leadership any) error {
	turn, inst := n.leadership(), n.current.Load()
	if turn == nil || inst == nil || leadership != any(turn) {
		return ErrNotLeader
	}
	term, voters := turn.term, n.voters()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan bool, len(voters))
	for _, voter := range voters {
		go func() { answers <- n.inTerm(ctx, inst, voter, term) }()
	}
	agreed, most := 0, len(voters)/2+1
	for left := len(voters); agreed < most && agreed+left >= most; left-- {
		select {
		case agrees := <-answers:
			if agrees {
				agreed++
			}
		case <-turn.ctx.Done():
			return fmt.Errorf("%w: %w", ErrNotLeader, context.Cause(turn.ctx))
		}
	}
	if agreed < most || n.leadership() != turn || inst.raft.CurrentTerm() != term {
		return fmt.Errorf("%w: %d of %d voters know of no later term than %d", ErrNotLeader, agreed, len(voters), term)
	}
	return nil
}

// inTerm reports whether a voter says that it knows of no later term.
func (n *Node) inTerm(ctx context.Context, inst *instance, voter raft.Server, term uint64) bool {
	_, uuid := splitServerID(voter.ID)
	if uuid == inst.own.UUID {
		return inst.raft.CurrentTerm() == term
	}
	var report Report
	err := exchange(ctx, n.RoundTripper(uuid), http.MethodGet, uuid, pathReport, nil, &report)
	return err == nil && report.Term == term
}
