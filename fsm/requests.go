package fsm

import "math/bits"

// RequestsMax is how many requests are remembered, so that a second copy of one is told.
const RequestsMax = 16384

// requests remembers the accepted parts of the latest requests, in order of their first accepted part.
type requests struct {
	slots []request // a ring once it is full
	next  int       // the oldest slot of a full ring
	byID  map[RequestID]uint32
}

type request struct {
	id    RequestID
	parts uint32
	left  uint32   // parts not accepted yet
	seen  uint64   // the first 64 parts
	more  []uint64 // the others
}

// bit returns the word and the mask of a part, counted from 1.
func (r *request) bit(part uint32) (*uint64, uint64) {
	word, mask := (part-1)/64, uint64(1)<<((part-1)%64)
	if word == 0 {
		return &r.seen, mask
	}
	return &r.more[word-1], mask
}

func newRequest(id RequestID, parts uint32) request {
	r := request{id: id, parts: parts, left: parts}
	if parts > 64 {
		r.more = make([]uint64, (parts-1)/64)
	}
	return r
}

// recount sets left from the parts seen; false if none was seen, or one that does not exist.
func (r *request) recount() bool {
	seen := bits.OnesCount64(r.seen)
	for _, word := range r.more {
		seen += bits.OnesCount64(word)
	}
	last, mask := r.bit(r.parts)
	excess := *last &^ (mask | (mask - 1))
	r.left = r.parts - uint32(seen)
	return seen > 0 && excess == 0
}

// complete says whether all parts of a request were accepted.
func (m *requests) complete(id RequestID) bool {
	i, ok := m.byID[id]
	return ok && m.slots[i].left == 0
}

// seen says whether this part was accepted. The zero id stands for none and was never seen.
func (m *requests) seen(id RequestID, part, parts uint32) bool {
	i, ok := m.byID[id]
	if !ok {
		return false
	}
	r := &m.slots[i]
	if r.left == 0 {
		return true
	}
	if r.parts != parts {
		return false
	}
	word, mask := r.bit(part)
	return *word&mask != 0
}

// note remembers an accepted part that was not seen before.
func (m *requests) note(id RequestID, part, parts uint32) {
	if id == (RequestID{}) {
		return
	}
	i, ok := m.byID[id]
	switch {
	case !ok:
		i = m.enter(newRequest(id, parts))
	case m.slots[i].parts != parts: // cut otherwise than before: begin again
		m.slots[i] = newRequest(id, parts)
	}
	word, mask := m.slots[i].bit(part)
	*word |= mask
	m.slots[i].left--
}

func (m *requests) enter(r request) uint32 {
	i := m.next
	if len(m.slots) < RequestsMax {
		i = len(m.slots)
		m.slots = append(m.slots, r)
	} else {
		delete(m.byID, m.slots[i].id)
		m.slots[i] = r
		m.next = (i + 1) % RequestsMax
	}
	m.byID[r.id] = uint32(i)
	return uint32(i)
}

// inOrder calls fn with every request, the oldest first.
func (m *requests) inOrder(fn func(*request)) {
	for i := range m.slots {
		fn(&m.slots[(m.next+i)%len(m.slots)])
	}
}
