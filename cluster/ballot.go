package cluster

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"os"
	"path/filepath"
	"sync"
)

// The ballot is the file of term and vote. It holds two copies of the same few values, each in a block of its own:
//
//	"HLVOTE" | version, 2 bytes | sequence, 8 bytes | length, 4 bytes | CRC32C, 4 bytes | values, JSON
//
// Integers are big endian; the checksum covers the block's 4096 bytes but its own four. A change is written and synced
// to the first copy, then to the second, in place: a full disk cannot stop a vote. Damage to one copy, or a write of it
// that a crash tore, costs nothing: the other has what was acknowledged.
const (
	ballotMagic   = "HLVOTE"
	ballotVersion = 1
	ballotHeader  = len(ballotMagic) + 2 + 8 + 4 + 4
	ballotBlock   = 4096
	ballotCopies  = 2
)

// errNoValue is what raft compares with, as text, when a value was never set.
var errNoValue = errors.New("not found")

// ballot implements raft.StableStore.
type ballot struct {
	mu       sync.Mutex
	file     *os.File
	sequence uint64
	values   map[string][]byte
}

// createBallot makes the file with first values, which may be nil.
func createBallot(path string, values map[string][]byte) error {
	block, err := encodeBallot(0, values)
	if err != nil {
		return err
	}
	return writeFileSync(path, append(block, block...))
}

// openBallot opens the file and makes both copies the same again. mended says that one of them was not valid.
func openBallot(path string) (b *ballot, mended bool, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, false, err
	}
	b = &ballot{file: f}
	valid, err := b.read()
	if err == nil && valid == 0 {
		err = fmt.Errorf("%w: %s: neither copy of term and vote is valid", ErrDamaged, path)
	}
	if err == nil {
		err = b.write() // what is not damaged may still be older
	}
	if err != nil {
		return nil, false, errors.Join(err, f.Close())
	}
	return b, valid < ballotCopies, nil
}

// read takes the newer one of the valid copies.
func (b *ballot) read() (valid int, err error) {
	for i := range int64(ballotCopies) {
		block := make([]byte, ballotBlock)
		n, err := b.file.ReadAt(block, i*ballotBlock)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, fmt.Errorf("term and vote: %w", err)
		}
		if n < ballotBlock {
			break // cut short
		}
		sequence, values, ok, err := decodeBallot(block)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", b.file.Name(), err)
		}
		if !ok {
			continue
		}
		if valid++; valid == 1 || sequence > b.sequence {
			b.sequence, b.values = sequence, values
		}
	}
	return valid, nil
}

func encodeBallot(sequence uint64, values map[string][]byte) ([]byte, error) {
	text, err := json.Marshal(values)
	if err != nil {
		return nil, err
	}
	if ballotHeader+len(text) > ballotBlock {
		return nil, fmt.Errorf("term and vote take %d bytes, more than %d", len(text), ballotBlock-ballotHeader)
	}
	block := append(make([]byte, 0, ballotBlock), ballotMagic...)
	block = binary.BigEndian.AppendUint16(block, ballotVersion)
	block = binary.BigEndian.AppendUint64(block, sequence)
	block = binary.BigEndian.AppendUint32(block, uint32(len(text)))
	block = append(block, 0, 0, 0, 0)
	block = append(block, text...)[:ballotBlock]
	binary.BigEndian.PutUint32(block[ballotHeader-4:], ballotSum(block))
	return block, nil
}

func ballotSum(block []byte) uint32 {
	sum := crc32.Checksum(block[:ballotHeader-4], castagnoli)
	return crc32.Update(sum, castagnoli, block[ballotHeader:])
}

// decodeBallot reports with ok whether the block is what was once written.
func decodeBallot(block []byte) (sequence uint64, values map[string][]byte, ok bool, err error) {
	if string(block[:len(ballotMagic)]) != ballotMagic || binary.BigEndian.Uint32(block[ballotHeader-4:]) != ballotSum(block) {
		return 0, nil, false, nil
	}
	if v := binary.BigEndian.Uint16(block[len(ballotMagic):]); v != ballotVersion {
		return 0, nil, false, fmt.Errorf("version %d; this build reads version %d", v, ballotVersion)
	}
	sequence = binary.BigEndian.Uint64(block[len(ballotMagic)+2:])
	length := int(binary.BigEndian.Uint32(block[len(ballotMagic)+10:]))
	if length > ballotBlock-ballotHeader {
		return 0, nil, false, nil
	}
	err = json.Unmarshal(block[ballotHeader:ballotHeader+length], &values)
	return sequence, values, err == nil, err
}

// write makes the values durable in both copies, one after the other.
func (b *ballot) write() error {
	block, err := encodeBallot(b.sequence, b.values)
	if err != nil {
		return err
	}
	for i := range int64(ballotCopies) {
		if _, err := b.file.WriteAt(block, i*ballotBlock); err != nil {
			return err // names the file and the call
		}
		if err := b.file.Sync(); err != nil {
			return err
		}
	}
	return nil
}

// Set implements raft.StableStore. After an error nothing is known about the file: the node must stop.
func (b *ballot) Set(key, value []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	values := maps.Clone(b.values)
	if values == nil {
		values = map[string][]byte{}
	}
	values[string(key)] = append([]byte{}, value...)
	b.values = values
	b.sequence++
	return b.write()
}

// SetUint64 implements raft.StableStore.
func (b *ballot) SetUint64(key []byte, value uint64) error {
	return b.Set(key, binary.BigEndian.AppendUint64(nil, value))
}

// Get implements raft.StableStore.
func (b *ballot) Get(key []byte) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	value, ok := b.values[string(key)]
	if !ok {
		return nil, errNoValue
	}
	return value, nil
}

// GetUint64 implements raft.StableStore.
func (b *ballot) GetUint64(key []byte) (uint64, error) {
	value, err := b.Get(key)
	if err != nil {
		return 0, err
	}
	if len(value) != 8 {
		return 0, fmt.Errorf("%w: %q has %d bytes, want 8", ErrDamaged, key, len(value))
	}
	return binary.BigEndian.Uint64(value), nil
}

// Close closes the file.
func (b *ballot) Close() error { return b.file.Close() }

// adoptBallot takes term and vote over from the store that earlier builds kept them in. Where both are there, the one with
// the later term counts: an adoption was interrupted, or an earlier build has run since.
func adoptBallot(dir string) error {
	old, path := filepath.Join(dir, stableFile), filepath.Join(dir, ballotFile)
	if _, err := os.Stat(old); err != nil {
		return ignoreMissing(err)
	}
	known, err := ballotTerm(path)
	if err != nil {
		return err
	}
	store, err := openBolt(old)
	if err != nil {
		return err
	}
	values := map[string][]byte{}
	for _, key := range [][]byte{currentTermKey, lastVoteTermKey, lastVoteCandKey, clusterKey} {
		value, err := store.Get(key)
		if err == nil {
			values[string(key)] = value
		} else if err.Error() != errNoValue.Error() {
			return errors.Join(err, store.Close())
		}
	}
	if err := store.Close(); err != nil {
		return err
	}
	if term := values[string(currentTermKey)]; known == nil || bytes.Compare(term, known) > 0 {
		if err := createBallot(path, values); err != nil {
			return err
		}
	}
	return os.Remove(old)
}

// ballotTerm returns the term in a ballot as it is stored, nil without one.
func ballotTerm(path string) ([]byte, error) {
	b, _, err := openBallot(path)
	if err != nil {
		return nil, ignoreMissing(err)
	}
	term, err := b.Get(currentTermKey)
	if err != nil {
		term = []byte{}
	}
	return term, b.Close()
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
