package ingest

import (
	"time"

	"github.com/highlander-io/highlander/fsm"
)

// account is what became known of a change of source: how many kept samples were used, how many samples the fence held
// back, and the largest gap that is left in a series.
type account struct {
	used, fenced uint64
	gap          int64 // milliseconds
	booked       fsm.ChangeBooks
}

// count adds samples that were used from what was kept, or held back.
func (ho *handover) count(used, fenced uint64) {
	ho.mu.Lock()
	defer ho.mu.Unlock()
	ho.tally.used += used
	ho.tally.fenced += fenced
}

// meet notes the first sample that a series has in the new source's turn.
func (ho *handover) meet(hash uint64, first int64) {
	ho.mu.Lock()
	defer ho.mu.Unlock()
	ho.meetLocked(hash, first)
}

func (ho *handover) meetLocked(hash uint64, first int64) {
	line, known := ho.fence.lines[hash]
	if !known {
		return // new, as far as the log goes back
	}
	if _, met := ho.met[hash]; met {
		return
	}
	if ho.met == nil {
		ho.met = make(map[uint64]struct{}, len(ho.fence.lines))
	}
	ho.met[hash] = struct{}{}
	if _, passed := ho.fence.own[hash]; !passed { // else a predecessor saw its first
		ho.tally.gap = max(ho.tally.gap, first-(line-ho.fence.guard))
	}
}

// watching says whether first samples are still awaited: until all series have been met, and no longer than the margin,
// as some may be gone.
func (ho *handover) watching(margin time.Duration, now time.Time) bool {
	if now.Sub(ho.openedAt) > margin {
		return false
	}
	ho.mu.Lock()
	defer ho.mu.Unlock()
	return len(ho.met) < len(ho.fence.lines)
}

// sum returns everything so far.
func (ho *handover) sum() account {
	ho.mu.Lock()
	defer ho.mu.Unlock()
	return ho.tally
}

// changes returns what is not in the books yet, and takes it as booked.
func (ho *handover) changes() (fsm.ChangeBooks, bool) {
	ho.mu.Lock()
	defer ho.mu.Unlock()
	t := &ho.tally
	delta := fsm.ChangeBooks{Epoch: ho.epoch, KeptUsed: t.used - t.booked.KeptUsed, Fenced: t.fenced - t.booked.Fenced, LargestGap: t.gap}
	if delta.KeptUsed == 0 && delta.Fenced == 0 && t.gap == t.booked.LargestGap {
		return delta, false
	}
	t.booked = fsm.ChangeBooks{KeptUsed: t.used, Fenced: t.fenced, LargestGap: t.gap}
	return delta, true
}
