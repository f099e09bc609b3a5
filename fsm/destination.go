package fsm

import (
	"fmt"
	"maps"
	"math/bits"
	"slices"
)

// DestinationsMax bounds the destinations.
const DestinationsMax = 256

func (f *FSM) applyDestination(index uint64, o *DestinationOp) error {
	if o.Op == OpRegister {
		return f.register(index, o)
	}
	d, err := f.destination(o.Name)
	if err != nil {
		return fmt.Errorf("fsm: %s: %w", o.Op, err)
	}
	switch o.Op {
	case OpPause:
		d.Paused = true
	case OpResume:
		d.Paused = false
	case OpForget:
		f.forgetDestination(d)
	}
	return nil
}

// register adds a destination that starts at its own index, or gives a known one a new URL.
func (f *FSM) register(index uint64, o *DestinationOp) error {
	if d := f.destinations[o.Name]; d != nil {
		d.URL = o.URL
		return nil
	}
	if len(f.destinations) >= DestinationsMax {
		return fmt.Errorf("fsm: register destination %q: %w: %d destinations", o.Name, ErrLimit, DestinationsMax)
	}
	f.destinations[o.Name] = &Destination{Name: o.Name, URL: o.URL, Registered: index, Cursor: index}
	f.prune()
	return nil
}

// forgetDestination drops a destination with its backlog, its books and its dead letters.
func (f *FSM) forgetDestination(d *Destination) {
	if len(f.destinations) == 1 {
		f.parked = d.Cursor
	}
	delete(f.destinations, d.Name)
	f.letters.forget(d.Name)
	f.prune()
}

func (s *state) destination(name string) (*Destination, error) {
	if d := s.destinations[name]; d != nil {
		return d, nil
	}
	return nil, unknown(fmt.Sprintf("destination %q", name), slices.Collect(maps.Keys(s.destinations)))
}

func (f *FSM) applyCursor(index uint64, c *Cursor) error {
	d, err := f.destination(c.Destination)
	if err != nil {
		return fmt.Errorf("fsm: cursor: %w", err)
	}
	if err := d.takes(index, c, f.letters.queued(d.Name)); err != nil {
		return fmt.Errorf("fsm: cursor of %q from %d to %d: %w", c.Destination, c.From, c.To, err)
	}
	d.Cursor = c.To
	d.Backlog.Entries -= c.Entries
	d.Backlog.Samples -= c.Samples
	d.Backlog.Bytes -= c.Bytes
	d.Delivered += c.Delivered
	d.Redelivered += c.Redelivered
	d.DeadLetter += c.DeadLetter
	d.RelabelDropped += c.RelabelDropped
	for reason, n := range c.Dropped {
		d.drop(reason, n)
	}
	f.prune()
	return nil
}

// takes says whether a cursor command fits, in position and in the books. What is queued again from dead letters is part
// of the backlog, but no cursor passes it.
func (d *Destination) takes(index uint64, c *Cursor, queued Backlog) error {
	passable := Backlog{d.Backlog.Entries - queued.Entries, d.Backlog.Samples - queued.Samples, d.Backlog.Bytes - queued.Bytes}
	switch {
	case c.From != d.Cursor:
		return fmt.Errorf("%w: at %d", ErrCursor, d.Cursor)
	case c.To <= c.From || c.To >= index:
		return fmt.Errorf("%w: want more than %d and less than %d", ErrCursor, c.From, index)
	case c.Entries > passable.Entries || c.Samples > passable.Samples || c.Bytes > passable.Bytes:
		return fmt.Errorf("%w: %d entries, %d samples, %d bytes leave a backlog of %d, %d, %d", ErrBooks,
			c.Entries, c.Samples, c.Bytes, passable.Entries, passable.Samples, passable.Bytes)
	case c.Redelivered > c.Delivered:
		return fmt.Errorf("%w: %d redelivered of %d delivered", ErrBooks, c.Redelivered, c.Delivered)
	}
	outcome := []uint64{c.Delivered, c.DeadLetter, c.RelabelDropped}
	outcome = slices.AppendSeq(outcome, maps.Values(c.Dropped))
	if sum, ok := sumOf(outcome...); !ok || sum != c.Samples {
		return fmt.Errorf("%w: %d samples leave the backlog, %d are accounted for", ErrBooks, c.Samples, sum)
	}
	return nil
}

func (d *Destination) drop(reason string, n uint64) {
	if n == 0 {
		return
	}
	if d.Dropped == nil {
		d.Dropped = make(map[string]uint64)
	}
	d.Dropped[reason] += n
}

// sumOf adds; false if the sum does not fit.
func sumOf(terms ...uint64) (sum uint64, ok bool) {
	var carry uint64
	for _, n := range terms {
		var c uint64
		sum, c = bits.Add64(sum, n, 0)
		carry |= c
	}
	return sum, carry == 0
}
