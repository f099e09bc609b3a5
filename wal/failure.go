package wal

import "sync/atomic"

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
