package fsm

import (
	"slices"
	"sort"
)

// refusals are the batches that Apply refused, by index. Readers of the log skip exactly those.
type refusals struct {
	list []refusal // ascending
}

type refusal struct {
	index   uint64
	verdict Verdict
}

func (r *refusals) note(index uint64, verdict Verdict) {
	r.list = append(r.list, refusal{index, verdict})
}

func (r *refusals) search(index uint64) int {
	return sort.Search(len(r.list), func(i int) bool { return r.list[i].index >= index })
}

func (r *refusals) find(index uint64) (Verdict, bool) {
	if i := r.search(index); i < len(r.list) && r.list[i].index == index {
		return r.list[i].verdict, true
	}
	return 0, false
}

// forget drops everything below index.
func (r *refusals) forget(index uint64) {
	if n := r.search(index); n > 0 {
		r.list = slices.Delete(r.list, 0, n)
	}
}

// Refused says whether Apply refused the batch at index, and why. It knows every batch that a destination or a handover
// may still read: those above the lowest cursor, and those within MarginMax and WindowBytesMax of the end.
func (f *FSM) Refused(index uint64) (Verdict, bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.refused.find(index)
}
