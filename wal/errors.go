package wal

import (
	"errors"
	"fmt"
)

var (
	// ErrReclaimed is a reader's answer for an index below the first.
	ErrReclaimed = errors.New("wal: entry is reclaimed")
	// ErrClosed is every answer after Close.
	ErrClosed = errors.New("wal: closed")
	// ErrGap is StoreLogs' answer to entries that do not continue the log. Nothing
	// was stored and nothing is broken, but a Raft node must not go on after it.
	ErrGap = errors.New("wal: entries do not continue the log")
)

// CorruptError is damage that is not a torn tail: entries that were once durable
// cannot be read any more. The node must be replaced, its directory kept for a look.
type CorruptError struct {
	Segment uint64 // id; 0 for the file "first"
	Offset  int64  // in the segment's file
	Index   uint64 // of the entry expected there; 0 if none in particular
	Field   string // what is wrong
	Want    uint64 // its expected value
	Got     uint64 // its value on disk
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("wal: corrupt segment %d at offset %d, index %d: %s: want %#x, got %#x",
		e.Segment, e.Offset, e.Index, e.Field, e.Want, e.Got)
}
