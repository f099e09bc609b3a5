package fsm

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/hashicorp/raft"
)

// A snapshot is the magic, a version byte, the sections in the order of encodeState, and a CRC32C (little endian) of
// everything before it. Maps are written in the order of their keys, so equal states have equal bytes.
const (
	snapshotMagic   = "HLFS"
	SnapshotVersion = 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Snapshot implements raft.FSM. Bodies of dead letters are shared, everything else is copied.
func (f *FSM) Snapshot() (raft.FSMSnapshot, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.broken != nil {
		return nil, fmt.Errorf("fsm: snapshot: %w", f.broken)
	}
	return snapshot(encodeState(&f.state)), nil
}

// StateHash is a hash of everything a snapshot holds. It is equal on all nodes at equal applied index.
func (f *FSM) StateHash() [32]byte {
	f.mu.RLock()
	chunks := encodeState(&f.state)
	f.mu.RUnlock()
	h := sha256.New()
	for _, chunk := range chunks {
		h.Write(chunk)
	}
	return [32]byte(h.Sum(nil))
}

// snapshot is the encoded state, in chunks.
type snapshot [][]byte

// Persist implements raft.FSMSnapshot.
func (s snapshot) Persist(sink raft.SnapshotSink) error {
	for _, chunk := range s {
		if _, err := sink.Write(chunk); err != nil {
			_ = sink.Cancel() // the write's error says more
			return fmt.Errorf("fsm: write snapshot: %w", err)
		}
	}
	return sink.Close()
}

// Release implements raft.FSMSnapshot.
func (snapshot) Release() {}

// Restore implements raft.FSM. After an error the state is what it was.
func (f *FSM) Restore(r io.ReadCloser) error {
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		return fmt.Errorf("fsm: read snapshot: %w", err)
	}
	restored, err := decodeState(data)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.broken != nil {
		return fmt.Errorf("fsm: restore: %w", f.broken)
	}
	f.state = restored
	_ = f.notify() // nothing is broken
	return nil
}

// encoder collects chunks; what is appended to head becomes part of the last one.
type encoder struct {
	chunks  [][]byte
	head    []byte
	sources []*source // of the group at hand, reused
}

func (e *encoder) uint(v uint64) { e.head = binary.AppendUvarint(e.head, v) }
func (e *encoder) int(v int64)   { e.head = binary.AppendVarint(e.head, v) }
func (e *encoder) name(s string) { e.head = appendName(e.head, s) }

func (e *encoder) flag(b bool) {
	if b {
		e.head = append(e.head, 1)
		return
	}
	e.head = append(e.head, 0)
}

// shared appends bytes that never change, without copying them.
func (e *encoder) shared(b []byte) {
	e.uint(uint64(len(b)))
	e.chunks = append(e.chunks, e.head, b)
	e.head = nil
}

func (e *encoder) finish() [][]byte {
	e.chunks = append(e.chunks, e.head)
	var sum uint32
	for _, chunk := range e.chunks {
		sum = crc32.Update(sum, castagnoli, chunk)
	}
	return append(e.chunks, binary.LittleEndian.AppendUint32(nil, sum))
}

// openSnapshot checks magic, version and sum and returns what is between.
func openSnapshot(data []byte) ([]byte, error) {
	const frame = len(snapshotMagic) + 1
	if len(data) < frame+crc32.Size || string(data[:len(snapshotMagic)]) != snapshotMagic {
		return nil, fmt.Errorf("%w: it does not begin like one", ErrSnapshot)
	}
	if v := data[frame-1]; v != SnapshotVersion {
		return nil, fmt.Errorf("%w: snapshot has version %d, this build reads %d", ErrVersion, v, SnapshotVersion)
	}
	end := len(data) - crc32.Size
	if got, want := crc32.Checksum(data[:end], castagnoli), binary.LittleEndian.Uint32(data[end:]); got != want {
		return nil, fmt.Errorf("%w: checksum %08x, want %08x", ErrSnapshot, got, want)
	}
	return data[frame:end], nil
}
