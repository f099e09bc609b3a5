package fsm

import (
	"math"
	"sort"
	"time"
)

const (
	// MarginMax bounds how far back times and sizes of entries are remembered, on every node alike.
	MarginMax = 15 * time.Minute
	// WindowBytesMax bounds the same in bytes.
	WindowBytesMax = 1 << 30
	// FloorSlack is the "little more" than the margin for which entries are kept.
	FloorSlack = 30 * time.Second

	markStep  = time.Second // between two marks, or
	markBytes = 1 << 20     // this much
)

// mark says that the batch at index was proposed at time, with bytes of batches before it.
type mark struct {
	index uint64
	time  int64 // Unix milliseconds; never less than that of the mark before
	bytes uint64
}

// marks is a sparse memory of when entries were proposed and how large they are. Between two marks lie at most markBytes
// and one entry, or entries within markStep.
type marks struct {
	clock int64  // the latest time of any batch
	bytes uint64 // of all batches so far
	list  []mark // ascending in everything
}

// note adds a batch; it says whether it became a mark.
func (m *marks) note(index uint64, at int64, bytes int) bool {
	m.clock = max(m.clock, at)
	marked := len(m.list) == 0
	if !marked {
		last := m.list[len(m.list)-1]
		marked = m.clock-last.time >= markStep.Milliseconds() || m.bytes-last.bytes >= markBytes
	}
	if marked {
		m.list = append(m.list, mark{index, m.clock, m.bytes})
	}
	m.bytes += uint64(bytes)
	if marked {
		m.trim()
	}
	return marked
}

// trim drops the marks before the largest window anyone may ask for.
func (m *marks) trim() {
	n := m.position(MarginMax+FloorSlack, WindowBytesMax)
	if n > 0 {
		m.list = append(m.list[:0], m.list[n:]...)
	}
}

// position returns the position of the first mark of a window: the last mark at or before its beginning in time, unless
// more than window bytes follow, then the first one that fewer follow.
func (m *marks) position(margin time.Duration, window uint64) int {
	since := m.clock - margin.Milliseconds()
	inTime := sort.Search(len(m.list), func(i int) bool { return m.list[i].time > since })
	inBytes := sort.Search(len(m.list), func(i int) bool { return m.bytes-m.list[i].bytes <= window })
	return min(max(inTime-1, inBytes, 0), len(m.list)-1)
}

// start returns the index at which a window begins; the largest index if there was no batch.
func (m *marks) start(margin time.Duration, window uint64) uint64 {
	if len(m.list) == 0 {
		return math.MaxUint64
	}
	return m.list[m.position(margin, window)].index
}

// lowestCursor is the lowest of all cursors. Without a destination it stays where it was.
func (s *state) lowestCursor() uint64 {
	if len(s.destinations) == 0 {
		return s.parked
	}
	lowest := uint64(math.MaxUint64)
	for _, d := range s.destinations {
		lowest = min(lowest, d.Cursor)
	}
	return lowest
}

// Floor returns the lowest index that anyone still needs: everything at or above it must be kept, and a peer may be given
// a snapshot at floor-1 or below. It is the lowest of
//
//   - the lowest cursor plus one; before the first destination it is 1, so nothing goes, and after the last one was
//     forgotten it stays;
//   - where the last Options.Margin plus FloorSlack of batches begin, by their own time stamps, or the last
//     Options.WindowBytes, if that is later. It is exact to the marks: up to a second, or 1 MiB, more is kept in time, and
//     less in bytes.
//   - the first entry that a fence which is open was built from.
//
// Time is the latest stamp of any batch: while nothing arrives, the floor stays.
func (f *FSM) Floor() uint64 {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return min(f.lowestCursor()+1, f.marks.start(f.margin+FloorSlack, f.window), f.lowestFence())
}

// HoldsBatches says whether the log ever had a batch.
func (f *FSM) HoldsBatches() bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return len(f.marks.list) > 0
}

// prune forgets refusals that nobody can ask for any more.
func (s *state) prune() {
	below := min(s.marks.start(MarginMax+FloorSlack, WindowBytesMax), s.lowestFence())
	if len(s.destinations) > 0 {
		below = min(below, s.lowestCursor()+1)
	}
	s.refused.forget(min(below, s.applied+1))
}
