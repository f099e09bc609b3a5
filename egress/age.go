package egress

import (
	"errors"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/highlander-io/highlander/fsm"
)

// age remembers when the oldest batch of a backlog was accepted.
type age struct {
	cursor uint64
	at     time.Time
}

// lookMax bounds the entries read to find the oldest batch of a backlog.
const lookMax = 4096

// Status returns what this node knows about all destinations, by name: those of the log, and those of the
// file that are not registered yet.
func (e *Egress) Status() []Status {
	e.mu.Lock()
	targets, drains, problems := maps.Clone(e.targets), maps.Clone(e.drains), maps.Clone(e.problems)
	leading := e.leading
	e.mu.Unlock()

	var list []Status
	for _, dest := range e.options.State.Destinations() {
		t := targets[dest.Name]
		delete(targets, dest.Name)
		s := Status{Name: dest.Name, URL: dest.URL, Configured: t != nil, Oldest: e.oldest(&dest), Leading: leading}
		if d := drains[dest.Name]; d != nil {
			s.State, s.Error, s.Since = d.show.get()
		} else {
			s.State, s.Error = unled(&dest, t)
		}
		list = append(list, s)
	}
	for name, t := range targets {
		s := Status{Name: name, URL: t.public, Configured: true, Leading: leading, State: Held, Error: "not registered yet"}
		if problems[name] != "" {
			s.Error = "cannot be registered: " + problems[name]
		}
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b Status) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return list
}

// unled is the state as far as a node can tell that does not drain.
func unled(dest *fsm.Destination, t *target) (state, err string) {
	switch {
	case dest.Paused:
		return Paused, ""
	case t == nil:
		return Held, "not in this node's configuration"
	}
	return Up, ""
}

// oldest reads the log for the first batch above the cursor. Every node has the same log, so it works on all.
func (e *Egress) oldest(dest *fsm.Destination) time.Duration {
	if dest.Backlog.Entries == 0 {
		return 0
	}
	e.mu.Lock()
	known, ok := e.ages[dest.Name]
	e.mu.Unlock()
	at := known.at
	if !ok || known.cursor != dest.Cursor {
		if at = e.find(dest.Cursor); at.IsZero() {
			return 0
		}
		e.mu.Lock()
		e.ages[dest.Name] = age{dest.Cursor, at}
		e.mu.Unlock()
	}
	return max(e.options.Now().Sub(at), 0)
}

func (e *Egress) find(cursor uint64) time.Time {
	r := e.options.Log.Reader(cursor + 1)
	defer func() { _ = r.Close() }()
	limit := e.options.State.Applied()
	for range lookMax {
		entry, err := r.Next(limit)
		if err != nil {
			if !errors.Is(err, io.EOF) {
				e.log.Warn("cannot read the oldest backlog", "index", cursor+1, "err", err)
			}
			return time.Time{}
		}
		if entry.Type != raft.LogCommand {
			continue
		}
		if kind, err := fsm.PeekKind(entry.Data); err != nil || kind != fsm.KindBatch {
			continue
		}
		if _, no := e.options.State.Refused(entry.Index); no {
			continue
		}
		if b, err := fsm.DecodeBatch(entry.Data); err == nil {
			return time.UnixMilli(b.Time)
		}
	}
	return time.Time{}
}
