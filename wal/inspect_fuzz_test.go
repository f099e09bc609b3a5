package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"
)

// FuzzInspect looks into a directory in which everything may be wrong but its checksums: a sealed segment with its footer, the
// tail, the bounds and the mark of the end. Nothing panics, damage is told as such, and what Verify has nothing
// against is read whole.
func FuzzInspect(f *testing.F) {
	s := newScript(1, 100)
	var sealed, tail []byte
	e := extent{segment: &segment{id: 1, base: 1, seed: frameSeed(1)}, end: frameStart}
	for index := uint64(1); index <= 4; index++ {
		b := appendFrame(nil, frameSeed(1), uint32(index), true, s.entry(index))
		e.add(index, len(b))
		e.commits++
		sealed = append(sealed, b...)
	}
	for index := uint64(5); index <= 7; index++ {
		tail = appendFrame(tail, frameSeed(2), uint32(index-4), true, s.entry(index))
	}
	footer := appendFooter(nil, e)
	spots := appendFooter(nil, extent{segment: e.segment, last: 4, end: e.end, commits: 4, spots: []spot{{2, frameStart + 96}}})
	f.Add(sealed, footer, tail, uint64(0), uint64(7), uint32(3))
	f.Add(sealed, []byte{}, tail, uint64(3), uint64(7), uint32(9))
	f.Add(sealed, spots, tail[:len(tail)-9], uint64(5), uint64(0), uint32(0))
	f.Fuzz(func(t *testing.T, sealed, footer, tail []byte, first, last uint64, commits uint32) {
		dir := t.TempDir()
		write := func(name string, data []byte) {
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write(segmentName{1, 1}.String(), append(segmentImage(1, 1, sealed), refooted(footer, frameStart+len(sealed)&^7)...))
		write(segmentName{2, 5}.String(), append(segmentImage(2, 5, tail), make([]byte, 256)...))
		write(firstFile, append(bounds{sequence: 1, first: first, lowest: 1}.encode(), make([]byte, slotEvery)...))
		write(endFile, endMark{segment: 2, commits: commits, last: last}.encode())
		checkInspect(t, dir)
	})
}

func checkInspect(t *testing.T, dir string) {
	t.Helper()
	damaged := func(err error) bool {
		bad := (*CorruptError)(nil)
		if err != nil && !errors.As(err, &bad) {
			t.Fatal(err)
		}
		return err != nil
	}
	report, err := Verify(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range report.Problems {
		damaged(p.Err)
	}
	layout, refusal := Inspect(dir)
	broken := damaged(refusal)
	next, entries := layout.FirstIndex, uint64(0)
	broken = damaged(Dump(dir, 0, 0, func(e Entry) error {
		if !broken && e.Index != next {
			t.Fatalf("entry %d, want %d", e.Index, next)
		}
		next++
		entries++
		return nil
	})) || broken
	if len(report.Problems) > 0 {
		return
	}
	if broken || layout.LastIndex != report.LastIndex || layout.LastIndex > 0 && (layout.FirstIndex != report.FirstIndex || entries != layout.LastIndex-layout.FirstIndex+1) {
		t.Fatalf("verified %+v, but broken %v (%v), %d entries of %+v", report, broken, refusal, entries, layout.Info)
	}
}

// segmentImage is a segment up to its last frame, with the sums of all whole frames right.
func segmentImage(id, base uint64, frames []byte) []byte {
	frames = bytes.Clone(frames[:len(frames)&^7])
	for off := 0; off+frameHeaderBytes <= len(frames); {
		b := frames[off:]
		end := frameHeaderBytes + int64(binary.LittleEndian.Uint32(b[4:])) + int64(binary.LittleEndian.Uint32(b[32:]))
		if align(end) > int64(len(b)) {
			break
		}
		binary.LittleEndian.PutUint32(b, crc32.Update(frameSeed(id), castagnoli, b[4:end]))
		off += int(align(end))
	}
	image := make([]byte, frameStart, frameStart+len(frames))
	copy(image, appendSegmentHeader(nil, id, base))
	return append(image, frames...)
}

// refooted is a footer of the first segment that says where it is, with the right sum.
func refooted(b []byte, at int) []byte {
	b = bytes.Clone(b)
	if len(b) < headerBytes {
		return b
	}
	t := b[len(b)-headerBytes:]
	copy(t, footerMagic)
	binary.LittleEndian.PutUint64(t[16:], uint64(at))
	binary.LittleEndian.PutUint32(t[24:], uint32((len(b)-headerBytes)/spotBytes))
	binary.LittleEndian.PutUint32(t[60:], crc32.Update(frameSeed(1), castagnoli, b[:len(b)-4]))
	return b
}
