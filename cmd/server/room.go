package server

import (
	"context"
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/highlander-io/highlander/fsm"
)

// What is left of the log's own room when the disk gives no more, in parts of a segment. Who needs it least is refused
// first, so that delivery, which makes room, goes on for longest, and elections with it; see doc.go.
const (
	shareOthers  = 2  // batches, changes of source, books, operators' wishes about sources: they leave a half
	shareLetters = 4  // dead letters leave a quarter
	shareMembers = 16 // cursors, destinations, votes leave this much, to changes of members
)

// shareHaste is kept free on top by who proposes: several may look before the first of them is stored.
const shareHaste = 8

// candidacyBytes is what a node must have room for before it asks for votes: the first entries of a term, and some cursors.
const candidacyBytes = 4 << 10

// errScarce is the answer to what must wait until the disk has room.
var errScarce = fmt.Errorf("%w: the disk is full, and what is left of the log's room is kept for delivery", errUnavailable)

// leaves is how many bytes an entry must leave to those who need them more.
func leaves(segment int64, l *raft.Log) int64 {
	switch l.Type {
	case raft.LogConfiguration:
		return 0
	case raft.LogCommand:
	default:
		return segment / shareMembers
	}
	switch kind, _ := fsm.PeekKind(l.Data); kind {
	case fsm.KindCursor, fsm.KindDestination, fsm.KindLetterOp:
		return segment / shareMembers
	case fsm.KindDeadLetter:
		return segment / shareLetters
	}
	return segment / shareOthers
}

// affords says why this node, leading, must not append entries. Raft steps down for it, so what can wait is refused
// before: see spares.
func (s *Server) affords(entries []*raft.Log) error {
	segment, leave := segmentBytes(s.Config().Storage), int64(0)
	for _, l := range entries {
		leave = max(leave, leaves(segment, l))
	}
	if s.log.Room(entries, leave) {
		return nil
	}
	return fmt.Errorf("%w: no room for %d entries from index %d on", errScarce, len(entries), entries[0].Index)
}

// spares says why an entry must not be proposed: it can wait, and there is not room enough for all.
func (s *Server) spares(entry []byte) error {
	segment := segmentBytes(s.Config().Storage)
	leave := leaves(segment, &raft.Log{Data: entry})
	if leave > segment/shareMembers && s.log.Scarce(leave+segment/shareHaste+int64(len(entry))) {
		return errScarce
	}
	return nil
}

// mayLead says why this node should not lead.
func (s *Server) mayLead() error {
	if s.log.Scarce(segmentBytes(s.Config().Storage)/shareMembers + candidacyBytes) {
		return errScarce
	}
	return nil
}

// sparing says that every entry counts: there is less room than a leader's ordinary work should have.
func (s *Server) sparing() bool { return s.log.Scarce(segmentBytes(s.Config().Storage) / shareOthers) }

// turnedDown is the fate of an entry that was not proposed.
type turnedDown struct{ error }

// Wait implements ingest.Future.
func (t turnedDown) Wait(context.Context) (any, uint64, error) { return nil, 0, t.error }
