package harness

import (
	"sync/atomic"
	"testing"
	"time"
)

// Lateness watches how late this process is run. A machine that starves it starves nodes as well: what leaders and sources
// then do by themselves is not the product's doing.
type Lateness struct{ worst atomic.Int64 }

// StarvedAfter is a lateness that may cost a leader its place: well below Raft's lease of 350 ms, far above what an idle machine
// shows.
const StarvedAfter = 100 * time.Millisecond

// WatchLateness watches until the test ends.
func WatchLateness(t testing.TB) *Lateness {
	l, done, ended := &Lateness{}, make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for due := time.Now(); ; {
			due = due.Add(pollEvery)
			select {
			case <-time.After(time.Until(due)):
			case <-done:
				return
			}
			late := time.Since(due)
			l.worst.Store(max(l.worst.Load(), int64(late)))
			due = due.Add(max(late, 0))
		}
	}()
	t.Cleanup(func() {
		close(done)
		<-ended
	})
	return l
}

// Worst is the greatest lateness so far.
func (l *Lateness) Worst() time.Duration { return time.Duration(l.worst.Load()) }
