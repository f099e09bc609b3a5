package server

import (
	"errors"
	"fmt"
	"log/slog"
)

// cleanups undo a construction, last in first out, every step whatever the others answer.
type cleanups struct {
	steps []cleanup
}

type cleanup struct {
	name string
	run  func() error
}

// Push adds the step that undoes what was just constructed.
func (c *cleanups) Push(name string, run func() error) {
	c.steps = append(c.steps, cleanup{name, run})
}

// Run runs the steps once and joins their errors.
func (c *cleanups) Run(logger *slog.Logger) error {
	var failed error
	for i := len(c.steps) - 1; i >= 0; i-- {
		step := c.steps[i]
		logger.Debug("closing", "step", step.name)
		if err := step.run(); err != nil {
			failed = errors.Join(failed, fmt.Errorf("close %s: %w", step.name, err))
		}
	}
	c.steps = nil
	return failed
}
