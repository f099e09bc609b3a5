package wal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// sparesMax bounds the spares. Compaction frees what a snapshot interval took, two or
// three segments at once; the next ones are cheaper when they overwrite these. While the disk is short of space there
// is one: what compaction frees is then wanted elsewhere.
const (
	sparesMax   = 3
	sparesShort = 1
)

// spare is a file with all its blocks, ready to become a segment.
type spare struct {
	file File
	path string
	size int64
}

// spares is the pool of spares. Files are made and reclaimed behind the writer's back,
// one job after another; the writer itself makes one only if it finds none.
type spares struct {
	fs   FS
	dir  string
	size int64
	// spawn runs the queue; tests run it at once to have a fixed order of steps.
	spawn func(func())

	mu      sync.Mutex
	idle    sync.Cond // signalled when the queue is done
	pool    []spare
	most    int    // sparesMax or sparesShort
	lacking bool   // the last attempt to have one more found no space, and none has come since
	number  uint64 // of the last spare file
	queue   []func()
	running bool
}

func newSpares(fsys FS, dir string, size int64, spawn func(func())) *spares {
	if spawn == nil {
		spawn = func(run func()) { go run() }
	}
	s := &spares{fs: fsys, dir: dir, size: size, spawn: spawn, most: sparesMax}
	s.idle.L = &s.mu
	return s
}

// do runs a job after those before it.
func (s *spares) do(job func()) {
	s.mu.Lock()
	s.queue = append(s.queue, job)
	start := !s.running
	s.running = true
	s.mu.Unlock()
	if start {
		s.spawn(s.drain)
	}
}

func (s *spares) drain() {
	for {
		s.mu.Lock()
		if len(s.queue) == 0 {
			s.running = false
			s.idle.Broadcast()
			s.mu.Unlock()
			return
		}
		job := s.queue[0]
		s.queue = s.queue[1:]
		s.mu.Unlock()
		job()
	}
}

// wait returns when every job is done.
func (s *spares) wait() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.running {
		s.idle.Wait()
	}
}

// take returns a spare of at least size bytes; it makes one if there is none.
func (s *spares) take(size int64) (spare, error) {
	s.mu.Lock()
	var taken spare
	if i := s.best(size); i >= 0 {
		taken = s.pool[i]
		s.pool = slices.Delete(s.pool, i, i+1)
	}
	s.mu.Unlock()
	if taken.file == nil {
		return s.create(max(size, s.size))
	}
	if taken.size < size {
		switch err := taken.file.Allocate(OpRollAllocate, size); {
		case noSpace(err):
			s.add(taken) // it is good for less
			return spare{}, s.lacks(fmt.Errorf("wal: allocate segment: %w", err))
		case err != nil:
			return spare{}, fmt.Errorf("wal: allocate segment: %w", errors.Join(err, taken.file.Close()))
		}
		taken.size = size
	}
	return taken, nil
}

// lacks takes note of an error if it says that there is no space, and returns it.
func (s *spares) lacks(err error) error {
	if noSpace(err) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.lacking = true
	}
	return err
}

// best is the place in the pool of the newest spare that is large enough, else of the newest; -1 in an empty pool.
func (s *spares) best(size int64) int {
	for i := len(s.pool) - 1; i >= 0; i-- {
		if s.pool[i].size >= size {
			return i
		}
	}
	return len(s.pool) - 1
}

// create makes a preallocated file.
func (s *spares) create(size int64) (spare, error) {
	path := s.nextPath()
	f, err := s.fs.Open(OpSpareCreate, path, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return spare{}, s.lacks(fmt.Errorf("wal: create spare: %w", err))
	}
	err = f.Allocate(OpSpareAllocate, size)
	if err == nil {
		err = f.Sync(OpSpareSync)
	}
	if err == nil {
		err = s.fs.SyncDir(OpSpareSyncDir, s.dir)
	}
	if err != nil {
		return spare{}, s.lacks(fmt.Errorf("wal: create spare: %w", errors.Join(err, s.fs.Remove(OpSpareRemove, path), f.Close())))
	}
	return spare{f, path, size}, nil
}

func (s *spares) nextPath() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.number++
	return spareFilePath(s.dir, s.number)
}

// refill makes a spare if there is none.
func (s *spares) refill() error {
	s.mu.Lock()
	there := len(s.pool) > 0
	s.lacking = s.lacking && !there
	s.mu.Unlock()
	if there {
		return nil
	}
	return s.grow(s.size)
}

// grow makes one more spare, of at least size bytes.
func (s *spares) grow(size int64) error {
	made, err := s.create(max(size, s.size))
	if err == nil {
		s.add(made)
	}
	return err
}

// retire turns a dead segment's file into a spare, or removes it if there are enough. It
// says which. The file must not be read for its old contents any more, but may be: nothing
// of it validates once it is overwritten.
func (s *spares) retire(f File, path string) (recycled bool, err error) {
	if s.enough() {
		return false, s.discard(f, path)
	}
	kept := spare{file: f, path: s.nextPath(), size: s.size}
	if err := s.fs.Rename(OpRetireRename, path, kept.path); noSpace(err) {
		return false, s.discard(f, path) // the directory has no room for the name
	} else if err != nil {
		return false, fmt.Errorf("wal: recycle %s: %w", filepath.Base(path), err)
	}
	// The old name must not come back over the new contents.
	if err := s.fs.SyncDir(OpRetireSyncDir, s.dir); err != nil {
		return false, fmt.Errorf("wal: recycle %s: %w", filepath.Base(path), err)
	}
	if err := s.resize(f); err != nil {
		if noSpace(err) {
			return false, s.discard(f, kept.path)
		}
		return false, fmt.Errorf("wal: recycle %s: %w", filepath.Base(path), err)
	}
	s.add(kept)
	return true, nil
}

// adopt takes over a spare that was there when the log was opened.
func (s *spares) adopt(number uint64) error {
	s.number = max(s.number, number)
	path := spareFilePath(s.dir, number)
	f, err := s.fs.Open(OpOpen, path, os.O_RDWR)
	if err != nil {
		return fmt.Errorf("wal: open spare: %w", err)
	}
	if s.enough() {
		return s.discard(f, path)
	}
	if err := s.resize(f); err != nil {
		if noSpace(err) {
			return s.discard(f, path)
		}
		return fmt.Errorf("wal: open spare: %w", errors.Join(err, f.Close()))
	}
	s.add(spare{f, path, s.size})
	return nil
}

// resize brings a file to the size of a segment, backed by blocks.
func (s *spares) resize(f File) error {
	size, err := f.Size()
	if err != nil {
		return err
	}
	if size > s.size {
		return f.Truncate(OpRetireResize, s.size)
	}
	return f.Allocate(OpRetireResize, s.size)
}

func (s *spares) discard(f File, path string) error {
	if err := errors.Join(s.fs.Remove(OpRetireRemove, path), f.Close()); err != nil {
		return fmt.Errorf("wal: remove %s: %w", filepath.Base(path), err)
	}
	return nil
}

func (s *spares) add(made spare) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pool = append(s.pool, made)
	s.lacking = false
}

// bound sets how many spares are kept, and removes the others.
func (s *spares) bound(most int) error {
	s.mu.Lock()
	s.most = most
	surplus := s.pool[:max(0, len(s.pool)-most)]
	s.pool = slices.Clone(s.pool[len(surplus):])
	s.mu.Unlock()
	var errs []error
	for _, old := range surplus {
		errs = append(errs, s.discard(old.file, old.path))
	}
	return errors.Join(errs...)
}

func (s *spares) enough() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.pool) >= s.most
}

// diskBytes is what the spares take.
func (s *spares) diskBytes() (n int, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, spare := range s.pool {
		bytes += spare.size
	}
	return len(s.pool), bytes
}

// room is what frames can take in all spares; fits says that one of them takes a group commit of n bytes.
func (s *spares) room(n int64) (all int64, fits bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, spare := range s.pool {
		all += frameRoom(spare.size)
	}
	need := segmentBytesFor(n)
	i := s.best(need)
	return all, i >= 0 && s.pool[i].size >= need
}

func (s *spares) lacked() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lacking
}

func (s *spares) close() error {
	s.wait()
	var errs []error
	for _, spare := range s.pool {
		errs = append(errs, spare.file.Close())
	}
	s.pool = nil
	return errors.Join(errs...)
}
