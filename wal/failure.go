package wal

import (
	"fmt"
	"sync/atomic"
	"time"
)

// failure is the latch of W7: the first error stays, and is told once.
type failure struct {
	err   atomic.Pointer[error]
	fatal func(error)
}

func newFailure(fatal func(error)) *failure {
	if fatal == nil {
		fatal = func(err error) { panic(err) }
	}
	return &failure{fatal: fatal}
}

// latch keeps the first error, calls fatal for it, and returns the one that is latched.
func (f *failure) latch(err error) error {
	if f.err.CompareAndSwap(nil, &err) {
		f.fatal(err)
	}
	return f.latched()
}

// latched returns the first error, or nil.
func (f *failure) latched() error {
	if err := f.err.Load(); err != nil {
		return *err
	}
	return nil
}

// watchdog latches a failure when a write takes too long: a leader with a hanging disk
// would otherwise lead for ever, as its heartbeats need no disk.
type watchdog struct {
	timer *time.Timer
	after time.Duration
}

func newWatchdog(after time.Duration, f *failure) *watchdog {
	timer := time.AfterFunc(after, func() {
		_ = f.latch(fmt.Errorf("wal: a write did not finish within %s: the disk hangs", after))
	})
	timer.Stop()
	return &watchdog{timer: timer, after: after}
}

func (w *watchdog) start() { w.timer.Reset(w.after) }
func (w *watchdog) stop()  { w.timer.Stop() }
