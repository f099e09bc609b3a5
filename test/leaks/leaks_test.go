package leaks

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

// leaving leaves a goroutine behind that ends only after goleak has lost its own patience.
type leaving struct{}

func (leaving) Run() int {
	go func() { <-time.After(time.Second) }()
	return 0
}

func TestWhatEndsIsNoLeak(t *testing.T) {
	current := goleak.IgnoreCurrent()
	if code := (patient{leaving{}, []goleak.Option{current}}).Run(); code != 0 {
		t.Errorf("exit status %d, want 0", code)
	}
	if err := goleak.Find(current); err != nil {
		t.Error(err)
	}
}
