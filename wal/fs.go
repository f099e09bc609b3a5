package wal

import (
	"os"
	"path/filepath"
)

// Op labels a disk operation with its place in the life of the log, so that a test
// can make any single step fail.
type Op string

// The steps that touch the disk, in the order of a log's life.
const (
	OpOpen          Op = "open"
	OpRead          Op = "read"
	OpFirstCreate   Op = "first.create"
	OpFirstWrite    Op = "first.write"
	OpFirstSync     Op = "first.sync"
	OpFirstRename   Op = "first.rename"
	OpFirstSyncDir  Op = "first.syncdir"
	OpSpareCreate   Op = "spare.create"
	OpSpareAllocate Op = "spare.allocate"
	OpSpareSync     Op = "spare.sync"
	OpSpareSyncDir  Op = "spare.syncdir"
	OpSpareRemove   Op = "spare.remove"
	OpRollAllocate  Op = "roll.allocate"
	OpRollHeader    Op = "roll.header"
	OpRollSync      Op = "roll.sync"
	OpRollRename    Op = "roll.rename"
	OpRollSyncDir   Op = "roll.syncdir"
	OpAppendWrite   Op = "append.write"
	OpAppendSync    Op = "append.sync"
	OpEndCreate     Op = "end.create"
	OpEndWrite      Op = "end.write"
	OpSealWrite     Op = "seal.write"
	OpSealTruncate  Op = "seal.truncate"
	OpEraseWrite    Op = "erase.write"
	OpEraseSync     Op = "erase.sync"
	OpRetireRename  Op = "retire.rename"
	OpRetireSyncDir Op = "retire.syncdir"
	OpRetireResize  Op = "retire.resize"
	OpRetireRemove  Op = "retire.remove"
)

// FS is everything the log asks of a file system. Paths are full paths.
type FS interface {
	// Open opens a file with os.O_* flags.
	Open(op Op, path string, flag int) (File, error)
	// List returns the names in dir, in any order.
	List(op Op, dir string) ([]string, error)
	MkdirAll(op Op, dir string) error
	// Rename replaces newPath, atomically; it is durable after SyncDir.
	Rename(op Op, oldPath, newPath string) error
	Remove(op Op, path string) error
	// SyncDir makes the names in dir durable.
	SyncDir(op Op, dir string) error
}

// File is an open file. Reads may run beside anything else, Close included.
type File interface {
	ReadAt(op Op, p []byte, off int64) (int, error)
	WriteAt(op Op, p []byte, off int64) error
	// Sync returns after the data, and the size, are durable.
	Sync(op Op) error
	Truncate(op Op, size int64) error
	// Allocate makes the file at least size bytes long and backs all of them
	// with disk space, so that writing below size cannot run out of it.
	Allocate(op Op, size int64) error
	Size() (int64, error)
	Close() error
}

// osFS is the real file system.
type osFS struct{}

func (osFS) Open(_ Op, path string, flag int) (File, error) {
	f, err := os.OpenFile(path, flag, 0o640)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osFS) List(_ Op, dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	names := make([]string, 0, len(entries))
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names, err
}

func (osFS) MkdirAll(_ Op, dir string) error    { return os.MkdirAll(filepath.Clean(dir), 0o750) }
func (osFS) Rename(_ Op, from, to string) error { return os.Rename(from, to) }
func (osFS) Remove(_ Op, path string) error     { return os.Remove(path) }
func (osFS) SyncDir(_ Op, dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

type osFile struct{ f *os.File }

func (o osFile) ReadAt(_ Op, p []byte, off int64) (int, error) { return o.f.ReadAt(p, off) }

func (o osFile) WriteAt(_ Op, p []byte, off int64) error {
	_, err := o.f.WriteAt(p, off)
	return err
}

func (o osFile) Sync(Op) error                   { return datasync(o.f) }
func (o osFile) Truncate(_ Op, size int64) error { return o.f.Truncate(size) }
func (o osFile) Allocate(_ Op, size int64) error { return allocate(o.f, size) }
func (o osFile) Close() error                    { return o.f.Close() }
func (o osFile) Size() (int64, error) {
	info, err := o.f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// fill backs a file with space by writing zeros behind its end, for file systems
// that cannot preallocate.
func fill(f *os.File, size int64) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	zeros := make([]byte, 1<<20)
	for off := info.Size(); off < size; off += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), size-off)], off); err != nil {
			return err
		}
	}
	return nil
}
