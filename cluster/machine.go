package cluster

import (
	"bytes"
	"io"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// machine wraps the state machine: it counts what has been applied since the last snapshot, tells local
// snapshots from received ones, and hands configuration entries to StoreConfiguration only, batched or not.
// Without that last part Raft refuses to take a snapshot after a change of members until the next command.
type machine struct {
	raft.FSM
	batching raft.BatchingFSM
	store    raft.ConfigurationStore

	due     chan struct{} // one pending signal: dueBytes were applied
	dueMin  int64
	unsaved atomic.Int64 // bytes applied since the last snapshot
}

func newMachine(fsm raft.FSM, snapshotBytes int64) *machine {
	m := &machine{FSM: fsm, due: make(chan struct{}, 1), dueMin: snapshotBytes}
	m.batching, _ = fsm.(raft.BatchingFSM)
	m.store, _ = fsm.(raft.ConfigurationStore)
	return m
}

// Apply implements raft.FSM.
func (m *machine) Apply(entry *raft.Log) any { return m.ApplyBatch([]*raft.Log{entry})[0] }

// ApplyBatch implements raft.BatchingFSM.
func (m *machine) ApplyBatch(entries []*raft.Log) []any {
	responses := make([]any, 0, len(entries))
	var bytes int64
	for from := 0; from < len(entries); {
		if entries[from].Type == raft.LogConfiguration {
			m.StoreConfiguration(entries[from].Index, raft.DecodeConfiguration(entries[from].Data))
			responses = append(responses, nil)
			from++
			continue
		}
		to := from
		for to < len(entries) && entries[to].Type != raft.LogConfiguration {
			bytes += int64(len(entries[to].Data))
			to++
		}
		responses = append(responses, m.commands(entries[from:to])...)
		from = to
	}
	m.count(bytes)
	return responses
}

func (m *machine) commands(entries []*raft.Log) []any {
	if m.batching != nil {
		return m.batching.ApplyBatch(entries)
	}
	responses := make([]any, len(entries))
	for i, entry := range entries {
		responses[i] = m.FSM.Apply(entry)
	}
	return responses
}

func (m *machine) count(bytes int64) {
	if m.unsaved.Add(bytes) < m.dueMin {
		return
	}
	select {
	case m.due <- struct{}{}:
	default:
	}
}

// StoreConfiguration implements raft.ConfigurationStore.
func (m *machine) StoreConfiguration(index uint64, configuration raft.Configuration) {
	if m.store != nil {
		m.store.StoreConfiguration(index, configuration)
	}
}

// Snapshot implements raft.FSM.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	snapshot, err := m.FSM.Snapshot()
	if err != nil {
		return nil, err
	}
	return machineSnapshot{snapshot}, nil
}

type machineSnapshot struct{ raft.FSMSnapshot }

// Persist implements raft.FSMSnapshot.
func (s machineSnapshot) Persist(sink raft.SnapshotSink) error {
	if own, ok := sink.(*snapshotSink); ok {
		own.local = true
	}
	return s.FSMSnapshot.Persist(sink)
}

// memorySink receives the state of an empty state machine, so that a node that is reset while it runs can put
// its state machine back to the beginning.
type memorySink struct{ bytes.Buffer }

func (*memorySink) ID() string    { return "memory" }
func (*memorySink) Close() error  { return nil }
func (*memorySink) Cancel() error { return nil }

func saveState(fsm raft.FSM) ([]byte, error) {
	snapshot, err := fsm.Snapshot()
	if err != nil {
		return nil, err
	}
	defer snapshot.Release()
	var sink memorySink
	if err := snapshot.Persist(&sink); err != nil {
		return nil, err
	}
	return sink.Bytes(), nil
}

func restoreState(fsm raft.FSM, state []byte) error {
	return fsm.Restore(io.NopCloser(bytes.NewReader(state)))
}
