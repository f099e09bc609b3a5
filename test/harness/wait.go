package harness

import (
	"testing"
	"time"
)

// Patience bounds every wait. It is far above what any step takes on an idle machine.
const Patience = 60 * time.Second

const pollEvery = 20 * time.Millisecond

// Eventually polls until check returns nil. When patience runs out the last error fails the test.
func Eventually(t testing.TB, what string, check func() error) {
	t.Helper()
	EventuallyWithin(t, Patience, what, check)
}

// EventuallyWithin is Eventually with a bound of its own.
func EventuallyWithin(t testing.TB, patience time.Duration, what string, check func() error) {
	t.Helper()
	if err := Poll(patience, check); err != nil {
		t.Fatalf("waited %v for %s: %v", patience, what, err)
	}
}

// Poll calls check until it returns nil and gives up with its last error when patience has run out.
func Poll(patience time.Duration, check func() error) error {
	deadline := time.Now().Add(patience)
	for {
		err := check()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return err
		}
		time.Sleep(pollEvery)
	}
}
