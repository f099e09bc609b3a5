package ingest

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/highlander-io/highlander/fsm"
)

// A window goes with its process. What was kept in the one of a member that restarted, or is gone, is on one node alone: the
// leader gives another member a copy.

const (
	// goneAfter is how long a member may be out of reach before its copies do not count any more.
	goneAfter = 10 * time.Second
	// mendBytes, and what is left of an item, are given out at a time; then comes a pause: about 20 MiB a second.
	mendBytes = 1 << 20
	mendPause = 50 * time.Millisecond
)

// headerWindow names the window of the member that answers.
const headerWindow = "X-Highlander-Window"

// holders is what this node knows of other members' windows.
type holders struct {
	mu    sync.Mutex
	peers map[string]holder // by name
}

type holder struct {
	window  string
	reached time.Time // when the member was last within reach
}

// learn notes the window that a member has answered from.
func (o *holders) learn(peer, window string, now time.Time) {
	if window == "" {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.peers == nil {
		o.peers = make(map[string]holder)
	}
	o.peers[peer] = holder{window, now}
}

// meet notes who is there, and forgets who is no member any more.
func (o *holders) meet(peers []Peer, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for name, known := range o.peers {
		at := slices.IndexFunc(peers, func(p Peer) bool { return p.Name == name })
		switch {
		case at < 0:
			delete(o.peers, name)
		case peers[at].Reachable:
			o.peers[name] = holder{known.window, now}
		}
	}
}

// live returns the windows whose copies count.
func (o *holders) live(now time.Time) map[string]bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	live := make(map[string]bool, len(o.peers))
	for _, known := range o.peers {
		if now.Sub(known.reached) < goneAfter {
			live[known.window] = true
		}
	}
	return live
}

// hold notes which window has the second copy of an item.
func (w *window) hold(id fsm.RequestID, holder string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if it := w.byID[id]; it != nil {
		it.holder = holder
	}
}

// lonely returns the items without a copy in one of the windows, the youngest first: they are needed for longest.
func (w *window) lonely(live map[string]bool) []*keptItem {
	w.mu.Lock()
	defer w.mu.Unlock()
	var items []*keptItem
	for _, it := range w.byID {
		if !live[it.holder] {
			items = append(items, it)
		}
	}
	slices.SortFunc(items, func(a, b *keptItem) int { return cmp.Compare(b.arrived, a.arrived) })
	return items
}

// lonely returns what the leader keeps on this node alone although there are others; nothing on a follower.
func (h *Handler) lonely() []*keptItem {
	if h.lead.Load() == nil || len(h.voters()) == 0 {
		return nil
	}
	return h.window.lonely(h.holders.live(h.now()))
}

// mend gives another member a copy of what this node keeps alone. Whoever has none is told so by 503 at once; this is for what
// was answered 202 before its second copy went.
func (h *Handler) mend(ctx context.Context, l *leadership) {
	if !l.mending.CompareAndSwap(false, true) {
		return
	}
	defer l.mending.Store(false)
	items := h.lonely()
	for len(items) > 0 {
		n, frames := h.parcel(items)
		if len(frames) > 0 {
			holder, err := h.offer(ctx, h.voters(), frames)
			if err != nil {
				return // nobody is there; it is tried again in a moment
			}
			for _, it := range items[:n] {
				h.window.hold(it.id, holder)
			}
		}
		if items = items[n:]; !pause(ctx, mendPause) {
			return
		}
	}
}

// parcel packs the first items of a list, as many as go at a time, without those that are not needed any more.
func (h *Handler) parcel(items []*keptItem) (n int, frames []byte) {
	for n < len(items) && len(frames) < mendBytes {
		if it := items[n]; h.window.get(it.id) == it {
			frames = it.frame(frames)
		}
		n++
	}
	return n, frames
}
