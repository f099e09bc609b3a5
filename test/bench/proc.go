package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/highlander-io/highlander/test/harness"
)

// cpuSeconds is the user and system time that living processes have used so far.
func cpuSeconds(s *harness.Stage, processes []*harness.Process) float64 {
	var sum float64
	for _, p := range processes {
		var used unix.Timespec
		if err := unix.ClockGettime(cpuClock(p.PID()), &used); err != nil {
			s.Fatalf("CPU clock of process %d: %v", p.PID(), err)
		}
		sum += time.Duration(used.Nano()).Seconds()
	}
	return sum
}

// cpuClock is the clock of a process' CPU time, in nanoseconds where /proc counts ticks of 10 ms: Linux makes its number of
// the inverted process id and, in the lowest bits, the kind of clock (2: what the scheduler has counted).
func cpuClock(pid int) int32 { return int32(^pid<<3 | 2) }

// peakRSS is the largest resident set that one of the processes ever had, in bytes.
func peakRSS(s *harness.Stage, processes []*harness.Process) int64 {
	var peak int64
	for _, p := range processes {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
		if err != nil {
			s.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
				kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
				if err != nil {
					s.Fatal(err)
				}
				peak = max(peak, kib<<10)
			}
		}
	}
	return peak
}
