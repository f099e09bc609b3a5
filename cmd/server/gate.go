package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/highlander-io/highlander/config"
)

// gateInterval is how often the reasons to refuse writes are looked at; between two looks writes cost one
// atomic load.
const gateInterval = 100 * time.Millisecond

// compactionInterval is how often a full log is compacted.
const compactionInterval = time.Second

var (
	errStopping      = errors.New("this node is shutting down")
	errNoDestination = errors.New("no destination is registered: configure remote_write")
	errUnregistered  = errors.New("the destinations of remote_write are not registered yet; try again")
	errTakingOver    = errors.New("this node has just become the leader")
)

// Gate returns why writes must be refused at the moment, nil if they need not.
func (s *Server) Gate() error {
	if s.stopping.Load() {
		return errStopping
	}
	reason := s.gate.Load()
	if reason != nil && (errors.Is(*reason, errNoDestination) || errors.Is(*reason, errUnregistered)) {
		s.lookAtGate() // the first registration opens it at once: from then on this node is ready
		reason = s.gate.Load()
	}
	if reason != nil {
		return *reason
	}
	return nil
}

// runGate keeps the gate's answer up to date, on every node: whoever becomes leader has it.
func (s *Server) runGate(ctx context.Context) error {
	for range ticks(ctx, gateInterval) {
		s.lookAtGate()
	}
	return nil
}

func (s *Server) lookAtGate() {
	if reason := s.refusal(); reason != nil {
		s.gate.Store(&reason)
	} else {
		s.gate.Store(nil)
	}
}

// refusal names the first reason to refuse writes. Full storage is one under `when_full: drop_oldest` as well:
// dropping takes a moment, and the sources hold meanwhile. A destination above its own bound is none then: the log has
// room, and the other destinations should not wait.
func (s *Server) refusal() error {
	if err := s.node.ForeignDialed(); err != nil {
		return err
	}
	if err := s.registered(); err != nil {
		return err
	}
	if full := s.full(); full != "" {
		return fmt.Errorf("storage is full: %s", full)
	}
	if s.Config().Storage.WhenFull == config.DropOldest {
		return nil
	}
	for _, over := range s.overBacklog() {
		return fmt.Errorf("the backlog of destination %s is at its max_backlog_bytes", over.destination)
	}
	return nil
}

// registered says why there is nowhere to send what would be taken, nil if there is. The leader registers what its file
// names as soon as it is one, one after another: before anything was taken it waits for all, else the last would miss what
// the first gets. Later ones, of a reload, begin where they are registered.
func (s *Server) registered() error {
	switch none := len(s.state.Destinations()) == 0; {
	case none && len(s.Config().RemoteWrite) == 0:
		return errNoDestination
	case none, s.node.IsLeader() && s.egress.Registering() && len(s.state.Groups()) == 0:
		return errUnregistered
	default:
		return nil
	}
}

// full says which node's storage is full, and why. The fullest node decides, as every node holds the same log.
func (s *Server) full() string {
	if own := s.storage.State().full; own != "" {
		return own
	}
	for _, member := range s.node.Members() {
		if member.Reachable && member.Info.Full && member.UUID != s.identity.UUID {
			return fmt.Sprintf("node %s is at its limit", member.Name)
		}
	}
	return ""
}

// room says why this node cannot store a leader's entries. Writes are refused long before, but only by nodes that reach
// this one: while it was down the others went on.
func (s *Server) room(entries []*raft.Log) error {
	if s.log.Room(entries, 0) {
		return nil
	}
	return fmt.Errorf("no room for %d entries from index %d on: %d bytes are free on the disk", len(entries), entries[0].Index,
		s.storage.State().freeBytes)
}

// excess is how far a destination's backlog is above its own bound.
type excess struct {
	destination string
	bytes       uint64
	bound       uint64
}

// overBacklog lists the destinations whose backlog is above their own bound.
func (s *Server) overBacklog() (list []excess) {
	for _, destination := range s.Config().RemoteWrite {
		bound := uint64(destination.MaxBacklogBytes)
		if bound == 0 {
			continue
		}
		if state, known := s.state.Destination(destination.Name); known && state.Backlog.Bytes > bound {
			list = append(list, excess{destination.Name, state.Backlog.Bytes - bound, bound})
		}
	}
	return list
}

// runRoom makes room while this node leads, where the operator chose `when_full: drop_oldest`.
func (s *Server) runRoom(ctx context.Context) error {
	var last drop
	for now := range ticks(ctx, gateInterval) {
		if s.Config().Storage.WhenFull != config.DropOldest {
			continue
		}
		for _, over := range s.overBacklog() {
			s.drop(ctx, over.destination, over.bytes+over.bound/dropShare)
		}
		if s.full() == "" || !last.settled(s.log.Info().FirstIndex, now) {
			continue
		}
		if name, bytes := s.largestBacklog(); bytes > 0 {
			s.drop(ctx, name, bytes/dropShare)
		}
	}
	return nil
}

// dropPatience is how long compaction gets to give back what was dropped.
const dropPatience = 3 * compactionInterval

// drop is the last one that was made for the log's sake.
type drop struct {
	first uint64 // index of the log then
	at    time.Time
}

// settled says whether the last drop has had its effect, and if so takes note of the next one. What is dropped gives
// space back only when the log has been compacted. That may never come: the log is cut at a snapshot, and the next
// one may lie above what was dropped. Waiting for it would refuse writes for ever.
func (d *drop) settled(first uint64, now time.Time) bool {
	if first == d.first && now.Sub(d.at) < dropPatience {
		return false
	}
	*d = drop{first, now}
	return true
}

// largestBacklog is the destination that lags most, and by how many bytes; no name if none lags.
func (s *Server) largestBacklog() (name string, bytes uint64) {
	for _, destination := range s.state.Destinations() {
		if destination.Backlog.Bytes > bytes {
			name, bytes = destination.Name, destination.Backlog.Bytes
		}
	}
	return name, bytes
}

// dropShare is the part of a backlog, or of its bound, that is dropped at once: enough that dropping does not become the
// normal state, little enough to lose no more than needed.
const dropShare = 10

// drop gives up the oldest bytes of a destination's backlog.
func (s *Server) drop(ctx context.Context, destination string, bytes uint64) {
	if err := s.egress.DropOldest(ctx, destination, bytes); err != nil && ctx.Err() == nil {
		s.logger.Error("cannot drop the oldest batches", "destination", destination, "err", err)
	}
}

// runCompaction takes a snapshot when storage is full and the floor has moved since the last one: snapshots
// follow applied bytes, and a full log takes none.
func (s *Server) runCompaction(ctx context.Context) error {
	var done uint64
	for range ticks(ctx, compactionInterval) {
		if s.storage.State().full == "" {
			continue
		}
		if floor := s.state.Floor(); floor > done {
			s.node.Compact()
			done = floor
		}
	}
	return nil
}
