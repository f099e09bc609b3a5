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
	// told is what predecessors have told of fenced, refenced what is held back once more of kept samples that one of them may
	// have told of: the larger of the two counts, as live ones are held back only after all kept ones.
	told, refenced uint64
	booked         fsm.ChangeBooks
}

// count adds samples that were used from what was kept, or held back.
func (ho *handover) count(used, fenced uint64) {
	ho.mu.Lock()
	defer ho.mu.Unlock()
	ho.tally.used += used
	ho.tally.fenced += fenced
}

// inherit goes on with a predecessor's account: what it used the log tells, whether it lived to book it or not.
func (ho *handover) inherit() {
	ho.mu.Lock()
	defer ho.mu.Unlock()
	ho.tally = ho.fence.past
	ho.tally.told = ho.change.Fenced
	ho.tally.booked = fsm.ChangeBooks{KeptUsed: ho.change.KeptUsed, Fenced: ho.change.Fenced, LargestGap: ho.change.LargestGap}
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

// recount adds kept samples that are held back by a leader that goes on with a handover, and returns how many of them its
// predecessors have not told of: what they told of they have booked as well.
func (ho *handover) recount(fenced uint64) (fresh uint64) {
	ho.mu.Lock()
	defer ho.mu.Unlock()
	t := &ho.tally
	before := max(t.told, t.refenced)
	t.refenced += fenced
	return max(t.told, t.refenced) - before
}

// changes returns what is not in the books yet, and takes it as booked.
func (ho *handover) changes() (fsm.ChangeBooks, bool) {
	ho.mu.Lock()
	defer ho.mu.Unlock()
	t := &ho.tally
	due := fsm.ChangeBooks{
		KeptUsed: max(t.used, t.booked.KeptUsed), Fenced: max(t.told, t.refenced) + t.fenced, LargestGap: max(t.gap, t.booked.LargestGap),
	}
	if due == t.booked {
		return fsm.ChangeBooks{}, false
	}
	delta := fsm.ChangeBooks{
		Epoch: ho.epoch, KeptUsed: due.KeptUsed - t.booked.KeptUsed, Fenced: due.Fenced - t.booked.Fenced, LargestGap: due.LargestGap,
	}
	t.booked = due
	return delta, true
}
