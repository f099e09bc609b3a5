package fsm

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// Why a command was not applied. The text that wraps them says what would have been right.
var (
	ErrEpoch     = errors.New("the group's epoch is another one")           // Elect: somebody was faster
	ErrOverruled = errors.New("an operator's wish stands against it")       // Elect, SourceOp
	ErrCursor    = errors.New("the destination's cursor is somewhere else") // Cursor, DeadLetter
	ErrBooks     = errors.New("the books would not balance")                // Cursor, Books
	ErrUnknown   = errors.New("unknown")                                    // a name that the state does not have
	ErrLimit     = errors.New("a limit is reached")                         // groups, destinations
	ErrInUse     = errors.New("still in use")                               // forget, purge, replay
	ErrUUID      = errors.New("the cluster has another UUID")               // ClusterOp
	ErrSnapshot  = errors.New("fsm: malformed snapshot")
)

// Options are a node's own view. They decide nothing in Apply.
type Options struct {
	// Margin and WindowBytes say how much of the log Floor keeps for handovers: entries of the last Margin (and
	// FloorSlack) by their own time stamps, at most WindowBytes of them. Zero means 90 s and 256 MiB; more than
	// MarginMax and WindowBytesMax is not remembered.
	Margin      time.Duration
	WindowBytes int64
	// Fatal is told, once, that the log holds something this build cannot apply. The node must stop: nothing is
	// applied after it. Nil panics.
	Fatal func(error)
}

// FSM is the replicated state. Apply, ApplyBatch, StoreConfiguration, Snapshot and Restore belong to Raft, which calls
// them one after another; everything else may be called at any time from anywhere.
type FSM struct {
	margin time.Duration
	window uint64
	fatal  func(error)

	mu      sync.RWMutex
	state         // guarded by mu
	broken  error // set once: why nothing is applied any more
	told    bool  // Fatal was told so
	changed chan struct{}

	scratch   header // of the batch being applied
	responses []any  // of the batch of entries being applied
}

// state is what snapshots carry.
type state struct {
	applied      uint64
	clusterUUID  string
	featureLevel uint64
	groups       map[GroupID]*group
	fenced       map[*group]struct{} // the groups whose fence is open
	destinations map[string]*Destination
	letters      letters
	requests     requests
	refused      refusals
	marks        marks
	ledger       ledger
	// parked is the lowest cursor at the time the last destination was forgotten: without a destination the
	// floor stays where it was.
	parked uint64
}

func newState() state {
	return state{
		groups:       make(map[GroupID]*group),
		fenced:       make(map[*group]struct{}),
		destinations: make(map[string]*Destination),
		letters:      letters{byID: make(map[string]*letter)},
		requests:     requests{byID: make(map[RequestID]uint32)},
	}
}

// New returns an empty state.
func New(o Options) *FSM {
	f := &FSM{margin: o.Margin, window: uint64(max(o.WindowBytes, 0)), fatal: o.Fatal, state: newState()}
	if f.margin <= 0 {
		f.margin = 90 * time.Second
	}
	if f.window == 0 {
		f.window = 256 << 20
	}
	f.margin = min(f.margin, MarginMax)
	f.window = min(f.window, WindowBytesMax)
	if f.fatal == nil {
		f.fatal = func(err error) { panic("BUG: " + err.Error()) }
	}
	return f
}

var (
	_ raft.BatchingFSM        = (*FSM)(nil)
	_ raft.ConfigurationStore = (*FSM)(nil)
)

// Apply implements raft.FSM. It returns a Verdict for a batch, and nil or an error for every other command.
func (f *FSM) Apply(entry *raft.Log) any {
	f.mu.Lock()
	response := f.step(entry)
	err := f.notify()
	f.mu.Unlock()
	f.report(err)
	return response
}

// ApplyBatch implements raft.BatchingFSM. The slice it returns is valid until the next call.
func (f *FSM) ApplyBatch(entries []*raft.Log) []any {
	f.mu.Lock()
	clear(f.responses)
	f.responses = f.responses[:0]
	for _, entry := range entries {
		f.responses = append(f.responses, f.step(entry))
	}
	err := f.notify()
	f.mu.Unlock()
	f.report(err)
	return f.responses
}

// StoreConfiguration implements raft.ConfigurationStore. The members are Raft's business; the index is noted, so that
// Raft can take a snapshot right after a change of members.
func (f *FSM) StoreConfiguration(index uint64, _ raft.Configuration) {
	f.mu.Lock()
	f.advance(index)
	err := f.notify()
	f.mu.Unlock()
	f.report(err)
}

// notify wakes those who wait for a change. It returns what Fatal must be told, once.
func (f *FSM) notify() error {
	if f.changed != nil {
		close(f.changed)
		f.changed = nil
	}
	if f.broken == nil || f.told {
		return nil
	}
	f.told = true
	return f.broken
}

func (f *FSM) report(err error) {
	if err != nil {
		f.fatal(err) // without the lock: it may want to look at the state
	}
}

func (f *FSM) advance(index uint64) bool {
	if f.broken != nil {
		return false
	}
	if index <= f.applied {
		f.broken = fmt.Errorf("fsm: entry %d follows entry %d", index, f.applied)
		return false
	}
	f.applied = index
	return true
}

// step applies one entry.
func (f *FSM) step(entry *raft.Log) any {
	before := f.applied
	if !f.advance(entry.Index) {
		return f.broken
	}
	if entry.Type != raft.LogCommand {
		return nil
	}
	response, err := f.command(entry.Index, entry.Data)
	if err != nil {
		f.applied = before
		f.broken = fmt.Errorf("fsm: apply entry %d: %w", entry.Index, err)
		return f.broken
	}
	return response
}

// command applies what an entry holds. An error means that it cannot be understood; it has changed nothing then.
func (f *FSM) command(index uint64, entry []byte) (any, error) {
	kind, err := PeekKind(entry)
	if err != nil {
		return nil, err
	}
	if kind == KindBatch {
		if err := f.scratch.parse(entry); err != nil {
			return nil, err
		}
		verdict := f.applyBatch(index, len(entry), &f.scratch)
		f.scratch = header{} // keeps no view of the entry
		return verdict, nil
	}
	_, c, err := Decode(entry)
	if err != nil {
		return nil, err
	}
	if op, ok := c.(*ClusterOp); ok && op.FeatureLevel > FeatureLevel {
		return nil, tooOld(op.FeatureLevel)
	}
	if err := f.operate(index, c); err != nil {
		return err, nil
	}
	return nil, nil
}

func (f *FSM) operate(index uint64, c any) error {
	switch c := c.(type) {
	case *Elect:
		return f.applyElect(index, c)
	case *SourceOp:
		return f.applySource(c)
	case *DestinationOp:
		return f.applyDestination(index, c)
	case *Cursor:
		return f.applyCursor(index, c)
	case *DeadLetter:
		return f.applyDeadLetter(index, c)
	case *LetterOp:
		return f.applyLetterOp(c)
	case *Books:
		return f.applyBooks(c)
	case *ClusterOp:
		return f.applyCluster(c)
	case *FenceEnd:
		return f.applyFenceEnd(c)
	}
	panic(fmt.Sprintf("BUG: command %T is decoded but not applied", c))
}

func (f *FSM) applyCluster(c *ClusterOp) error {
	if c.UUID != "" && c.UUID != f.clusterUUID {
		if c.FromUUID != f.clusterUUID {
			return fmt.Errorf("fsm: set cluster UUID to %s: %w: %q, not %q", c.UUID, ErrUUID, f.clusterUUID, c.FromUUID)
		}
		f.clusterUUID = c.UUID
	}
	f.featureLevel = max(f.featureLevel, c.FeatureLevel)
	return nil
}

// tooOld is why a build does not go on in a cluster whose members have agreed on more than it knows.
func tooOld(level uint64) error {
	return fmt.Errorf("%w: the cluster has agreed on feature level %d, this build supports %d: start a newer version", ErrVersion, level, FeatureLevel)
}

// Applied returns the index of the last command or configuration applied. Barriers and no-ops do not count: Raft does not
// show them to a state machine.
func (f *FSM) Applied() uint64 {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.applied
}

// Changed returns a channel that is closed at the next change. Take it before looking at the state.
func (f *FSM) Changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.changed == nil {
		f.changed = make(chan struct{})
	}
	return f.changed
}

// ClusterUUID returns the cluster's UUID, or nothing before it was set.
func (f *FSM) ClusterUUID() string {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.clusterUUID
}

// FeatureLevel returns the feature level that all members have agreed on; 0 before the first agreement.
func (f *FSM) FeatureLevel() uint64 {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.featureLevel
}
