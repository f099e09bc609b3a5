package ingest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/highlander-io/highlander/fsm"
)

// sourceBooks is what only the leader saw of a source since the last delta. It is guarded by its group's mu.
type sourceBooks struct {
	covered   uint64
	duplicate uint64
	rejected  map[string]uint64 // samples by reason
	standby   fsm.StandbyBooks
	name      bool // the replicated state must learn the source's name, though nothing is counted
}

func (b *sourceBooks) empty() bool {
	return !b.name && b.covered == 0 && b.duplicate == 0 && len(b.rejected) == 0 && b.standby == fsm.StandbyBooks{}
}

func (b *sourceBooks) reject(reason string, samples uint64) {
	if samples == 0 {
		return
	}
	if b.rejected == nil {
		b.rejected = make(map[string]uint64)
	}
	b.rejected[reason] += samples
}

func (b *sourceBooks) discard(bytes int) {
	b.arrived(bytes)
	b.standby.Discarded++
	b.standby.DiscardedBytes += uint64(bytes)
}

// ledger numbers a leadership's deltas. A delta whose fate is unknown is proposed again, the same bytes under the
// same number, before the next one is made: so each is counted once.
type ledger struct {
	mu      sync.Mutex
	seq     uint64
	pending []byte        // encoded, not known to be committed
	begun   atomic.Uint64 // flushes
	done    uint64        // the last one that left nothing
}

// owed are requests that are in the books, but whose books are not known to be committed: they are answered 503 until that is so, and
// not counted again when they come again.
type owed struct {
	mu  sync.Mutex
	ids map[fsm.RequestID]struct{}
}

// owedMax bounds what is remembered. Whoever is not remembered is counted once more.
const owedMax = 16384

// enter says whether a request is to be counted.
func (o *owed) enter(id fsm.RequestID) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, counted := o.ids[id]; counted {
		return false
	}
	if o.ids == nil || len(o.ids) >= owedMax {
		o.ids = make(map[fsm.RequestID]struct{})
	}
	o.ids[id] = struct{}{}
	return true
}

// settle forgets a request whose books are committed.
func (o *owed) settle(id fsm.RequestID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.ids, id)
}

// deltaBytesMax keeps a delta well below the size of an entry.
const deltaBytesMax = fsm.MaxEntryBytes / 4

// flush commits what the leader saw since the last time, in as many deltas as it takes. It looks at every group: whoever waited
// while a later flush than its call went through has nothing left to commit.
func (h *Handler) flush(ctx context.Context, l *leadership) error {
	called := l.ledger.begun.Load()
	l.ledger.mu.Lock()
	defer l.ledger.mu.Unlock()
	if l.ledger.done > called {
		return nil
	}
	begun := l.ledger.begun.Add(1)
	for {
		if l.over.Load() {
			return errors.New(notLeader)
		}
		if l.ledger.pending == nil {
			books := l.delta(h.now())
			if books == nil {
				l.ledger.done = begun
				return nil
			}
			entry, err := fsm.Encode(books)
			if err != nil {
				return fmt.Errorf("ingest: books: %w", err)
			}
			l.ledger.pending = entry
		}
		// The log keeps what it is given, and pending must outlive a failure: hence the copy.
		entry := append([]byte(nil), l.ledger.pending...)
		response, _, err := h.node.Propose(entry, proposeTimeout).Wait(ctx)
		if err != nil {
			return fmt.Errorf("ingest: commit books: %w", err)
		}
		l.ledger.pending = nil
		if err, failed := response.(error); failed {
			h.log.Error("books were refused", "err", err)
		}
	}
}

// delta takes what the sources' books hold, up to deltaBytesMax, or nil if there is nothing. A group may come in
// several deltas, but a source's share is never divided: both sides of its equation travel together.
func (l *leadership) delta(now time.Time) *fsm.Books {
	books := &fsm.Books{Origin: l.origin, Time: now.UnixMilli()}
	size := 0
	for _, g := range l.all() {
		if size >= deltaBytesMax {
			break
		}
		if gb, n := g.delta(deltaBytesMax - size); n > 0 {
			books.Groups = append(books.Groups, gb)
			size += n
		}
	}
	if len(books.Groups) == 0 {
		return nil
	}
	l.ledger.seq++
	books.Seq = l.ledger.seq
	return books
}

// delta takes the books of as many sources as fit and returns about how many bytes they will be.
func (g *group) delta(room int) (fsm.GroupBooks, int) {
	gb := fsm.GroupBooks{Group: g.id}
	g.mu.Lock()
	defer g.mu.Unlock()
	size := 0
	gb.Changes, g.owed = g.owed, nil
	if ho := g.handover.Load(); ho != nil {
		if change, news := ho.changes(); news {
			gb.Changes = append(gb.Changes, change)
		}
	}
	if n := len(gb.Changes); n > 0 {
		size = 200 + 100*n + len(g.id.Tenant) + len(g.id.Name)
	}
	for name, s := range g.sources {
		if s.books.empty() {
			continue
		}
		if size == 0 {
			size += 100 + len(g.id.Tenant) + len(g.id.Name)
		}
		size += 300 + 6*2*len(name) // two maps; JSON may need six bytes for one
		s.books.addTo(&gb, name)
		s.books = sourceBooks{}
		if size >= room {
			break
		}
	}
	return gb, size
}

func (b *sourceBooks) addTo(gb *fsm.GroupBooks, name string) {
	received := b.covered + b.duplicate
	for reason, n := range b.rejected {
		if gb.Rejected == nil {
			gb.Rejected = make(map[string]uint64)
		}
		gb.Rejected[reason] += n
		received += n
	}
	gb.Covered += b.covered
	gb.Duplicate += b.duplicate
	if received > 0 {
		if gb.Received == nil {
			gb.Received = make(map[string]uint64)
		}
		gb.Received[name] += received
	}
	if b.name || b.standby != (fsm.StandbyBooks{}) {
		if gb.Standby == nil {
			gb.Standby = make(map[string]fsm.StandbyBooks)
		}
		gb.Standby[name] = b.standby
	}
}
