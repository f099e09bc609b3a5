package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	firstFile  = "first"
	firstTemp  = "first.tmp"
	firstMagic = "HLNDRFST"
	slotEvery  = 4096
	slots      = 2
)

// bounds is what the file "first" says: which entries and segments count.
type bounds struct {
	sequence uint64
	first    uint64 // 0: the base of the lowest segment
	lowest   uint64 // segment id
}

func (b bounds) encode() []byte {
	h := make([]byte, headerBytes)
	copy(h, firstMagic)
	binary.LittleEndian.PutUint32(h[8:], formatVersion)
	binary.LittleEndian.PutUint64(h[16:], b.sequence)
	binary.LittleEndian.PutUint64(h[24:], b.first)
	binary.LittleEndian.PutUint64(h[32:], b.lowest)
	binary.LittleEndian.PutUint32(h[60:], crc32.Checksum(h[:60], castagnoli))
	return h
}

// decodeBounds decodes a slot; ok is false for one that was never, or only half, written.
func decodeBounds(h []byte) (b bounds, ok bool, err error) {
	if crc32.Checksum(h[:60], castagnoli) != binary.LittleEndian.Uint32(h[60:]) || string(h[:8]) != firstMagic {
		return bounds{}, false, nil
	}
	if v := binary.LittleEndian.Uint32(h[8:]); v != formatVersion {
		return bounds{}, false, fmt.Errorf("wal: file %q has format version %d, this build reads version %d", firstFile, v, formatVersion)
	}
	return bounds{
		sequence: binary.LittleEndian.Uint64(h[16:]),
		first:    binary.LittleEndian.Uint64(h[24:]),
		lowest:   binary.LittleEndian.Uint64(h[32:]),
	}, true, nil
}

// readBounds returns what counts now. Without the file the error is fs.ErrNotExist.
func readBounds(f File) (bounds, error) {
	var newest bounds
	found := false
	for slot := range int64(slots) {
		h := make([]byte, headerBytes)
		if _, err := f.ReadAt(OpRead, h, slot*slotEvery); err != nil && !errors.Is(err, io.EOF) {
			return bounds{}, fmt.Errorf("wal: read %q: %w", firstFile, err)
		}
		b, ok, err := decodeBounds(h)
		if err != nil {
			return bounds{}, err
		}
		if ok && (!found || b.sequence > newest.sequence) {
			newest, found = b, true
		}
	}
	if !found {
		return bounds{}, &CorruptError{Field: "valid slots in file \"first\"", Want: 1, Got: 0}
	}
	return newest, nil
}

// createBounds makes the file for an empty log.
func createBounds(fsys FS, dir string) error {
	temp := filepath.Join(dir, firstTemp)
	f, err := fsys.Open(OpFirstCreate, temp, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return fmt.Errorf("wal: create %q: %w", firstFile, err)
	}
	image := make([]byte, slots*slotEvery)
	for slot := range uint64(slots) {
		copy(image[slot*slotEvery:], bounds{sequence: slot, lowest: 1}.encode())
	}
	err = f.WriteAt(OpFirstWrite, image, 0)
	if err == nil {
		err = f.Sync(OpFirstSync)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("wal: create %q: %w", firstFile, err)
	}
	if err := fsys.Rename(OpFirstRename, temp, filepath.Join(dir, firstFile)); err != nil {
		return fmt.Errorf("wal: create %q: %w", firstFile, err)
	}
	if err := fsys.SyncDir(OpFirstSyncDir, dir); err != nil {
		return fmt.Errorf("wal: create %q: %w", firstFile, err)
	}
	return nil
}

// openBounds opens the file and reads it. An error is fs.ErrNotExist if it is not there.
func openBounds(fsys FS, dir string, flag int) (File, bounds, error) {
	f, err := fsys.Open(OpOpen, filepath.Join(dir, firstFile), flag)
	if err != nil {
		return nil, bounds{}, fmt.Errorf("wal: open %q: %w", firstFile, err)
	}
	b, err := readBounds(f)
	if err != nil {
		return nil, bounds{}, errors.Join(err, f.Close())
	}
	return f, b, nil
}

// writeBounds makes new bounds durable, in the slot that holds the older ones.
func writeBounds(f File, b bounds) error {
	if err := f.WriteAt(OpFirstWrite, b.encode(), int64(b.sequence%slots)*slotEvery); err != nil {
		return fmt.Errorf("wal: write %q: %w", firstFile, err)
	}
	if err := f.Sync(OpFirstSync); err != nil {
		return fmt.Errorf("wal: sync %q: %w", firstFile, err)
	}
	return nil
}

func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
