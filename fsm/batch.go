package fsm

// applyBatch decides about one batch and counts it. It must not keep what h views.
func (f *FSM) applyBatch(index uint64, entryBytes int, h *header) Verdict {
	marked := f.marks.note(index, h.Time, entryBytes)
	g := f.groups[GroupID{Tenant: string(h.tenant), Name: string(h.group)}]
	verdict := f.judge(g, h)
	switch verdict {
	case Accepted:
		f.accept(g, h)
	case Duplicate:
		g, s := f.bookBatch(g, h)
		n := h.Counts.Samples()
		s.received += n
		g.books.Received += n
		g.books.Duplicate += n
		f.refused.note(index, verdict)
	default:
		f.refused.note(index, verdict)
	}
	if marked {
		f.prune()
	}
	return verdict
}

// judge is the law of admission. Its order matters: a second copy is answered like the first, whoever is current by now.
func (f *FSM) judge(g *group, h *header) Verdict {
	switch {
	case f.requests.seen(h.RequestID, h.Part, h.Parts):
		return Duplicate
	case len(f.destinations) == 0:
		return NoDestination
	case h.Flags&FlagUnelected != 0:
		return Accepted
	case g == nil || g.current == nil || g.epoch != h.Epoch || g.current.name != string(h.source):
		return NotCurrent
	}
	return Accepted
}

// bookBatch returns the group and the source in whose books a batch is counted.
func (f *FSM) bookBatch(g *group, h *header) (*group, *source) {
	if g == nil {
		g = f.bookGroup(GroupID{Tenant: string(h.tenant), Name: string(h.group)})
	}
	g.touch(h.Time)
	if s := g.sources[string(h.source)]; s != nil {
		return g, s
	}
	return g, g.source(string(h.source))
}

func (f *FSM) accept(g *group, h *header) {
	g, s := f.bookBatch(g, h)
	n := h.Counts.Samples()
	s.received += n
	g.books.Received += n
	g.books.Accepted += n
	reached, believed := h.Counts.MaxTime, h.Time+futureMax.Milliseconds()
	if reached > believed { // one series of it may be ahead of all others: the batch reaches as far as its oldest sample
		reached = h.Counts.MinTime
	}
	if n > 0 && reached <= believed {
		s.newest = max(s.newest, reached)
		if h.Flags&FlagUnelected == 0 {
			g.watermark = max(g.watermark, reached)
		}
	}
	f.requests.note(h.RequestID, h.Part, h.Parts)
	for _, d := range f.destinations {
		d.Accepted += n
		d.Backlog.Entries++
		d.Backlog.Samples += n
		d.Backlog.Bytes += uint64(len(h.Body))
	}
}

// Admits says what Apply would answer for the parts of a request of a source in an epoch, if nothing else came first. It is
// advice and does not allocate. Duplicate means that all parts were accepted.
func (f *FSM) Admits(id GroupID, source string, epoch uint64, req RequestID) Verdict {
	f.mu.RLock()
	defer f.mu.RUnlock()
	g := f.groups[id]
	switch {
	case f.requests.complete(req):
		return Duplicate
	case len(f.destinations) == 0:
		return NoDestination
	case g == nil || g.current == nil || g.epoch != epoch || g.current.name != source:
		return NotCurrent
	}
	return Accepted
}

// AdmitsUnelected is Admits for a batch that needs no election.
func (f *FSM) AdmitsUnelected(req RequestID) Verdict {
	f.mu.RLock()
	defer f.mu.RUnlock()
	switch {
	case f.requests.complete(req):
		return Duplicate
	case len(f.destinations) == 0:
		return NoDestination
	}
	return Accepted
}
