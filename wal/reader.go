package wal

import (
	"errors"
	"io"
	"sync"

	"github.com/hashicorp/raft"
)

// Entry is an entry as the drain needs it.
type Entry struct {
	Index, Term uint64
	Type        raft.LogType
	Data        []byte // valid until the next call of Next; must not be changed
}

// Reader reads entries one after another: newer ones from the cache, older ones through
// a buffer of its own in large reads. It is for one goroutine, holds no lock and keeps
// no segment from being reclaimed.
type Reader struct {
	w      *WAL
	next   uint64
	cursor *cursor
}

// Reader returns a reader whose first entry is from.
func (w *WAL) Reader(from uint64) *Reader { return &Reader{w: w, next: max(1, from)} }

// Next returns the next entry if its index is at most limit. It answers io.EOF when
// there is none yet (ask again later), and ErrReclaimed when it is below the log's first.
// What is above the commit index may still be replaced: limit must not exceed it.
func (r *Reader) Next(limit uint64) (Entry, error) {
	for {
		v := r.w.view.Load()
		switch {
		case r.w.closed.Load():
			return Entry{}, ErrClosed
		case r.next < v.first:
			return Entry{}, ErrReclaimed
		case r.next > v.last || r.next > limit:
			return Entry{}, io.EOF
		}
		if l := r.w.cache.get(r.next); l != nil {
			r.w.metrics.cached.Inc()
			r.next++
			return Entry{l.Index, l.Term, l.Type, l.Data}, nil
		}
		f, err := r.cold()
		if errors.Is(err, raft.ErrLogNotFound) {
			continue // removed meanwhile; the new view says how
		}
		if err != nil {
			return Entry{}, err
		}
		r.next++
		return Entry{f.index, f.term, f.kind, f.data}, nil
	}
}

func (r *Reader) cold() (frame, error) {
	r.w.metrics.disk.Inc()
	if r.cursor == nil {
		r.cursor = r.w.cursors.take(r.next)
	}
	return r.w.read(r.cursor, r.next)
}

// Close gives the buffer back. The last entry's data is not valid any more.
func (r *Reader) Close() {
	if r.cursor != nil {
		r.w.cursors.put(r.cursor)
		r.cursor = nil
	}
}

// cursorsIdle bounds the cursors kept: one for each follower that lags far behind, and some.
const cursorsIdle = 4

// cursorPool keeps cursors where their last read ended, so that raft's GetLog of one index after
// another reads ahead like a Reader does.
type cursorPool struct {
	mu   sync.Mutex
	idle []*cursor // least recently used first
}

// take returns the cursor that stands at index, else the least recently used one.
func (p *cursorPool) take(index uint64) *cursor {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := 0
	for i, c := range p.idle {
		if c.next == index && c.segment != nil {
			at = i
		}
	}
	if len(p.idle) == 0 || (len(p.idle) < cursorsIdle && p.idle[at].next != index) {
		return &cursor{}
	}
	c := p.idle[at]
	p.idle = append(p.idle[:at], p.idle[at+1:]...)
	return c
}

func (p *cursorPool) put(c *cursor) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) < cursorsIdle {
		p.idle = append(p.idle, c)
	}
}
