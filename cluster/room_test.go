package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

func leaderOf(boxes ...*box) *box {
	for _, b := range boxes {
		if b.node != nil && b.node.IsLeader() {
			return b
		}
	}
	return nil
}

func (r *machineRoom) leader(boxes ...*box) *box {
	r.t.Helper()
	var found *box
	eventually(r.t, "leader", func() error {
		if found = leaderOf(boxes...); found == nil {
			return errors.New("nobody leads")
		}
		return nil
	})
	return found
}

// whole waits until every box is a voter of one cluster of exactly them.
func (r *machineRoom) whole(boxes ...*box) *box {
	r.t.Helper()
	eventually(r.t, "one cluster", func() error {
		leader := leaderOf(boxes...)
		if leader == nil {
			return errors.New("nobody leads")
		}
		for _, b := range boxes {
			if cluster := b.node.ClusterUUID(); cluster != leader.node.ClusterUUID() {
				return fmt.Errorf("%s belongs to %q", b.name, cluster)
			}
			if got := b.node.voters(); len(got) != len(boxes) || len(b.node.servers()) != len(boxes) {
				return fmt.Errorf("%s knows %v", b.name, b.node.servers())
			}
			if err := b.node.Ready(); err != nil {
				return fmt.Errorf("%s: %w", b.name, err)
			}
		}
		return nil
	})
	return r.leader(boxes...)
}

// fill proposes batches through whoever leads until all are acknowledged, and returns them. A leader that goes by itself
// meanwhile, on a starved machine, costs a second proposal of what it did not acknowledge.
func (r *machineRoom) fill(prefix string, count, size int, boxes ...*box) (acked []string) {
	r.t.Helper()
	padding := strings.Repeat("x", size)
	for i := range count {
		acked = append(acked, fmt.Sprintf("%s-%d-%s", prefix, i, padding))
	}
	left := acked
	eventually(r.t, prefix+" to be acknowledged", func() (err error) {
		left, err = r.propose(left, boxes...)
		return err
	})
	return acked
}

// propose returns what was not acknowledged, and why.
func (r *machineRoom) propose(texts []string, boxes ...*box) (left []string, why error) {
	leader := leaderOf(boxes...)
	if leader == nil {
		return texts, errors.New("nobody leads")
	}
	var futures []Future
	for _, text := range texts {
		futures = append(futures, leader.node.Propose([]byte(text), patience))
	}
	for i, future := range futures {
		if _, _, err := future.Wait(r.t.Context()); err != nil {
			left, why = append(left, texts[i]), err
		}
	}
	return left, why
}

// lead waits until a box leads, and helps it to.
func (r *machineRoom) lead(to *box, boxes ...*box) {
	r.t.Helper()
	eventually(r.t, to.name+" leads", func() error {
		if to.node.IsLeader() {
			return nil
		}
		if leader := leaderOf(boxes...); leader != nil {
			ctx, cancel := r.briefly()
			defer cancel()
			return errors.Join(errors.New("not yet"), leader.node.TransferLeadership(ctx, to.name))
		}
		return errors.New("nobody leads")
	})
}

// undisturbed does something under a leader, and again if that has not led throughout: on a starved machine leaders go by
// themselves. An error counts only if it did.
func (r *machineRoom) undisturbed(boxes []*box, do func(leader *box, turn any) error) (leader *box, turn any) {
	r.t.Helper()
	var failure error
	eventually(r.t, "a leader that lasts", func() error {
		leader = r.whole(boxes...)
		if turn = leader.node.Leadership(); turn == nil {
			return errors.New("it is gone")
		}
		failure = do(leader, turn)
		ctx, cancel := r.briefly()
		defer cancel()
		if err := leader.node.StillLeads(ctx, turn); err != nil {
			return errors.Join(err, failure)
		}
		return nil
	})
	if failure != nil {
		r.t.Error(failure)
	}
	return leader, turn
}

// briefly bounds a question that finds no leader to answer it.
func (r *machineRoom) briefly() (context.Context, context.CancelFunc) {
	return context.WithTimeout(r.t.Context(), r.slow*2*time.Second)
}

// nudge has entries written everywhere until a node is told that its disk fails, and returns what it was told.
func (r *machineRoom) nudge(fatal <-chan error, boxes ...*box) (told error) {
	r.t.Helper()
	eventually(r.t, "the end of a node", func() error {
		if leader := leaderOf(boxes...); leader != nil {
			leader.node.Propose([]byte("nudge"), time.Millisecond) // its outcome may never be known
		}
		select {
		case told = <-fatal:
			return nil
		default:
			return errors.New("no node was told that its disk fails")
		}
	})
	return told
}
