package egress

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/highlander-io/highlander/fsm"
)

// counter is a node that commits everything, and counts.
type counter struct{ moves []fsm.Cursor }

func (c *counter) Lease() error { return nil }

func (c *counter) Propose(_ context.Context, entry []byte) (any, error) {
	_, command, err := fsm.Decode(entry)
	c.moves = append(c.moves, *command.(*fsm.Cursor))
	return nil, err
}

// trickle delivers a window a second for so long and returns the moves of the cursor that this took.
func trickle(t *testing.T, sparing bool, seconds int, stored int64) (moves []fsm.Cursor) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		node := &counter{}
		o := &Options{Now: time.Now, Sparing: func() bool { return sparing }}
		a := newAcker("lts", 0, &journal{node: node, state: fsm.New(fsm.Options{})}, o)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- a.run(ctx) }()
		for i := range uint64(seconds) {
			if err := a.reserve(ctx, stored); err != nil {
				t.Error(err)
			}
			if err := a.add(&window{after: i, to: i + 1, batches: 1, stored: stored}); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Second)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		moves = node.moves
	})
	return moves
}

// With little room in the log a slow delivery costs an entry a minute, and a fast one an entry per 4 MiB; nothing is left
// out, also when it ends.
func TestSparingCursors(t *testing.T) {
	for _, c := range []struct {
		sparing  bool
		stored   int64
		min, max int
	}{
		{false, 100, 600, 600},
		{true, 100, 10, 12},
		{true, ackBytes / 4, 150, 160},
		{true, tailMax, 600, 600},
	} {
		moves := trickle(t, c.sparing, 600, c.stored)
		if n := len(moves); n < c.min || n > c.max {
			t.Errorf("%+v: %d moves", c, n)
		}
		if last := moves[len(moves)-1]; last.To != 600 {
			t.Errorf("%+v: the cursor ends at %d", c, last.To)
		}
	}
}
