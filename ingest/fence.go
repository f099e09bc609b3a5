package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/highlander-io/highlander/fsm"
	"github.com/highlander-io/highlander/fsm/wire"
)

// Log is this node's log, from which fences are built.
type Log interface {
	// First is the lowest index that the log still has.
	First() uint64
	Reader(from uint64) LogReader
}

// LogReader reads the log forwards.
type LogReader interface {
	// Next returns the next entry at or below limit and io.EOF behind that; ErrReclaimed, wrapped, if the log no longer
	// has it. The data is valid until the next Next, and empty for entries that are not the state's.
	Next(limit uint64) (index uint64, data []byte, err error)
	Close() error
}

// ErrReclaimed is what a LogReader returns if the log does not reach back that far any more.
var ErrReclaimed = errors.New("ingest: the log does not reach back to the entries of a fence")

// believedAhead is how far ahead of its entry a sample may be to set a line: a clock that is further ahead would hold back
// everything that others send.
const believedAhead = time.Minute

// noLine is a line below everything.
const noLine = math.MinInt64

// fence is, per series, up to where its samples were delivered before the current source's turn. It does not change once
// it is built.
type fence struct {
	lines map[uint64]int64 // by SeriesHash: newest time of other turns plus the guard
	own   map[uint64]int64 // newest time of this turn, for what is kept: it may have been passed on by a predecessor
	rest  int64            // line of series that the log does not show any more: they ended before its first entry
	max   int64            // nothing above it is held back
	guard int64
	past  account // what the log shows of this turn, if it has begun before
}

// line is the line of a series for live requests.
func (f *fence) line(hash uint64) (int64, bool) {
	if line, known := f.lines[hash]; known {
		return line, true
	}
	return f.rest, f.rest != noLine
}

// keptLine is the line of a series for kept samples.
func (f *fence) keptLine(hash uint64) (int64, bool) {
	line, known := f.line(hash)
	if own, passed := f.own[hash]; passed && (!known || own > line) {
		return own, true
	}
	return line, known
}

// mason builds the fences of several groups in one pass over the log.
type mason struct {
	sites  map[fsm.GroupID]*site
	labels wire.Labels
	scan   wire.Request
	raw    []byte
	first  int64 // time of the first batch that was read; 0: none yet
}

// site is a fence under construction.
type site struct {
	state fsm.Fence
	guard int64
	again bool // the turn has begun before: its batches set lines of their own
	lines map[uint64]int64
	own   map[uint64]int64
	first map[uint64]int64 // oldest time of this turn
	used  uint64           // samples of kept requests in this turn
}

// build makes the fences of some groups.
func (h *Handler) build(ctx context.Context, list []*handover) error {
	o := h.options.Load()
	m := &mason{sites: make(map[fsm.GroupID]*site), labels: wire.Labels{Pairs: o.Pairs}}
	from := uint64(math.MaxUint64)
	for _, ho := range list {
		m.sites[ho.group.id] = &site{
			state: ho.state, again: ho.again, guard: o.ClockSkewGuard.Milliseconds(),
			lines: make(map[uint64]int64), own: make(map[uint64]int64), first: make(map[uint64]int64),
		}
		from = min(from, ho.state.From)
	}
	if err := h.walk(ctx, m, max(from, h.logs.First())); err != nil {
		return fmt.Errorf("ingest: build a fence: %w", err)
	}
	for _, ho := range list {
		ho.fence = m.sites[ho.group.id].finish(m.first)
		ho.inherit()
	}
	return nil
}

// walk shows the mason every batch up to what is applied now.
func (h *Handler) walk(ctx context.Context, m *mason, from uint64) error {
	limit := h.state.Applied()
	for attempt := 0; ; attempt++ {
		err := h.read(ctx, m, from, limit)
		if !errors.Is(err, ErrReclaimed) || attempt == rounds {
			return err
		}
		from = max(from+1, h.logs.First()) // the log was cut between the two lines
	}
}

func (h *Handler) read(ctx context.Context, m *mason, from, limit uint64) error {
	reader := h.logs.Reader(from)
	defer func() { _ = reader.Close() }()
	for ctx.Err() == nil {
		index, data, err := reader.Next(limit)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if len(data) == 0 {
			continue
		}
		if kind, err := fsm.PeekKind(data); err != nil || kind != fsm.KindBatch {
			continue
		}
		if _, refused := h.state.Refused(index); refused {
			continue
		}
		if err := m.lay(index, data); err != nil {
			return fmt.Errorf("entry %d: %w", index, err)
		}
	}
	return context.Cause(ctx)
}

// lay adds a batch to the fence of its group, if one is being built.
func (m *mason) lay(index uint64, data []byte) error {
	b, err := fsm.DecodeBatch(data)
	if err != nil {
		return err
	}
	if m.first == 0 {
		m.first = b.Time
	}
	s := m.sites[b.Group]
	if s == nil || index < s.state.From || b.Flags&fsm.FlagUnelected != 0 || b.Counts.Samples() == 0 {
		return nil
	}
	to := s.lines
	if index > s.state.Index {
		if !s.again {
			return nil
		}
		to = s.own
		if b.Flags&fsm.FlagKept != 0 {
			s.used += b.Counts.Samples()
		}
	}
	m.raw, err = wire.Decompress(m.raw[:0], b.Body, math.MaxInt32)
	if err != nil {
		return err
	}
	m.scan.MaxStored = 0
	if err := m.scan.Scan(m.raw, b.Protocol, m.labels); err != nil {
		return err
	}
	believed := b.Time + believedAhead.Milliseconds()
	for i := range m.scan.Series {
		series := &m.scan.Series[i]
		if series.Counts.Samples() == 0 {
			continue
		}
		newest := series.Counts.MaxTime
		if newest > believed {
			if newest = m.believable(i, believed); newest == noLine {
				continue
			}
		}
		hash := m.scan.SeriesHash(i, m.labels)
		if have, known := to[hash]; !known || newest > have {
			to[hash] = newest
		}
		if index > s.state.Index {
			s.begin(hash, series.Counts.MinTime)
		}
	}
	return nil
}

// begin notes a time of a series in this turn.
func (s *site) begin(hash uint64, oldest int64) {
	if have, known := s.first[hash]; !known || oldest < have {
		s.first[hash] = oldest
	}
}

// believable is the newest time of a series that is not above a bound.
func (m *mason) believable(i int, bound int64) int64 {
	newest := int64(noLine)
	m.scan.Times(i, func(ms int64) {
		if ms <= bound {
			newest = max(newest, ms)
		}
	})
	return newest
}

// finish adds the guard. A series of which the log shows nothing was last delivered before the first entry that was read,
// so it is held back up to then: its source cannot have sent what was not yet scraped.
func (s *site) finish(first int64) *fence {
	f := &fence{lines: s.lines, own: s.own, rest: s.state.Boundary, guard: s.guard}
	if first != 0 {
		f.rest = min(f.rest, first)
	}
	f.past.used = s.used
	for hash, began := range s.first {
		if line, known := f.lines[hash]; known {
			f.past.gap = max(f.past.gap, began-line)
		}
	}
	f.rest += s.guard
	f.max = f.rest
	for hash, newest := range f.lines {
		f.lines[hash] = newest + s.guard
		f.max = max(f.max, newest+s.guard)
	}
	return f
}
