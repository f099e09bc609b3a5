package main

import (
	"testing"
	"time"

	"github.com/highlander-io/highlander/test/history"
)

func TestGaps(t *testing.T) {
	gap, repeated := gaps([]history.Sample{{Time: 5000}, {Time: 1000}, {Time: 2000}, {Time: 2000}})
	if gap != 3*time.Second || repeated != 1 {
		t.Errorf("gap %v, %d repeated; want 3s and 1", gap, repeated)
	}
}
