package cluster

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/raft"
)

// A snapshot is one file, named so that names sort by age:
//
//	"HLSNAP" | version, 1 byte | meta length, 4 bytes | meta, JSON | state | state length, 8 bytes | CRC32C, 4 bytes
//
// Integers are big endian. The checksum covers every byte before it. The file is written under a temporary
// name, synced, renamed, and its directory synced, so a name without .tmp is a whole snapshot.
const (
	snapshotMagic   = "HLSNAP"
	snapshotVersion = 1
	snapshotHeader  = len(snapshotMagic) + 5
	snapshotTrailer = 12
	snapshotSuffix  = ".snap"
	snapshotTmp     = ".tmp"
	snapshotDamaged = ".damaged"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// snapshotFiles keeps the node's snapshots on disk and their metadata in memory. It offers all of them; which
// one Raft may see is retention's business.
type snapshotFiles struct {
	dir string
	bad []raft.SnapshotMeta // damaged ones; only what their names say is known

	mu    sync.Mutex
	metas []raft.SnapshotMeta // oldest first
}

func openSnapshots(dir string) (*snapshotFiles, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("snapshots: %w", err)
	}
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("snapshots: %w", err)
	}
	s := &snapshotFiles{dir: dir}
	for _, entry := range names {
		switch name := entry.Name(); {
		case strings.HasSuffix(name, snapshotTmp):
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				return nil, fmt.Errorf("snapshots: %w", err)
			}
		case strings.HasSuffix(name, snapshotSuffix):
			if err := s.load(name); err != nil {
				return nil, fmt.Errorf("snapshot %s: %w", filepath.Join(dir, name), err)
			}
		}
	}
	slices.SortFunc(s.metas, compareSnapshots)
	return s, nil
}

// load takes note of one file. A damaged one is found now and not when somebody needs it.
func (s *snapshotFiles) load(name string) error {
	f, err := os.Open(filepath.Join(s.dir, name))
	if err != nil {
		return err
	}
	defer f.Close()
	whole, err := checksummed(f)
	if err != nil {
		return err
	}
	if !whole {
		meta := raft.SnapshotMeta{ID: strings.TrimSuffix(name, snapshotSuffix)}
		if _, err := fmt.Sscanf(meta.ID, "%d-%d-", &meta.Index, &meta.Term); err != nil {
			return fmt.Errorf("%w: neither name nor contents are those of a snapshot", ErrDamaged)
		}
		s.bad = append(s.bad, meta)
		return nil
	}
	meta, _, err := parseSnapshotHeader(f)
	if err != nil {
		return err
	}
	if meta.ID+snapshotSuffix != name { // or another file would be opened, and removed, in its place
		return fmt.Errorf("%w: the snapshot in it is called %q", ErrDamaged, meta.ID)
	}
	s.metas = append(s.metas, meta)
	return nil
}

// checksummed reports whether a file ends with the checksum of the rest of it.
func checksummed(f *os.File) (bool, error) {
	info, err := f.Stat()
	if err != nil || info.Size() < 4 {
		return false, err
	}
	covered := info.Size() - 4
	sum := crc32.New(castagnoli)
	if _, err := io.Copy(sum, io.NewSectionReader(f, 0, covered)); err != nil {
		return false, err
	}
	var stored [4]byte
	_, err = f.ReadAt(stored[:], covered)
	return err == nil && binary.BigEndian.Uint32(stored[:]) == sum.Sum32(), err
}

// setAside keeps a damaged snapshot for a look, out of the way.
func (s *snapshotFiles) setAside(meta raft.SnapshotMeta) error {
	if err := os.Rename(s.path(meta.ID), s.path(meta.ID)+snapshotDamaged); err != nil {
		return fmt.Errorf("snapshots: %w", err)
	}
	return syncDir(s.dir)
}

func compareSnapshots(a, b raft.SnapshotMeta) int {
	if a.Index != b.Index {
		if a.Index < b.Index {
			return -1
		}
		return 1
	}
	return strings.Compare(a.ID, b.ID)
}

// list returns the metadata, oldest first.
func (s *snapshotFiles) list() []raft.SnapshotMeta {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.metas)
}

// at returns the snapshot taken at index, if it is still there.
func (s *snapshotFiles) at(index uint64) (raft.SnapshotMeta, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, meta := range s.metas {
		if meta.Index == index {
			return meta, true
		}
	}
	return raft.SnapshotMeta{}, false
}

func (s *snapshotFiles) newest() (raft.SnapshotMeta, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.metas) == 0 {
		return raft.SnapshotMeta{}, false
	}
	return s.metas[len(s.metas)-1], true
}

// remove deletes the given snapshots, oldest first, so that a crash leaves the newer ones.
func (s *snapshotFiles) remove(metas []raft.SnapshotMeta) error {
	for _, meta := range metas {
		if err := os.Remove(s.path(meta.ID)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("snapshots: %w", err)
		}
		s.mu.Lock()
		s.metas = slices.DeleteFunc(s.metas, func(m raft.SnapshotMeta) bool { return m.ID == meta.ID })
		s.mu.Unlock()
	}
	return nil
}

func (s *snapshotFiles) path(id string) string { return filepath.Join(s.dir, id+snapshotSuffix) }

// create begins a snapshot. It becomes visible when commit has returned.
func (s *snapshotFiles) create(meta raft.SnapshotMeta) (*snapshotWriter, error) {
	f, err := s.createFile(&meta)
	if err != nil {
		return nil, fmt.Errorf("snapshots: %w", err)
	}
	w := &snapshotWriter{files: s, meta: meta, file: f, sum: crc32.New(castagnoli), out: bufio.NewWriter(f)}
	if err := w.header(); err != nil {
		return nil, errors.Join(err, w.discard())
	}
	return w, nil
}

// createFile finds a name that neither a snapshot nor one in the making has: a snapshot of the same index may
// be taken here and received from a leader at the same time.
func (s *snapshotFiles) createFile(meta *raft.SnapshotMeta) (*os.File, error) {
	for n := 0; ; n++ {
		meta.ID = fmt.Sprintf("%020d-%d-%d", meta.Index, meta.Term, n)
		if _, err := os.Stat(s.path(meta.ID)); err == nil {
			continue
		}
		f, err := os.OpenFile(filepath.Join(s.dir, meta.ID+snapshotTmp), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
		if !errors.Is(err, os.ErrExist) {
			return f, err
		}
	}
}

// open verifies the whole file before it gives out a byte of it.
func (s *snapshotFiles) open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	f, err := os.Open(s.path(id))
	if err != nil {
		return nil, nil, fmt.Errorf("snapshots: %w", err)
	}
	meta, start, err := verifySnapshot(f)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("snapshot %s: %w", s.path(id), err), f.Close())
	}
	state := io.NewSectionReader(f, start, meta.Size)
	return &meta, struct {
		io.Reader
		io.Closer
	}{bufio.NewReader(state), f}, nil
}

func verifySnapshot(f *os.File) (raft.SnapshotMeta, int64, error) {
	meta, start, err := parseSnapshotHeader(f)
	if err != nil {
		return meta, 0, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return meta, 0, err
	}
	sum := crc32.New(castagnoli)
	covered := start + meta.Size + 8
	if _, err := io.CopyN(sum, bufio.NewReader(f), covered); err != nil {
		return meta, 0, err
	}
	var stored [4]byte
	if _, err := f.ReadAt(stored[:], covered); err != nil {
		return meta, 0, err
	}
	if want := binary.BigEndian.Uint32(stored[:]); want != sum.Sum32() {
		return meta, 0, fmt.Errorf("checksum is %08x, want %08x", sum.Sum32(), want)
	}
	return meta, start, nil
}

// parseSnapshotHeader reads everything but the state and returns where the state begins.
func parseSnapshotHeader(f *os.File) (raft.SnapshotMeta, int64, error) {
	var meta raft.SnapshotMeta
	var header [snapshotHeader]byte
	if _, err := io.ReadFull(f, header[:]); err != nil {
		return meta, 0, err
	}
	if string(header[:len(snapshotMagic)]) != snapshotMagic {
		return meta, 0, errors.New("not a snapshot")
	}
	if version := header[len(snapshotMagic)]; version != snapshotVersion {
		return meta, 0, fmt.Errorf("version %d; this build reads version %d", version, snapshotVersion)
	}
	length := int64(binary.BigEndian.Uint32(header[len(snapshotMagic)+1:]))
	start := int64(snapshotHeader) + length
	info, err := f.Stat()
	if err != nil {
		return meta, 0, err
	}
	if start+snapshotTrailer > info.Size() {
		return meta, 0, fmt.Errorf("%d bytes are too few", info.Size())
	}
	text := make([]byte, length)
	if _, err := io.ReadFull(f, text); err != nil {
		return meta, 0, err
	}
	if err := json.Unmarshal(text, &meta); err != nil {
		return meta, 0, err
	}
	var size [8]byte
	if _, err := f.ReadAt(size[:], info.Size()-snapshotTrailer); err != nil {
		return meta, 0, err
	}
	meta.Size = int64(binary.BigEndian.Uint64(size[:]))
	if start+meta.Size+snapshotTrailer != info.Size() {
		return meta, 0, fmt.Errorf("%d bytes, want %d", info.Size(), start+meta.Size+snapshotTrailer)
	}
	return meta, start, nil
}

// snapshotWriter writes one snapshot file.
type snapshotWriter struct {
	files *snapshotFiles
	meta  raft.SnapshotMeta
	file  *os.File
	out   *bufio.Writer
	sum   hash.Hash32
	size  int64
}

func (w *snapshotWriter) header() error {
	text, err := json.Marshal(w.meta)
	if err != nil {
		return err
	}
	header := append([]byte(snapshotMagic), snapshotVersion)
	header = binary.BigEndian.AppendUint32(header, uint32(len(text)))
	return w.put(append(header, text...))
}

func (w *snapshotWriter) put(data []byte) error {
	w.sum.Write(data) // never fails
	_, err := w.out.Write(data)
	return err
}

// Write implements io.Writer.
func (w *snapshotWriter) Write(data []byte) (int, error) {
	if err := w.put(data); err != nil {
		return 0, fmt.Errorf("snapshots: %w", err)
	}
	w.size += int64(len(data))
	return len(data), nil
}

func (w *snapshotWriter) commit() error {
	if err := w.finish(); err != nil {
		return errors.Join(fmt.Errorf("snapshots: %w", err), os.Remove(w.file.Name()))
	}
	w.meta.Size = w.size
	w.files.mu.Lock()
	defer w.files.mu.Unlock()
	w.files.metas = append(w.files.metas, w.meta)
	slices.SortFunc(w.files.metas, compareSnapshots)
	return nil
}

func (w *snapshotWriter) finish() error {
	err := w.put(binary.BigEndian.AppendUint64(nil, uint64(w.size)))
	sum := binary.BigEndian.AppendUint32(nil, w.sum.Sum32())
	err = errors.Join(err, w.put(sum), w.out.Flush(), w.file.Sync(), w.file.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(w.file.Name(), w.files.path(w.meta.ID)); err != nil {
		return err
	}
	return syncDir(w.files.dir)
}

func (w *snapshotWriter) discard() error {
	return errors.Join(w.file.Close(), os.Remove(w.file.Name()))
}
