package fsm

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

var errContradiction = errors.New("it contradicts itself")

// encodeState writes everything that decides about the future.
func encodeState(s *state) [][]byte {
	e := &encoder{head: make([]byte, 0, sizeHint(s))}
	e.head = append(append(e.head, snapshotMagic...), SnapshotVersion)
	e.uint(s.applied)
	e.name(s.clusterUUID)
	e.uint(s.featureLevel)
	e.uint(s.parked)
	e.marks(&s.marks)
	e.refusals(&s.refused)
	e.requests(&s.requests)
	e.ledger(&s.ledger)
	e.uint(uint64(len(s.groups)))
	for _, g := range s.sortedGroups() {
		e.group(g)
	}
	e.uint(uint64(len(s.destinations)))
	for _, name := range slices.Sorted(maps.Keys(s.destinations)) {
		e.destination(s.destinations[name])
	}
	e.uint(uint64(len(s.letters.byID)))
	for _, l := range s.letters.sorted() {
		e.letter(l)
	}
	return e.finish()
}

// sizeHint is about the size of a state without bodies.
func sizeHint(s *state) int {
	return 4096 + 20*len(s.requests.slots) + 12*len(s.refused.list) + 20*len(s.marks.list) + 256*len(s.groups) + 128*len(s.destinations)
}

func decodeState(data []byte) (state, error) {
	body, err := openSnapshot(data)
	if err != nil {
		return state{}, err
	}
	d := &decoder{scanner{data: body}}
	s := newState()
	s.applied = d.uvarint()
	s.clusterUUID = d.string()
	s.featureLevel = d.uvarint()
	s.parked = d.uvarint()
	d.marks(&s.marks)
	d.refusals(&s.refused)
	d.requests(&s.requests)
	d.ledger(&s.ledger)
	d.each(func() { d.group(&s) })
	d.each(func() { d.destination(&s) })
	d.each(func() { d.letter(&s) })
	for name, x := range s.destinations {
		d.must(x.Backlog.holds(s.letters.queued(name)))
	}
	if err := d.finished(); err != nil {
		return state{}, fmt.Errorf("%w: %w", ErrSnapshot, err)
	}
	if s.featureLevel > FeatureLevel {
		return state{}, tooOld(s.featureLevel)
	}
	return s, nil
}

// decoder is a scanner that knows the sections.
type decoder struct{ scanner }

// count returns a number of items, each of which takes at least a byte.
func (d *decoder) count() uint64 {
	n := d.uvarint()
	if n > uint64(len(d.data)-d.offset) {
		d.fail(errTruncated)
		return 0
	}
	return n
}

// each calls item for as many as follow, until one fails.
func (d *decoder) each(item func()) {
	for n := d.count(); n > 0 && d.err == nil; n-- {
		item()
	}
}

func (d *decoder) string() string { return string(d.name("name", NameBytesMax)) }

func (d *decoder) flag() bool {
	switch d.byte() {
	case 0:
		return false
	case 1:
		return true
	}
	d.fail(errRange)
	return false
}

func (d *decoder) must(ok bool) bool {
	if !ok {
		d.fail(errContradiction)
	}
	return d.err == nil
}

func (e *encoder) marks(m *marks) {
	e.int(m.clock)
	e.uint(m.bytes)
	e.uint(uint64(len(m.list)))
	for _, k := range m.list {
		e.uint(k.index)
		e.int(k.time)
		e.uint(k.bytes)
	}
}

func (d *decoder) marks(m *marks) {
	m.clock, m.bytes = d.varint(), d.uvarint()
	d.each(func() {
		k := mark{d.uvarint(), d.varint(), d.uvarint()}
		if n := len(m.list); n > 0 {
			last := m.list[n-1]
			d.must(k.index > last.index && k.time >= last.time && k.bytes >= last.bytes)
		}
		if d.must(k.time <= m.clock && k.bytes <= m.bytes) {
			m.list = append(m.list, k)
		}
	})
}

func (e *encoder) refusals(r *refusals) {
	e.uint(uint64(len(r.list)))
	for _, x := range r.list {
		e.uint(x.index)
		e.head = append(e.head, byte(x.verdict))
	}
}

func (d *decoder) refusals(r *refusals) {
	var last uint64
	d.each(func() {
		x := refusal{d.uvarint(), Verdict(d.byte())}
		if d.must(x.index > last) {
			last = x.index
			r.list = append(r.list, x)
		}
	})
}

func (e *encoder) requests(m *requests) {
	e.uint(uint64(len(m.slots)))
	m.inOrder(func(r *request) {
		e.head = append(e.head, r.id[:]...)
		e.uint(uint64(r.parts))
		e.uint(r.seen)
		for _, word := range r.more {
			e.uint(word)
		}
	})
}

func (d *decoder) requests(m *requests) {
	d.each(func() {
		var id RequestID
		copy(id[:], d.take(uint64(len(id))))
		parts := d.uint32()
		_, known := m.byID[id]
		if !d.must(parts >= 1 && parts <= PartsMax && !known && len(m.slots) < RequestsMax) {
			return
		}
		r := newRequest(id, parts)
		r.seen = d.uvarint()
		for i := range r.more {
			r.more[i] = d.uvarint()
		}
		if d.must(r.recount()) {
			m.enter(r)
		}
	})
}

func (e *encoder) ledger(l *ledger) {
	e.uint(uint64(len(l.origins)))
	for _, o := range l.origins {
		e.name(o.name)
		e.uint(o.seq)
	}
}

func (d *decoder) ledger(l *ledger) {
	d.each(func() { l.origins = append(l.origins, origin{d.string(), d.uvarint()}) })
}

func (e *encoder) counts(m map[string]uint64) {
	e.uint(uint64(len(m)))
	if len(m) == 0 {
		return
	}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		e.name(key)
		e.uint(m[key])
	}
}

func (d *decoder) counts() map[string]uint64 {
	var m map[string]uint64
	d.each(func() {
		key := d.string()
		if _, known := m[key]; !d.must(!known) {
			return
		}
		if m == nil {
			m = make(map[string]uint64)
		}
		m[key] = d.uvarint()
	})
	return m
}

func (e *encoder) group(g *group) {
	e.name(g.id.Tenant)
	e.name(g.id.Name)
	e.uint(g.epoch)
	e.int(g.since)
	e.name(g.pinned)
	e.name(g.promoted)
	e.int(g.watermark)
	e.int(g.touched)
	e.uint(g.books.Received)
	e.uint(g.books.Accepted)
	e.uint(g.books.Covered)
	e.uint(g.books.Duplicate)
	e.counts(g.books.Rejected)
	e.standby(g.standby)
	e.uint(uint64(len(g.sources)))
	e.sources = e.sources[:0]
	for _, s := range g.sources {
		e.sources = append(e.sources, s)
	}
	slices.SortFunc(e.sources, compareSources)
	for _, s := range e.sources {
		e.source(s)
	}
	e.flag(g.current != nil)
	e.name(g.currentName())
	e.uint(uint64(len(g.history)))
	for i := range g.history {
		e.change(&g.history[i])
	}
	e.counts(g.changes)
	e.fence(g.fence)
}

func (d *decoder) group(s *state) {
	g := &group{sources: make(map[string]*source)}
	g.id = GroupID{Tenant: d.string(), Name: d.string()}
	g.epoch, g.since = d.uvarint(), d.varint()
	g.pinned, g.promoted = d.string(), d.string()
	g.watermark, g.touched = d.varint(), d.varint()
	g.books.Received, g.books.Accepted = d.uvarint(), d.uvarint()
	g.books.Covered, g.books.Duplicate = d.uvarint(), d.uvarint()
	g.books.Rejected = d.counts()
	g.standby = d.standby()
	d.each(func() { d.source(g) })
	if elected, name := d.flag(), d.string(); elected {
		g.current = g.sources[name]
		d.must(g.current != nil)
	}
	d.each(func() { g.history = append(g.history, d.change()) })
	g.changes = d.counts()
	g.fence = d.fence()
	if d.must(s.groups[g.id] == nil && g.books.Balanced() && g.standby.Balanced() && len(g.history) <= HistoryMax) {
		s.groups[g.id] = g
		if g.fence != nil {
			s.fenced[g] = struct{}{}
		}
	}
}

func (e *encoder) source(s *source) {
	e.name(s.name)
	e.flag(s.adminWeight != nil)
	if s.adminWeight != nil {
		e.uint(*s.adminWeight)
	}
	e.int(s.newest)
	e.uint(s.received)
	e.standby(s.standby)
}

func (d *decoder) source(g *group) {
	s := &source{name: d.string()}
	if d.flag() {
		weight := d.uvarint()
		s.adminWeight = &weight
	}
	s.newest = d.varint()
	s.received = d.uvarint()
	s.standby = d.standby()
	if d.must(g.sources[s.name] == nil && s.standby.Balanced() && s.standby.Kept >= 0 && s.standby.KeptBytes >= 0) {
		g.sources[s.name] = s
	}
}

func (e *encoder) standby(b StandbyBooks) {
	e.uint(b.Requests)
	e.uint(b.Bytes)
	e.int(b.Kept)
	e.int(b.KeptBytes)
	e.uint(b.Discarded)
	e.uint(b.DiscardedBytes)
	e.uint(b.Used)
	e.uint(b.UsedBytes)
}

func (d *decoder) standby() StandbyBooks {
	return StandbyBooks{
		Requests: d.uvarint(), Bytes: d.uvarint(), Kept: d.varint(), KeptBytes: d.varint(),
		Discarded: d.uvarint(), DiscardedBytes: d.uvarint(), Used: d.uvarint(), UsedBytes: d.uvarint(),
	}
}

func (e *encoder) change(c *Change) {
	e.int(c.At)
	e.uint(c.Epoch)
	e.name(c.From)
	e.name(c.To)
	e.name(c.Reason)
	e.int(c.Boundary)
	e.uint(c.KeptUsed)
	e.uint(c.Fenced)
	e.int(c.LargestGap)
}

func (d *decoder) change() Change {
	return Change{
		At: d.varint(), Epoch: d.uvarint(), From: d.string(), To: d.string(), Reason: d.string(),
		Boundary: d.varint(), KeptUsed: d.uvarint(), Fenced: d.uvarint(), LargestGap: d.varint(),
	}
}

func (e *encoder) destination(d *Destination) {
	e.name(d.Name)
	e.name(d.URL)
	e.uint(d.Registered)
	e.uint(d.Cursor)
	e.flag(d.Paused)
	e.uint(d.Accepted)
	e.uint(d.Delivered)
	e.uint(d.Redelivered)
	e.uint(d.DeadLetter)
	e.uint(d.RelabelDropped)
	e.counts(d.Dropped)
	e.uint(d.Backlog.Entries)
	e.uint(d.Backlog.Samples)
	e.uint(d.Backlog.Bytes)
}

func (d *decoder) destination(s *state) {
	x := &Destination{
		Name: d.string(), URL: string(d.name("URL", URLBytesMax)), Registered: d.uvarint(), Cursor: d.uvarint(), Paused: d.flag(),
		Accepted: d.uvarint(), Delivered: d.uvarint(), Redelivered: d.uvarint(), DeadLetter: d.uvarint(),
		RelabelDropped: d.uvarint(), Dropped: d.counts(),
		Backlog: Backlog{Entries: d.uvarint(), Samples: d.uvarint(), Bytes: d.uvarint()},
	}
	if d.must(s.destinations[x.Name] == nil && x.Balanced() && x.Redelivered <= x.Delivered && x.Registered <= x.Cursor && x.Cursor <= s.applied) {
		s.destinations[x.Name] = x
	}
}

func (e *encoder) letter(l *letter) {
	e.head = l.append(e.head)
	e.flag(l.replaying)
	e.uint(l.moved)
	e.shared(l.Body)
}

func (d *decoder) letter(s *state) {
	l := &letter{}
	d.scanner.letter(&l.DeadLetter)
	l.replaying, l.moved = d.flag(), d.uvarint()
	l.Body = append([]byte(nil), d.take(d.uvarint())...)
	if d.must(l.check() == nil && s.destinations[l.Destination] != nil && s.letters.byID[l.ID] == nil) {
		s.letters.put(l)
	}
}
