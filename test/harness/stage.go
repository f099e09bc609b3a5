package harness

import (
	"errors"
	"fmt"
	"os"
	"testing"
)

// Stage lets a program that is no test use this package: it stands in for testing.T, prints instead of logging, and
// cleans up when its Run is over.
type Stage struct {
	testing.TB // nil: whatever is not defined here is not for a Stage
	cleanups   []func()
	failed     bool
}

var errStage = errors.New("stage ended")

// OnStage runs f and then what f's pieces left to clean up, newest first; it returns an exit status.
func OnStage(f func(*Stage)) (code int) {
	s := &Stage{}
	defer func() {
		r := recover()
		s.clean()
		if s.failed {
			code = 1
		}
		if err, ok := r.(error); r != nil && (!ok || !errors.Is(err, errStage)) {
			panic(r)
		}
	}()
	f(s)
	return 0
}

func (s *Stage) clean() {
	for len(s.cleanups) > 0 {
		last := len(s.cleanups) - 1
		f := s.cleanups[last]
		s.cleanups = s.cleanups[:last]
		f()
	}
}

// Helper does nothing.
func (s *Stage) Helper() {}

// Cleanup registers f to run when the stage ends.
func (s *Stage) Cleanup(f func()) { s.cleanups = append(s.cleanups, f) }

// TempDir makes a directory that goes away with the stage.
func (s *Stage) TempDir() string {
	dir, err := os.MkdirTemp("", "highlander-stage-")
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// Failed says whether something went wrong.
func (s *Stage) Failed() bool { return s.failed }

// Logf prints a line.
func (s *Stage) Logf(format string, args ...any) { fmt.Printf(format+"\n", args...) }

// Errorf prints a line on standard error and goes on.
func (s *Stage) Errorf(format string, args ...any) {
	s.failed = true
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}

// Fatal ends the stage.
func (s *Stage) Fatal(args ...any) { s.Fatalf("%s", fmt.Sprintln(args...)) }

// Fatalf ends the stage.
func (s *Stage) Fatalf(format string, args ...any) {
	s.Errorf(format, args...)
	panic(errStage)
}
