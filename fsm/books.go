package fsm

import (
	"fmt"
	"maps"
	"slices"
)

// OriginsMax is how many leaderships' deltas are remembered.
const OriginsMax = 64

// ledger remembers the last delta of each leadership, the oldest leadership first.
type ledger struct {
	origins []origin
}

type origin struct {
	name string
	seq  uint64
}

// turn says whether a delta is new, and notes it.
func (l *ledger) turn(name string, seq uint64) bool {
	for i := range l.origins {
		if o := &l.origins[i]; o.name == name {
			if seq <= o.seq {
				return false
			}
			o.seq = seq
			return true
		}
	}
	if len(l.origins) >= OriginsMax {
		l.origins = slices.Delete(l.origins, 0, 1)
	}
	l.origins = append(l.origins, origin{name, seq})
	return true
}

// applyBooks counts what only the leader saw: all of a delta or nothing. A refused one uses up its number, as proposing it
// again cannot help.
func (f *FSM) applyBooks(b *Books) error {
	if !f.ledger.turn(b.Origin, b.Seq) {
		return nil
	}
	named := make(map[GroupID]bool, len(b.Groups))
	for i := range b.Groups {
		id := b.Groups[i].Group
		if named[id] {
			return fmt.Errorf("fsm: books %d of %s: %w: group %q comes twice", b.Seq, b.Origin, ErrBooks, id.Name)
		}
		named[id] = true
		if err := f.balances(&b.Groups[i]); err != nil {
			return fmt.Errorf("fsm: books %d of %s: group %q: %w", b.Seq, b.Origin, b.Groups[i].Group.Name, err)
		}
	}
	for i := range b.Groups {
		f.enter(&b.Groups[i], b.Time)
	}
	return nil
}

// balances says whether a group's delta has both sides of each equation and takes no more than there is.
func (f *FSM) balances(b *GroupBooks) error {
	received, ok := sumOf(slices.Collect(maps.Values(b.Received))...)
	outcome, fits := sumOf(slices.AppendSeq([]uint64{b.Covered, b.Duplicate}, maps.Values(b.Rejected))...)
	if !ok || !fits || received != outcome {
		return fmt.Errorf("%w: %d samples received, %d accounted for", ErrBooks, received, outcome)
	}
	g := f.groups[b.Group]
	for name, s := range b.Standby {
		var known StandbyBooks
		if g != nil && g.sources[name] != nil {
			known = g.sources[name].standby
		}
		if err := known.takes(s); err != nil {
			return fmt.Errorf("source %q: %w", name, err)
		}
	}
	return nil
}

func (b StandbyBooks) takes(d StandbyBooks) error {
	if !d.Balanced() {
		return fmt.Errorf("%w: %d standby requests (%d bytes), accounted for %d kept, %d discarded, %d used (%d, %d, %d bytes)",
			ErrBooks, d.Requests, d.Bytes, d.Kept, d.Discarded, d.Used, d.KeptBytes, d.DiscardedBytes, d.UsedBytes)
	}
	if b.Kept+d.Kept < 0 || b.KeptBytes+d.KeptBytes < 0 {
		return fmt.Errorf("%w: %d requests (%d bytes) are kept, %d (%d) cannot leave", ErrBooks, b.Kept, b.KeptBytes, -d.Kept, -d.KeptBytes)
	}
	return nil
}

// Balanced says whether requests, and bytes, are all accounted for.
func (b StandbyBooks) Balanced() bool {
	return b.Requests == uint64(b.Kept)+b.Discarded+b.Used && b.Bytes == uint64(b.KeptBytes)+b.DiscardedBytes+b.UsedBytes
}

func (b *StandbyBooks) add(d StandbyBooks) {
	b.Requests += d.Requests
	b.Bytes += d.Bytes
	b.Kept += d.Kept
	b.KeptBytes += d.KeptBytes
	b.Discarded += d.Discarded
	b.DiscardedBytes += d.DiscardedBytes
	b.Used += d.Used
	b.UsedBytes += d.UsedBytes
}

// enter counts a group's delta. The order of sources matters where one of them makes room for another.
func (f *FSM) enter(b *GroupBooks, at int64) {
	g := f.bookGroup(b.Group)
	g.touch(at)
	for _, name := range slices.Sorted(maps.Keys(b.Received)) {
		g.source(name).received += b.Received[name]
		g.books.Received += b.Received[name]
	}
	g.books.Covered += b.Covered
	g.books.Duplicate += b.Duplicate
	for reason, n := range b.Rejected {
		g.books.reject(reason, n)
	}
	for _, name := range slices.Sorted(maps.Keys(b.Standby)) {
		g.source(name).standby.add(b.Standby[name])
		g.standby.add(b.Standby[name])
	}
	for _, c := range b.Changes {
		g.explain(c)
	}
}

func (b *SampleBooks) reject(reason string, n uint64) {
	if n == 0 {
		return
	}
	if b.Rejected == nil {
		b.Rejected = make(map[string]uint64)
	}
	b.Rejected[reason] += n
}

func (g *group) explain(c ChangeBooks) {
	for i := range g.history {
		if h := &g.history[i]; h.Epoch == c.Epoch {
			h.KeptUsed += c.KeptUsed
			h.Fenced += c.Fenced
			h.LargestGap = max(h.LargestGap, c.LargestGap)
		}
	}
}
