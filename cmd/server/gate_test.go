package server

import (
	"testing"
	"time"
)

func TestDropSettles(t *testing.T) {
	start := time.Unix(1000, 0)
	steps := []struct {
		first uint64
		after time.Duration
		want  bool
	}{
		{5, 0, true},
		{5, 100 * time.Millisecond, false}, // compaction is not through yet
		{9, 200 * time.Millisecond, true},  // it is, and there is no room still
		{9, 200*time.Millisecond + dropPatience - time.Millisecond, false},
		{9, 200*time.Millisecond + dropPatience, true}, // nothing could be cut: drop up to the next snapshot
		{9, 200*time.Millisecond + dropPatience + time.Second, false},
		{9, 200*time.Millisecond + 2*dropPatience, true},
	}
	var last drop
	for i, step := range steps {
		if got := last.settled(step.first, start.Add(step.after)); got != step.want {
			t.Errorf("step %d: %v, want %v", i, got, step.want)
		}
	}
}
