package fsm

import "github.com/highlander-io/highlander/fsm/wire"

// GroupID names a group within its tenant.
type GroupID struct {
	Tenant string `json:"tenant"`
	Name   string `json:"group"`
}

// Kind says what an entry is. It is the second byte of every entry.
type Kind byte

// The kinds of entries. Numbers are part of the log's format and never reused.
const (
	KindBatch       Kind = 1  // samples: binary header, then the body as it came
	KindElect       Kind = 2  // a change of a group's current source
	KindSource      Kind = 3  // an operator's wish about a source
	KindDestination Kind = 4  // registration, new URL, pause, resume, forget
	KindCursor      Kind = 5  // a destination got further
	KindDeadLetter  Kind = 6  // samples that the LTS refused for good
	KindLetterOp    Kind = 7  // replay, its outcome, purge
	KindBooks       Kind = 8  // what only the leader saw
	KindCluster     Kind = 9  // cluster UUID and feature level
	KindFenceEnd    Kind = 10 // a handover is over
)

// Version is the first byte of every entry written today.
const Version = 1

// RequestID identifies one write request: a 128-bit hash of tenant, group, source and body as received.
type RequestID [16]byte

// Batch is one accepted write request, or one part of one, of one group and source.
type Batch struct {
	Group     GroupID
	Source    string
	Epoch     uint64 // the group's epoch for which it was admitted
	RequestID RequestID
	Part      uint32 // 1..Parts
	Parts     uint32
	Protocol  wire.Protocol
	Counts    wire.Counts // samples, exemplars, newest and oldest time of this part
	Time      int64       // the leader's clock at proposal, Unix milliseconds
	Flags     BatchFlags
	Body      []byte // snappy block, at most MaxBodyBytes
}

// BatchFlags mark how a batch came to be.
type BatchFlags uint8

const (
	// FlagUnelected marks a batch that needs no election: `unidentified: pass`, and metadata without a source.
	FlagUnelected BatchFlags = 1 << iota
	// FlagKept marks a batch made from a standby's kept samples at a handover.
	FlagKept
)

// MaxEntryBytes bounds an entry as stored. Larger byte slices are decoded quadratically by raft's transport.
const MaxEntryBytes = 256 << 10

// Verdict is what Apply answers for a batch.
type Verdict uint8

const (
	// Accepted means the batch is in the books and will be delivered.
	Accepted Verdict = 1
	// Duplicate means the same request was accepted before; answer it like the first.
	Duplicate Verdict = 2
	// NotCurrent means the source is not, or no longer, current in that epoch; admit it again.
	NotCurrent Verdict = 3
	// NoDestination means that no destination is registered yet.
	NoDestination Verdict = 4
)

// Elect makes a source current. It applies only if the group's epoch is FromEpoch (0: the group is new).
type Elect struct {
	Group     GroupID `json:"group"`
	FromEpoch uint64  `json:"from_epoch"`
	To        string  `json:"to"`
	Reason    string  `json:"reason"` // Reason* constants of election.go
	Time      int64   `json:"time"`
	Boundary  int64   `json:"boundary"` // watermark of the old source, Unix milliseconds
	// FenceFrom is the lowest index whose batches the fence of this change is built from, see WindowStart; 0: the
	// change needs no fence of its own.
	FenceFrom uint64 `json:"fence_from,omitempty"`
}

// FenceEnd closes the fence of a group's change of source: the new source has passed all that the old one had
// delivered. It applies only to the fence of that epoch.
type FenceEnd struct {
	Group GroupID `json:"group"`
	Epoch uint64  `json:"epoch"`
	Time  int64   `json:"time"`
}

// Operations of SourceOp, DestinationOp and LetterOp.
const (
	OpPin     = "pin"
	OpUnpin   = "unpin"
	OpPromote = "promote"
	OpWeight  = "weight"
	OpForget  = "forget" // a source or a destination

	OpRegister = "register"
	OpPause    = "pause"
	OpResume   = "resume"

	OpReplay    = "replay"
	OpDelivered = "delivered"
	OpRefused   = "refused"
	OpPurge     = "purge"
)

// SourceOp is an operator's wish about a source. Op is one of pin, unpin, promote, weight, forget.
type SourceOp struct {
	Op     string  `json:"op"`
	Group  GroupID `json:"group"`
	Source string  `json:"source,omitempty"`
	Weight uint64  `json:"weight,omitempty"`
	Time   int64   `json:"time"`
}

// DestinationOp registers or changes a destination. Op is one of register (also sets a new URL on a known
// name; the cursor stays), pause, resume, forget.
type DestinationOp struct {
	Op   string `json:"op"`
	Name string `json:"name"`
	URL  string `json:"url,omitempty"` // without credentials
	Time int64  `json:"time"`
}

// Cursor moves a destination's cursor. It applies only if From is the destination's cursor, so that a
// command whose outcome was uncertain can be proposed again.
type Cursor struct {
	Destination string `json:"destination"`
	From        uint64 `json:"from"`
	To          uint64 `json:"to"`
	// What left the backlog, read from the headers of the accepted batches in (From, To].
	Entries uint64 `json:"entries,omitempty"`
	Samples uint64 `json:"samples,omitempty"`
	Bytes   uint64 `json:"bytes,omitempty"`
	// What became of it, in samples, counted where it happened.
	Delivered      uint64            `json:"delivered,omitempty"`
	Redelivered    uint64            `json:"redelivered,omitempty"` // part of Delivered that the LTS had already
	DeadLetter     uint64            `json:"dead_letter,omitempty"`
	RelabelDropped uint64            `json:"relabel_dropped,omitempty"`
	Dropped        map[string]uint64 `json:"dropped,omitempty"` // by reason
	Time           int64             `json:"time"`
}

// DeadLetter holds samples that a destination refused for good, with its answer. ID is made from
// destination, index and body, so that the same refusal after a change of leader is stored once. Its samples
// are counted by the cursor command that passes them.
type DeadLetter struct {
	ID          string        `json:"id"`
	Destination string        `json:"destination"`
	Group       GroupID       `json:"group"`
	Source      string        `json:"source"`
	Index       uint64        `json:"index"` // the batch it came from
	Protocol    wire.Protocol `json:"protocol"`
	Samples     uint64        `json:"samples"`
	Status      int           `json:"status"` // HTTP status of the refusal
	Answer      string        `json:"answer"` // the LTS's words, shortened, valid UTF-8
	Time        int64         `json:"time"`
	Body        []byte        `json:"body"` // snappy block
}

// LetterOp acts on dead letters. Op is one of replay (ID; back into the backlog), delivered (ID; a replay
// succeeded), refused (ID, Status, Answer; a replay was refused again), purge (all, or ID).
type LetterOp struct {
	Op     string `json:"op"`
	ID     string `json:"id,omitempty"`
	Status int    `json:"status,omitempty"`
	Answer string `json:"answer,omitempty"`
	Time   int64  `json:"time"`
}

// Books carries what only the leader saw since its last one. Origin names the leadership (node UUID and
// term), Seq counts its deltas from 1; a delta that was applied before is ignored.
type Books struct {
	Origin string       `json:"origin"`
	Seq    uint64       `json:"seq"`
	Groups []GroupBooks `json:"groups"`
	Time   int64        `json:"time"`
}

// GroupBooks is one group's part of Books. Sample terms come with both sides of the equation: whatever is
// added to Covered, Duplicate or Rejected is added to Received as well.
type GroupBooks struct {
	Group     GroupID                 `json:"group"`
	Received  map[string]uint64       `json:"received,omitempty"` // samples by source
	Covered   uint64                  `json:"covered,omitempty"`
	Duplicate uint64                  `json:"duplicate,omitempty"` // seen before proposing
	Rejected  map[string]uint64       `json:"rejected,omitempty"`  // samples by reason
	Standby   map[string]StandbyBooks `json:"standby,omitempty"`   // by source
	Changes   []ChangeBooks           `json:"changes,omitempty"`   // what became known of past changes of source
}

// ChangeBooks adds what the leader found out about one change of source to the group's history. It is ignored
// if the history does not reach back to that epoch.
type ChangeBooks struct {
	Epoch      uint64 `json:"epoch"`
	KeptUsed   uint64 `json:"kept_used,omitempty"`
	Fenced     uint64 `json:"fenced,omitempty"`
	LargestGap int64  `json:"largest_gap_ms,omitempty"` // milliseconds; the largest one told counts
}

// StandbyBooks counts standby requests: Requests = Kept + Discarded + Used, and the same in bytes. Kept is a
// difference and may be negative: what was kept is later discarded or used.
type StandbyBooks struct {
	Requests       uint64 `json:"requests,omitempty"`
	Bytes          uint64 `json:"bytes,omitempty"`
	Kept           int64  `json:"kept,omitempty"`
	KeptBytes      int64  `json:"kept_bytes,omitempty"`
	Discarded      uint64 `json:"discarded,omitempty"`
	DiscardedBytes uint64 `json:"discarded_bytes,omitempty"`
	Used           uint64 `json:"used,omitempty"`
	UsedBytes      uint64 `json:"used_bytes,omitempty"`
}

// ClusterOp sets the cluster's UUID or raises the feature level. A UUID is set only if the one known so far is
// FromUUID: empty for the first one, the old one for recover.
type ClusterOp struct {
	UUID         string `json:"uuid,omitempty"`
	FromUUID     string `json:"from_uuid,omitempty"`
	FeatureLevel uint64 `json:"feature_level,omitempty"`
	Time         int64  `json:"time"`
}
