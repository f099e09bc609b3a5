package cluster

import (
	"hash/crc32"
	"slices"
	"sync"
	"time"
)

// slownessMax keeps what waits for several elections below patience.
const slownessMax = 6

// slowness is by how much the nodes of a room are to be more patient than on an idle machine: half of how many times longer
// work takes here, lately, than if nobody else wanted the processor. Timeouts that suit an idle machine let a starved one hold
// elections without end.
func slowness() time.Duration {
	now := measureSlowness()
	lately.Lock()
	defer lately.Unlock()
	copy(lately.measured[:], lately.measured[1:])
	lately.measured[len(lately.measured)-1] = now
	return slices.Max(lately.measured[:])
}

// lately remembers the last rooms' measurements: one alone may fall between two pauses.
var lately struct {
	sync.Mutex
	measured [4]time.Duration
}

// measureSlowness works for some milliseconds. The pieces that were not interrupted show how fast the processor is.
func measureSlowness() time.Duration {
	const pieces = 250
	block := make([]byte, 1<<20)
	fastest, began := time.Hour, time.Now()
	for range pieces {
		start := time.Now()
		crc32.ChecksumIEEE(block)
		fastest = min(fastest, time.Since(start))
	}
	return min(max(time.Since(began)/(pieces*fastest)/2, 1), slownessMax)
}
