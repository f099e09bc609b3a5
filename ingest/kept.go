package ingest

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/highlander-io/highlander/fsm"
	"github.com/highlander-io/highlander/fsm/wire"
)

// errWindowFull is the answer to a standby for whose samples there is no room: it keeps them itself then.
var errWindowFull = errors.New("the handover window is full; try again")

// keptItem is one body of a standby, as it came. Nothing in it changes once it is in a window, but for book, holder and
// again.
type keptItem struct {
	id       fsm.RequestID
	owner    shelfKey
	named    named  // what URL or headers said; without a source the labels say which of the series are the owner's
	client   string // the sender's host, who the owner is if nothing else says so
	protocol wire.Protocol
	arrived  int64 // the clock of the leader that took it, in Unix microseconds; of one leader no two are equal
	share    int   // the owner's part of the body's bytes, as in the books
	body     []byte

	book   itemBook
	holder string // the window that has the other copy, of this leader's knowledge; guarded by the window's lock
	again  int64  // when it arrived at a leader that did not have it any more, as arrived; guarded by the window's lock
}

// arrivedMs is the arrival in Unix milliseconds.
func (it *keptItem) arrivedMs() int64 { return it.arrived / 1000 }

// keptOverhead is about what an item costs besides its body.
const keptOverhead = 400

func (it *keptItem) size() int64 { return int64(len(it.body)) + keptOverhead }

// shelfKey names a source within its group.
type shelfKey struct {
	group  fsm.GroupID
	source string
}

// window holds the kept bodies of this node: on the leader all of them, on a follower copies of those that came through
// it or were given to it. It outlives leaderships. Its lock comes after that of a group.
type window struct {
	id      string // of this process: a member that restarts has another one
	mu      sync.Mutex
	max     int64
	used    int64
	shelves map[shelfKey][]*keptItem // by arrival
	byID    map[fsm.RequestID]*keptItem
	last    int64 // latest arrival given out
}

func (w *window) limit(bytes int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.max = bytes
}

// get returns an item that is kept already.
func (w *window) get(id fsm.RequestID) *keptItem {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.byID[id]
}

// room says whether a body of that many bytes would find a place now. It saves a copy; put has the last word.
func (w *window) room(bytes int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.used+int64(bytes)+keptOverhead <= w.max
}

// take keeps an item that arrives at the leader now. One that is kept already stays as it is, and is returned instead;
// one that has just left the window comes back to the place it had.
func (w *window) take(it *keptItem, now int64) (*keptItem, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if kept := w.byID[it.id]; kept != nil {
		return kept, nil
	}
	if it.arrived == 0 {
		w.last = max(w.last+1, now)
		it.arrived = w.last
	}
	return it, w.add(it)
}

// copy keeps an item that arrived at a leader before. It says whether the item is new here. One that is not, since this member
// did not hear that it was given up, is the second copy of the leader's and needed for as long as that one.
func (w *window) copy(it *keptItem) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if kept := w.byID[it.id]; kept != nil {
		kept.again = max(kept.again, it.arrived)
		w.last = max(w.last, it.arrived)
		return false, nil
	}
	w.last = max(w.last, it.arrived) // whoever leads next goes on from there, whatever its clock says
	return true, w.add(it)
}

// next is a time, in Unix microseconds, that nothing in a window has reached and everything that arrives from now on will.
func (w *window) next() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last + 1
}

// raise notes the time by which the leader keeps: whoever leads next goes on from there.
func (w *window) raise(to int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = max(w.last, to)
}

// ahead is by how much what is kept is ahead of a time.
func (w *window) ahead(of time.Time) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return max(0, time.UnixMicro(w.last).Sub(of))
}

func (w *window) add(it *keptItem) error {
	if w.used+it.size() > w.max {
		return errWindowFull
	}
	if w.shelves == nil {
		w.shelves = make(map[shelfKey][]*keptItem)
		w.byID = make(map[fsm.RequestID]*keptItem)
	}
	shelf := w.shelves[it.owner]
	at := len(shelf)
	for at > 0 && shelf[at-1].arrived > it.arrived {
		at--
	}
	w.shelves[it.owner] = slices.Insert(shelf, at, it)
	w.byID[it.id] = it
	w.used += it.size()
	return nil
}

// first returns the item of a source that arrived first, or nil.
func (w *window) first(key shelfKey) *keptItem {
	w.mu.Lock()
	defer w.mu.Unlock()
	if shelf := w.shelves[key]; len(shelf) > 0 {
		return shelf[0]
	}
	return nil
}

// shelf returns the items of a source by arrival.
func (w *window) shelf(key shelfKey) []*keptItem {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.shelves[key])
}

// release drops what arrived before a time, in Unix microseconds, and returns it.
func (w *window) release(key shelfKey, before int64) []*keptItem {
	w.mu.Lock()
	defer w.mu.Unlock()
	shelf := w.shelves[key]
	n := 0
	for n < len(shelf) && max(shelf[n].arrived, shelf[n].again) < before {
		n++
	}
	if n == 0 {
		return nil
	}
	gone := slices.Clone(shelf[:n])
	for _, it := range gone {
		delete(w.byID, it.id)
		w.used -= it.size()
	}
	if n == len(shelf) {
		delete(w.shelves, key)
	} else {
		clear(shelf[:n]) // the array lives on under the rest
		w.shelves[key] = shelf[n:]
	}
	return gone
}

// remove drops one item, if it is still there.
func (w *window) remove(it *keptItem) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.byID[it.id] != it {
		return false
	}
	delete(w.byID, it.id)
	w.used -= it.size()
	shelf := w.shelves[it.owner]
	at := slices.Index(shelf, it)
	switch {
	case len(shelf) == 1:
		delete(w.shelves, it.owner)
	case at == 0:
		shelf[0] = nil
		w.shelves[it.owner] = shelf[1:]
	default:
		w.shelves[it.owner] = slices.Delete(shelf, at, at+1)
	}
	return true
}

// list returns all items, those of one source in their order.
func (w *window) list() []*keptItem {
	w.mu.Lock()
	defer w.mu.Unlock()
	items := make([]*keptItem, 0, len(w.byID))
	for _, shelf := range w.shelves {
		items = append(items, shelf...)
	}
	return items
}

// oldest returns the first arrival of each source.
func (w *window) oldest() map[shelfKey]int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	oldest := make(map[shelfKey]int64, len(w.shelves))
	for key, shelf := range w.shelves {
		oldest[key] = shelf[0].arrived
	}
	return oldest
}

// held returns what the window holds.
func (w *window) held() (items int, bytes int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.byID), w.used
}
