package egress

import (
	"context"
	"time"
)

// feed is where the gatherer hands windows to the sender, one for each wish.
type feed struct {
	wanted chan struct{} // capacity 1: the sender's wish
	out    chan *window
	poke   <-chan struct{} // dead letters may be waiting to be replayed
	wished bool
}

func newFeed(poke <-chan struct{}) *feed {
	return &feed{wanted: make(chan struct{}, 1), out: make(chan *window), poke: poke}
}

func (f *feed) wish() {
	if !f.wished {
		f.wanted <- struct{}{}
		f.wished = true
	}
}

// next waits for a window, if more is true. It returns nil when poked, or after idle if that is not zero.
func (f *feed) next(ctx context.Context, soft <-chan struct{}, more bool, idle time.Duration) (*window, error) {
	var out <-chan *window
	if more {
		f.wish()
		out = f.out
	}
	var timeout <-chan time.Time
	if idle > 0 {
		timer := time.NewTimer(idle)
		defer timer.Stop()
		timeout = timer.C
	}
	select {
	case w := <-out:
		f.wished = false
		return w, nil
	case <-f.poke:
		return nil, nil
	case <-timeout:
		return nil, nil
	case <-soft:
		return nil, errStopped
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// ready returns a window if there is one within a moment.
func (f *feed) ready(ctx context.Context) (*window, error) {
	f.wish()
	timer := time.NewTimer(10 * time.Millisecond)
	defer timer.Stop()
	select {
	case w := <-f.out:
		f.wished = false
		return w, nil
	case <-timer.C:
		return nil, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
