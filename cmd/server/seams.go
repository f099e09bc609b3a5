//go:build seams

package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"github.com/highlander-io/highlander/cluster"
	"github.com/highlander-io/highlander/fsm"
)

// A build for tests (go build -tags seams) reads the environment variable HIGHLANDER_SEAMS, names with commas between:
//
//	stock-stores   snapshots and compaction as raft's own stores do them
//	any-identity   Raft's connections are accepted, whoever they are meant for
//	clock=FILE     the wall clock is ahead by the whole seconds that FILE holds; it may change at any time
//	next-level     the build of a later version, which supports one feature level more and writes what that adds
const seamsVariable = "HIGHLANDER_SEAMS"

func init() { equip = equipFromEnvironment }

func equipFromEnvironment(o *Options) error {
	text := os.Getenv(seamsVariable)
	o.Logger.Warn("this is a build for tests", "seams", text)
	if text == "" {
		return nil
	}
	var guards []func(*cluster.Options)
	for seam := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(seam, "=")
		switch name {
		case "stock-stores":
			guards = append(guards, (*cluster.Options).StockStores)
		case "any-identity":
			guards = append(guards, (*cluster.Options).AnyIdentity)
		case "clock":
			if err := checkSteps(); err != nil {
				return err
			}
			o.Now = steppedClock(value)
		case "next-level":
			fsm.SupportNextLevel()
			o.seams.lead = writeFuture
		default:
			return fmt.Errorf("%s: unknown seam %q", seamsVariable, seam)
		}
	}
	o.seams.cluster = func(c *cluster.Options) {
		for _, take := range guards {
			take(c)
		}
	}
	return nil
}

// writeFuture writes what the next feature level adds, as soon as that level is agreed on and not before.
func writeFuture(ctx context.Context, s *Server) error {
	for range ticks(ctx, memberInterval) {
		if s.state.FeatureLevel() < fsm.FeatureLevel {
			continue
		}
		if _, _, err := s.node.Propose(fsm.EncodeFuture(s.options.Now()), memberInterval).Wait(ctx); err != nil {
			s.logger.Warn("an entry of the next level was not written", "err", err)
		}
	}
	return nil
}

// steppedClock is the machine's clock, moved by what a file says.
func steppedClock(file string) func() time.Time {
	return func() time.Time {
		text, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			return time.Now()
		}
		seconds, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			panic("BUG: " + file + ": " + err.Error())
		}
		return step(time.Now(), seconds)
	}
}

// step moves the wall part of a time and leaves the monotonic part alone, as a step of the machine's clock does. Add
// would move both, and hide every duration that is measured by the wrong one.
func step(t time.Time, seconds int) time.Time {
	wall := (*uint64)(unsafe.Pointer(&t)) // 1 bit: has a monotonic part; 33 bits: seconds; 30 bits: nanoseconds
	*wall += uint64(seconds) << 30
	return t
}

// checkSteps makes sure that times are still made of what step takes them to be made of.
func checkSteps() error {
	now := time.Now()
	for _, seconds := range []int{3600, -3600} {
		then := step(now, seconds)
		if then.Sub(now) != 0 || then.Round(0).Sub(now.Round(0)) != time.Duration(seconds)*time.Second {
			return errors.New("BUG: the wall clock of this version of Go cannot be stepped like this")
		}
	}
	return nil
}
