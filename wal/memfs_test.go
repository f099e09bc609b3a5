package wal

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
)

var errCrashed = errors.New("memfs: power is off")

// memFS is a file system in memory that knows what a power cut would leave: of data written
// since the last Sync any sectors, of names changed since the last SyncDir any prefix.
type memFS struct {
	mu      sync.Mutex
	names   map[string]*inode // what a process sees
	durable map[string]*inode // what survives for sure
	pending []func(map[string]*inode)

	sector  int               // how finely a write can tear
	steps   int               // operations that change something, so far
	crashAt int               // the power goes off at this one; 0: never
	fail    func(op Op) error // asked before each operation
	trace   map[Op]int        // how often each label was seen
	space   int64             // bytes left, if limited
	limited bool

	reads, readBytes int
}

type inode struct {
	sector int
	data   []byte
	synced []byte
	dirty  map[int]struct{} // sectors
}

func newMemFS() *memFS {
	return &memFS{sector: 512, names: map[string]*inode{}, durable: map[string]*inode{}, trace: map[Op]int{}}
}

// step counts an operation that changes something. It reports whether it may happen; the
// one at which the power goes off happens, but nothing follows it.
func (m *memFS) step(op Op) error {
	m.trace[op]++
	if m.crashAt > 0 && m.steps >= m.crashAt {
		return errCrashed
	}
	if m.fail != nil {
		if err := m.fail(op); err != nil {
			return err
		}
	}
	m.steps++
	return nil
}

func (m *memFS) off() bool { return m.crashAt > 0 && m.steps >= m.crashAt }

// after returns the error of an operation that has happened.
func (m *memFS) after() error {
	if m.off() {
		return errCrashed
	}
	return nil
}

func (m *memFS) Open(op Op, path string, flag int) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		if err := m.fail(op); err != nil {
			return nil, err
		}
	}
	n, ok := m.names[path]
	switch {
	case ok && flag&os.O_EXCL != 0:
		return nil, fs.ErrExist
	case !ok && flag&os.O_CREATE == 0:
		return nil, fs.ErrNotExist
	case !ok:
		if err := m.step(op); err != nil {
			return nil, err
		}
		n = &inode{sector: m.sector, dirty: map[int]struct{}{}}
		m.rename(func(names map[string]*inode) { names[path] = n })
		if err := m.after(); err != nil {
			return nil, err
		}
	case flag&os.O_TRUNC != 0:
		n.resize(0)
	}
	return &memFile{fs: m, inode: n}, nil
}

// rename changes names now, and after a crash perhaps.
func (m *memFS) rename(change func(map[string]*inode)) {
	change(m.names)
	m.pending = append(m.pending, change)
}

func (m *memFS) List(op Op, dir string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.off() {
		return nil, errCrashed
	}
	var names []string
	for path := range m.names {
		if filepath.Dir(path) == dir {
			names = append(names, filepath.Base(path))
		}
	}
	slices.Sort(names)
	return names, nil
}

func (m *memFS) MkdirAll(Op, string) error { return nil }

func (m *memFS) Rename(op Op, from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.step(op); err != nil {
		return err
	}
	if m.names[from] == nil {
		return fs.ErrNotExist
	}
	m.rename(func(names map[string]*inode) {
		if n := names[from]; n != nil {
			names[to] = n
			delete(names, from)
		}
	})
	return m.after()
}

func (m *memFS) Remove(op Op, path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.step(op); err != nil {
		return err
	}
	n := m.names[path]
	if n == nil {
		return fs.ErrNotExist
	}
	m.space += int64(len(n.data))
	m.rename(func(names map[string]*inode) { delete(names, path) })
	return m.after()
}

func (m *memFS) SyncDir(op Op, _ string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.step(op); err != nil {
		return err
	}
	if m.off() {
		return errCrashed // not durable
	}
	m.durable = maps.Clone(m.names)
	m.pending = nil
	return nil
}

// reboot returns what a power cut leaves. keep decides for each thing that was not synced.
func (m *memFS) reboot(keep func() bool) *memFS {
	m.mu.Lock()
	defer m.mu.Unlock()
	names := maps.Clone(m.durable)
	for _, change := range m.pending {
		if !keep() {
			break
		}
		change(names)
	}
	next := newMemFS()
	next.sector = m.sector
	for _, path := range slices.Sorted(maps.Keys(names)) {
		data := names[path].survive(keep)
		n := &inode{sector: m.sector, data: data, synced: slices.Clone(data), dirty: map[int]struct{}{}}
		next.names[path], next.durable[path] = n, n
	}
	return next
}

// image is a copy of the file system as a process sees it.
func (m *memFS) image() *memFS { return m.reboot(func() bool { return true }) }

func (n *inode) survive(keep func() bool) []byte {
	data := slices.Clone(n.synced)
	if len(n.data) != len(n.synced) && keep() {
		data = resized(data, len(n.data))
	}
	for _, sector := range slices.Sorted(maps.Keys(n.dirty)) {
		from := sector * n.sector
		if !keep() || from >= min(len(data), len(n.data)) {
			continue
		}
		copy(data[from:], n.data[from:min(from+n.sector, len(n.data))])
	}
	return data
}

func (n *inode) resize(size int) {
	n.touch(min(size, len(n.data)), max(size, len(n.data)))
	n.data = resized(n.data, size)
}

// touch marks a range as not synced.
func (n *inode) touch(from, to int) {
	for sector := from / n.sector; sector*n.sector < to; sector++ {
		n.dirty[sector] = struct{}{}
	}
}

func resized(b []byte, size int) []byte {
	if size <= len(b) {
		return slices.Clone(b[:size])
	}
	return append(slices.Clone(b), make([]byte, size-len(b))...)
}

type memFile struct {
	fs     *memFS
	inode  *inode
	closed bool
}

func (f *memFile) ReadAt(op Op, p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return 0, fs.ErrClosed
	}
	if f.fs.off() {
		return 0, errCrashed
	}
	if f.fs.fail != nil {
		if err := f.fs.fail(op); err != nil {
			return 0, err
		}
	}
	if off >= int64(len(f.inode.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.inode.data[off:])
	f.fs.readBytes += n
	f.fs.reads++
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(op Op, p []byte, off int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.step(op); err != nil {
		return err
	}
	if err := f.fs.grow(f.inode, int(off)+len(p)); err != nil {
		return err
	}
	copy(f.inode.data[off:], p)
	f.inode.touch(int(off), int(off)+len(p))
	return f.fs.after()
}

func (m *memFS) grow(n *inode, size int) error {
	more := int64(size - len(n.data))
	if more <= 0 {
		return nil
	}
	if m.limited && more > m.space {
		return syscall.ENOSPC
	}
	m.space -= more
	n.resize(size)
	return nil
}

func (f *memFile) Sync(op Op) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.step(op); err != nil {
		return err
	}
	if f.fs.off() {
		return errCrashed // not durable
	}
	n := f.inode
	if len(n.synced) != len(n.data) {
		n.synced = resized(n.synced, len(n.data))
	}
	for sector := range n.dirty {
		if from := sector * n.sector; from < len(n.data) {
			copy(n.synced[from:min(from+n.sector, len(n.data))], n.data[from:])
		}
	}
	clear(n.dirty)
	return nil
}

func (f *memFile) Truncate(op Op, size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.step(op); err != nil {
		return err
	}
	f.fs.space += int64(len(f.inode.data)) - size
	f.inode.resize(int(size))
	return f.fs.after()
}

func (f *memFile) Allocate(op Op, size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.step(op); err != nil {
		return err
	}
	if err := f.fs.grow(f.inode, int(size)); err != nil {
		return err
	}
	return f.fs.after()
}

func (f *memFile) Size() (int64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return int64(len(f.inode.data)), nil
}

func (f *memFile) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.closed = true
	return nil
}

// coin returns a keep function for reboot that tosses a coin.
func coin(rng *rand.Rand) func() bool { return func() bool { return rng.IntN(2) == 0 } }
