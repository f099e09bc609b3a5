package egress

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/highlander-io/highlander/fsm"
)

// Node is what egress needs of the Raft node.
type Node interface {
	// Propose commits an entry and returns the FSM's response to it. An error means that it was not
	// committed, or that nobody knows: egress treats both alike. It must return soon after ctx ends.
	Propose(ctx context.Context, entry []byte) (response any, err error)
	// Lease returns an error if this node may not be the leader any more. It is asked before every send.
	Lease() error
}

// errMoved says that the cursor is not where this drain left it: somebody else moved it.
var errMoved = errors.New("egress: cursor was moved by somebody else")

// journal writes egress' decisions into the log.
type journal struct {
	node  Node
	state *fsm.FSM
}

// refusal is the FSM's answer to a committed command that it did not apply. Proposing it again changes nothing.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

// commit proposes a command once.
func (j *journal) commit(ctx context.Context, command any) error {
	entry, err := fsm.Encode(command)
	if err != nil {
		return err
	}
	response, err := j.node.Propose(ctx, entry)
	if err != nil {
		return err
	}
	if no, ok := response.(error); ok {
		return refusal{no}
	}
	return nil
}

func isRefusal(err error) bool {
	var r refusal
	return errors.As(err, &r)
}

// settle proposes a command until it is committed, ctx ends or leadership is lost. For commands that may be
// applied twice without harm.
func (j *journal) settle(ctx context.Context, command any) error {
	pause := commitPause()
	for {
		err := j.commit(ctx, command)
		if err == nil || isRefusal(err) || j.node.Lease() != nil {
			return err
		}
		if wait(ctx, pause.pause(0)) != nil {
			return err
		}
	}
}

// move commits a cursor command. Where the outcome is uncertain it proposes the very same command again: at
// most one of them applies, because both say from where.
func (j *journal) move(ctx context.Context, c *fsm.Cursor) error {
	pause := commitPause()
	for {
		err := j.commit(ctx, c)
		if err == nil {
			return nil
		}
		d, ok := j.state.Destination(c.Destination)
		switch {
		case !ok:
			return fmt.Errorf("egress: move cursor of %q: %w", c.Destination, err)
		case d.Cursor == c.To:
			return nil // an earlier proposal of this command was committed after all
		case d.Cursor != c.From:
			return fmt.Errorf("%w: destination %q is at %d, not at %d", errMoved, c.Destination, d.Cursor, c.From)
		}
		if isRefusal(err) || j.node.Lease() != nil || wait(ctx, pause.pause(0)) != nil {
			return fmt.Errorf("egress: move cursor of %q from %d to %d: %w", c.Destination, c.From, c.To, err)
		}
	}
}

func commitPause() backoff { return backoff{low: 20 * time.Millisecond, high: 500 * time.Millisecond} }

// wait sleeps for d unless ctx ends first.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
