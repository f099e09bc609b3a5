package ingest

import (
	"context"
	"net/http"
	"time"

	"github.com/highlander-io/highlander/fsm"
)

// Node is what ingest needs of the cluster.
type Node interface {
	// IsLeader says whether this node believes to lead. It may be wrong for a moment, so nothing is answered 2xx on
	// its word alone.
	IsLeader() bool
	// Propose appends an entry to the log. It takes the entry over: the log keeps it.
	Propose(entry []byte, timeout time.Duration) Future
	// Confirm returns nil once an entry that was proposed after the call has committed, which proves that this
	// node led until then.
	Confirm(ctx context.Context) error
	// Leader returns a way to the leader's cluster port, or nil while no other leader is known.
	Leader() http.RoundTripper
	// Peers returns the other members. It is asked twice a second.
	Peers() []Peer
}

// Future is the fate of a proposed entry.
type Future interface {
	// Wait returns what Apply answered and at which index, or why neither is known. After an error the entry may
	// or may not be committed.
	Wait(ctx context.Context) (response any, index uint64, err error)
}

// State is what ingest reads of the replicated state; *fsm.FSM has it.
type State interface {
	Current(id fsm.GroupID) (source string, epoch uint64, ok bool)
	Admits(id fsm.GroupID, source string, epoch uint64, req fsm.RequestID) fsm.Verdict
	AdmitsUnelected(req fsm.RequestID) fsm.Verdict
	Watermark(id fsm.GroupID) int64
	Group(id fsm.GroupID) (fsm.Group, bool)
	Groups() []fsm.Group
	Applied() uint64
	Refused(index uint64) (fsm.Verdict, bool)
	WindowStart() uint64
}

// Gate says why no writes can be taken: no destination, storage full, a foreign cluster. Nil is an open gate. It is
// asked by the leader for every request and must be quick.
type Gate func() error
