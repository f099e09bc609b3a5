package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/highlander-io/highlander/test/harness"
)

// ticksPerSecond is the unit of times in /proc/PID/stat on Linux (USER_HZ).
const ticksPerSecond = 100

// cpuSeconds is the user and system time that living processes have used so far.
func cpuSeconds(s *harness.Stage, processes []*harness.Process) float64 {
	var sum float64
	for _, p := range processes {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
		if err != nil {
			s.Fatal(err)
		}
		// The second field is a name in parentheses that may hold spaces; utime and stime are the 14th and 15th.
		fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
		for _, field := range fields[11:13] {
			ticks, err := strconv.ParseInt(field, 10, 64)
			if err != nil {
				s.Fatal(err)
			}
			sum += float64(ticks) / ticksPerSecond
		}
	}
	return sum
}

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
