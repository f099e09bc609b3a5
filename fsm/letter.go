package fsm

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// DroppedPurged is the reason under which purged dead letters are counted as dropped.
const DroppedPurged = "purged"

// letters are the dead letters of all destinations.
type letters struct {
	byID  map[string]*letter
	bytes int64 // of all bodies
}

// letter is a dead letter. Its body never changes and may be shared with readers.
type letter struct {
	DeadLetter
	replaying bool
	moved     uint64 // samples that the replay moved from dead_letter to the backlog
}

func (l *letter) info() DeadLetterInfo {
	return DeadLetterInfo{
		ID: l.ID, Destination: l.Destination, Group: l.Group, Source: l.Source, Index: l.Index, Samples: l.Samples,
		Bytes: len(l.Body), Status: l.Status, Answer: l.Answer, Time: l.Time, Replaying: l.replaying,
	}
}

func (m *letters) put(l *letter) {
	m.byID[l.ID] = l
	m.bytes += int64(len(l.Body))
}

func (m *letters) remove(l *letter) {
	delete(m.byID, l.ID)
	m.bytes -= int64(len(l.Body))
}

func (m *letters) forget(destination string) {
	for _, l := range m.byID {
		if l.Destination == destination {
			m.remove(l)
		}
	}
}

// queued sums up what of a destination is being replayed.
func (m *letters) queued(destination string) (sum Backlog) {
	for _, l := range m.byID {
		if l.replaying && l.Destination == destination {
			sum.Entries++
			sum.Samples += l.moved
			sum.Bytes += uint64(len(l.Body))
		}
	}
	return sum
}

// sorted returns the letters by destination, index and ID.
func (m *letters) sorted() []*letter {
	return slices.SortedFunc(maps.Values(m.byID), func(a, b *letter) int {
		return cmp.Or(strings.Compare(a.Destination, b.Destination), cmp.Compare(a.Index, b.Index), strings.Compare(a.ID, b.ID))
	})
}

// applyDeadLetter stores a letter. The cursor command that passes its index counts it.
func (f *FSM) applyDeadLetter(index uint64, l *DeadLetter) error {
	d, err := f.destination(l.Destination)
	if err != nil {
		return fmt.Errorf("fsm: dead letter: %w", err)
	}
	if f.letters.byID[l.ID] != nil {
		return nil
	}
	if l.Index <= d.Cursor || l.Index >= index {
		return fmt.Errorf("fsm: dead letter %q of entry %d: %w: at %d", l.ID, l.Index, ErrCursor, d.Cursor)
	}
	stored := &letter{DeadLetter: *l}
	stored.Body = bytes.Clone(l.Body) // the entry belongs to the log
	f.letters.put(stored)
	return nil
}

func (f *FSM) applyLetterOp(o *LetterOp) error {
	if o.Op == OpPurge && o.ID == "" {
		for _, l := range f.letters.byID {
			if d := f.destinations[l.Destination]; l.Index <= d.Cursor {
				f.purge(d, l)
			}
		}
		return nil
	}
	l := f.letters.byID[o.ID]
	if l == nil {
		return fmt.Errorf("fsm: %s: %w", o.Op, unknown(fmt.Sprintf("dead letter %q", o.ID), slices.Collect(maps.Keys(f.letters.byID))))
	}
	d := f.destinations[l.Destination]
	if l.Index > d.Cursor {
		return fmt.Errorf("fsm: %s dead letter %q: %w: the destination has not passed entry %d yet", o.Op, o.ID, ErrInUse, l.Index)
	}
	if l.replaying != (o.Op == OpDelivered || o.Op == OpRefused) && o.Op != OpPurge {
		if l.replaying {
			return nil // replay of what is being replayed
		}
		return fmt.Errorf("fsm: %s dead letter %q: %w: it is not being replayed", o.Op, o.ID, ErrUnknown)
	}
	switch o.Op {
	case OpReplay:
		f.replay(d, l)
	case OpDelivered:
		f.unqueue(d, l)
		d.Delivered += l.moved
		f.letters.remove(l)
	case OpRefused:
		f.unqueue(d, l)
		d.DeadLetter += l.moved
		l.replaying, l.moved = false, 0
		l.Status, l.Answer = o.Status, o.Answer
	case OpPurge:
		f.purge(d, l)
	}
	return nil
}

// replay puts a letter into its destination's backlog. It moves no more samples than the books have as dead letters.
func (f *FSM) replay(d *Destination, l *letter) {
	l.replaying, l.moved = true, min(l.Samples, d.DeadLetter)
	d.DeadLetter -= l.moved
	d.Backlog.Entries++
	d.Backlog.Samples += l.moved
	d.Backlog.Bytes += uint64(len(l.Body))
}

// unqueue takes a letter that is being replayed out of its destination's backlog.
func (f *FSM) unqueue(d *Destination, l *letter) {
	d.Backlog.Entries--
	d.Backlog.Samples -= l.moved
	d.Backlog.Bytes -= uint64(len(l.Body))
}

// purge gives a letter up, out of whichever account it is in.
func (f *FSM) purge(d *Destination, l *letter) {
	if l.replaying {
		f.unqueue(d, l)
		d.drop(DroppedPurged, l.moved)
	} else {
		n := min(l.Samples, d.DeadLetter)
		d.DeadLetter -= n
		d.drop(DroppedPurged, n)
	}
	f.letters.remove(l)
}

// DeadLetters lists the dead letters by destination, index and ID.
func (f *FSM) DeadLetters() []DeadLetterInfo {
	f.mu.RLock()
	defer f.mu.RUnlock()
	list := make([]DeadLetterInfo, 0, len(f.letters.byID))
	for _, l := range f.letters.sorted() {
		list = append(list, l.info())
	}
	return list
}

// DeadLetter returns a letter. Its body must not be changed.
func (f *FSM) DeadLetter(id string) (DeadLetter, bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	l := f.letters.byID[id]
	if l == nil {
		return DeadLetter{}, false
	}
	return l.DeadLetter, true
}

// DeadLetterBytes is the size of all bodies.
func (f *FSM) DeadLetterBytes() int64 {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.letters.bytes
}

// Replaying returns the letters that a destination should be sent again, by index and ID. Bodies must not be changed.
func (f *FSM) Replaying(destination string) []DeadLetter {
	f.mu.RLock()
	defer f.mu.RUnlock()
	var list []DeadLetter
	for _, l := range f.letters.byID {
		if l.replaying && l.Destination == destination {
			list = append(list, l.DeadLetter)
		}
	}
	slices.SortFunc(list, func(a, b DeadLetter) int {
		return cmp.Or(cmp.Compare(a.Index, b.Index), strings.Compare(a.ID, b.ID))
	})
	return list
}
