package cluster

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// watchdog notices a disk that hangs. Raft's heartbeats do not touch the disk, so a leader whose disk hangs
// would otherwise stay leader for ever and commit nothing.
type watchdog struct {
	limit time.Duration
	now   func() time.Time

	mu      sync.Mutex
	running int
	since   time.Time // when the oldest of the running operations may have begun
	looked  time.Time // when check last ran
}

func newWatchdog(limit time.Duration) *watchdog { return &watchdog{limit: limit, now: time.Now} }

// interval is how often check runs.
func (w *watchdog) interval() time.Duration { return w.limit / 5 }

func (w *watchdog) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.running++; w.running == 1 {
		w.since = w.now()
	}
}

// end restarts the clock for what still runs: some progress is not a hanging disk.
func (w *watchdog) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running--
	w.since = w.now()
}

func (w *watchdog) check() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	// A check that comes much too late means that the whole process stood still, not the disk.
	if late := now.Sub(w.looked) - w.interval(); !w.looked.IsZero() && late > w.interval() {
		w.since = w.since.Add(late)
	}
	w.looked = now
	if w.running == 0 {
		return nil
	}
	if took := now.Sub(w.since); took > w.limit {
		return fmt.Errorf("cluster: the disk hangs: a write has not returned for %s", took.Round(time.Millisecond))
	}
	return nil
}

// run reports a hanging disk once.
func (w *watchdog) run(ctx context.Context, fatal func(error)) {
	tick := time.NewTicker(w.interval())
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := w.check(); err != nil {
				fatal(err)
				return
			}
		}
	}
}
