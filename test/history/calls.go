package history

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// Op is what a client asked a node for.
type Op string

// The commands about sources, and reading the status document.
const (
	Promote Op = "promote"
	Pin     Op = "pin"
	Unpin   Op = "unpin"
	Weight  Op = "weight"
	Forget  Op = "forget"
	Read    Op = "read"
)

// Outcome is what the answer to a command proves.
type Outcome uint8

// The outcomes of a command.
const (
	Uncertain Outcome = iota // no answer, or 503: it may have happened, or may happen later
	Done                     // it has happened; after promote and pin the source was current
	Overruled                // promote was refused, because another source was pinned
	Refused                  // nothing has happened, for another reason
)

// View is what a read showed of a group.
type View struct {
	Epoch                     uint64
	Current, Pinned, Promoted string
	Weights                   map[string]uint64 // by source; one that is missing has none
	Stale                     bool              // the node said that it could not ask the leader
}

// Change is one line of a group's history of changes.
type Change struct {
	Epoch            uint64
	From, To, Reason string
}

// Call is one call of a client. Began and Ended are on the clock of all records.
type Call struct {
	Node         string
	Op           Op
	Source       string
	Weight       uint64
	Began, Ended time.Duration
	Outcome      Outcome // of a command
	View         View    // of a read
}

// Calls records what operators asked and what nodes showed them of one group. Its methods may be called at once.
type Calls struct {
	mu      sync.Mutex
	list    []Call
	changes map[Change]string // the node that showed it first
}

// Asked is a call whose answer is still to come.
type Asked struct {
	calls *Calls
	index int
}

// Ask records that a client asks a node. Until it is answered the call is uncertain.
func (c *Calls) Ask(node string, op Op, source string, weight uint64) Asked {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, Call{Node: node, Op: op, Source: source, Weight: weight, Began: now()})
	return Asked{c, len(c.list) - 1}
}

// Answered records the answer to a command.
func (a Asked) Answered(outcome Outcome) {
	a.calls.mu.Lock()
	defer a.calls.mu.Unlock()
	call := &a.calls.list[a.index]
	call.Ended, call.Outcome = now(), outcome
}

// Saw records the answer to a read: the group, and its changes as far as the node showed them.
func (a Asked) Saw(view View, changes []Change) {
	a.calls.mu.Lock()
	defer a.calls.mu.Unlock()
	call := &a.calls.list[a.index]
	call.Ended, call.Outcome, call.View = now(), Done, view
	if a.calls.changes == nil {
		a.calls.changes = map[Change]string{}
	}
	for _, c := range changes {
		if _, known := a.calls.changes[c]; !known {
			a.calls.changes[c] = call.Node
		}
	}
}

// Record returns what was recorded so far.
func (c *Calls) Record() Record {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Record{Calls: slices.Clone(c.list), Changes: maps.Clone(c.changes)}
}

// Record is what happened to one group.
type Record struct {
	Calls   []Call
	Changes map[Change]string // the node that showed it first
}

// Counts is how many calls of each kind had each outcome: what a scenario proves depends on it.
func (r Record) Counts() (counts map[Op]map[Outcome]int) {
	counts = map[Op]map[Outcome]int{}
	for _, c := range r.Calls {
		if counts[c.Op] == nil {
			counts[c.Op] = map[Outcome]int{}
		}
		counts[c.Op][c.Outcome]++
	}
	return counts
}

func (o Outcome) String() string {
	return [...]string{"uncertain", "done", "overruled", "refused"}[o]
}
