package wal

import (
	"fmt"
	"sync"
	"time"
)

// watchdogTicks is how many times in a row the watchdog must find the same write unfinished. One
// long timer would also go off in a process that was merely suspended for a while.
const watchdogTicks = 5

// watchdog latches a failure when a write takes too long: a leader with a hanging disk
// would otherwise lead for ever, as its heartbeats need no disk.
type watchdog struct {
	after   time.Duration
	failure *failure

	mu      sync.Mutex
	timer   *time.Timer
	writing bool
	began   time.Time
	ticks   int // may count one of the write before, that was on its way
}

func newWatchdog(after time.Duration, f *failure) *watchdog {
	w := &watchdog{after: after, failure: f}
	w.timer = time.AfterFunc(after, w.tick)
	w.timer.Stop()
	return w
}

func (w *watchdog) start() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writing, w.began, w.ticks = true, time.Now(), 0
	w.timer.Reset(w.after / watchdogTicks)
}

func (w *watchdog) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writing = false
	w.timer.Stop()
}

func (w *watchdog) tick() {
	if w.hangs() {
		_ = w.failure.latch(fmt.Errorf("wal: a write did not finish within %s: the disk hangs", w.after))
	}
}

func (w *watchdog) hangs() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.writing {
		return false
	}
	w.ticks++
	if w.ticks < watchdogTicks || time.Since(w.began) < w.after {
		w.timer.Reset(w.after / watchdogTicks)
		return false
	}
	return true
}
