package server

import (
	"context"
	"iter"
	"time"
)

// ticks yields the time at each interval until ctx ends. Times that come while the last one is being used are dropped, but for one.
func ticks(ctx context.Context, interval time.Duration) iter.Seq[time.Time] {
	return func(yield func(time.Time) bool) {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case now := <-ticker.C:
				if !yield(now) {
					return
				}
			}
		}
	}
}
