package wal

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/hashicorp/raft"
)

// storedLog is a log of several segments that was closed in good order.
func storedLog(t *testing.T) (*memFS, model) {
	t.Helper()
	fsys := newMemFS()
	w := mustOpen(t, inPlace(fsys))
	s := newScript(7, 900)
	var m model
	for i := range 22 {
		st := s.storeStep(m.last())
		if i == 0 {
			st = step{store: []*raft.Log{s.entry(5), s.entry(6)}}
		}
		if err := st.run(w); err != nil {
			t.Fatal(err)
		}
		m = st.apply(m)
	}
	st := step{low: 1, high: 7}
	if err := st.run(w); err != nil {
		t.Fatal(err)
	}
	m = st.apply(m)
	mustClose(t, w)
	return fsys, m
}

// readAll opens a log and says what is wrong with it: damage found by Open, or by a read.
func readAll(o Options, m model) error {
	w, err := Open(o)
	if err != nil {
		return err
	}
	defer w.Close()
	for _, want := range m.logs {
		var got raft.Log
		if err := w.GetLog(want.Index, &got); err != nil {
			return err
		}
		if !equalLogs(want, &got) {
			return fmt.Errorf("entry %d differs, and nobody noticed", want.Index)
		}
	}
	return nil
}

// W5: whichever byte of whichever file is damaged, no wrong entry is ever returned. Either all entries are there, those of
// the last group commit too, or a *CorruptError names the place.
func TestEveryFlippedByteIsNoticed(t *testing.T) {
	fsys, m := storedLog(t)
	stride := 5
	if testing.Short() {
		stride = 41
	}
	noticed, harmless := 0, 0
	for path, n := range fsys.names {
		if filepath.Ext(path) == spareSuffix {
			continue
		}
		for off := 0; off < len(n.data); off += 1 + int(uint(off*2654435761)%uint(2*stride)) {
			image := fsys.image()
			image.names[path].data[off] ^= 0x10
			err := readAll(inPlace(image), m)
			var bad *CorruptError
			switch {
			case err == nil:
				harmless++
			case errors.As(err, &bad):
				noticed++
				if bad.Want == bad.Got {
					t.Fatalf("%s, byte %d: %v names no difference", filepath.Base(path), off, bad)
				}
			default:
				t.Fatalf("%s, byte %d: %v", filepath.Base(path), off, err)
			}
		}
	}
	if noticed < 100 || harmless == 0 {
		t.Fatalf("%d noticed, %d harmless: the test looks at nothing", noticed, harmless)
	}
}

// Wherever a file is cut, nothing is missing or a *CorruptError says what.
func TestEveryCutIsNoticed(t *testing.T) {
	fsys, m := storedLog(t)
	noticed, harmless := 0, 0
	for path, n := range fsys.names {
		if filepath.Ext(path) == spareSuffix {
			continue
		}
		for off := 0; off < len(n.data); off += 1 + off%37 + len(n.data)/150 {
			image := fsys.image()
			image.names[path].data = image.names[path].data[:off]
			err := readAll(inPlace(image), m)
			var bad *CorruptError
			switch {
			case err == nil:
				harmless++
			case errors.As(err, &bad) && bad.Want != bad.Got:
				noticed++
			default:
				t.Fatalf("%s, cut at %d: %v", filepath.Base(path), off, err)
			}
		}
	}
	if noticed < 100 || harmless == 0 {
		t.Fatalf("%d noticed, %d harmless: the test looks at nothing", noticed, harmless)
	}
}

// The same for a process that was killed: a segment that is shorter than it was made, or gone, is damage.
func TestCutTailOfAKilledNode(t *testing.T) {
	fsys := newMemFS()
	w := mustOpen(t, inPlace(fsys))
	for index := uint64(1); index <= 40; index++ {
		if err := w.StoreLog(&raft.Log{Index: index, Data: make([]byte, 1000)}); err != nil {
			t.Fatal(err)
		}
	}
	tail := w.view.Load().tail
	for _, at := range []int64{frameStart, tail.end - 1, tail.end - 900, tail.size.Load() - 1} {
		image := fsys.image()
		image.names[tail.path].data = image.names[tail.path].data[:at]
		if _, err := Open(inPlace(image)); !isCorrupt(err, tail.id) {
			t.Errorf("cut at %d: %v", at, err)
		}
	}
	image := fsys.image()
	delete(image.names, tail.path)
	if _, err := Open(inPlace(image)); !isCorrupt(err, 0) {
		t.Errorf("without the last segment: %v", err)
	}
	delete(image.names, filepath.Join("/wal", endFile))
	if _, err := Open(inPlace(image)); !isCorrupt(err, 0) {
		t.Errorf("without the last segment and the mark: %v", err)
	}
	mustClose(t, w)
}

// isCorrupt reports whether it is damage of a segment; 0: any.
func isCorrupt(err error, segment uint64) bool {
	var bad *CorruptError
	return errors.As(err, &bad) && (segment == 0 || bad.Segment == segment)
}

// tailOf returns the file of the tail segment and the offsets of its frames.
func tailOf(t *testing.T, fsys *memFS) (*inode, []int64) {
	t.Helper()
	w := mustOpen(t, inPlace(fsys.image()))
	defer mustClose(t, w)
	e := w.view.Load().tail
	var offsets []int64
	sc := newScanner(e.segment)
	for sc.open.end < e.end {
		offsets = append(offsets, sc.open.end)
		if err := sc.next(); err != nil {
			t.Fatal(err)
		}
	}
	return fsys.names[e.path], offsets
}

// A damaged frame with a later group commit behind it is corruption, and the error says where.
func TestCorruptionInTheMiddleIsNamed(t *testing.T) {
	fsys, _ := storedLog(t)
	file, offsets := tailOf(t, fsys)
	file.data[offsets[0]+frameHeaderBytes+3] ^= 1
	_, err := Open(inPlace(fsys))
	var bad *CorruptError
	if !errors.As(err, &bad) {
		t.Fatalf("want a CorruptError, got %v", err)
	}
	w := segmentNames(fsys)
	tail := w[len(w)-1]
	if bad.Segment != tail.id || bad.Offset != offsets[0] || bad.Index != tail.base || bad.Field != "checksum" || bad.Want == bad.Got {
		t.Fatalf("want segment %d, offset %d, index %d, checksum; got %+v", tail.id, offsets[0], tail.base, bad)
	}
}

func segmentNames(fsys *memFS) []segmentName {
	var names []segmentName
	for path := range fsys.names {
		if n, ok := parseSegmentName(filepath.Base(path)); ok {
			names = append(names, n)
		}
	}
	slices.SortFunc(names, func(a, b segmentName) int { return int(a.id) - int(b.id) })
	return names
}

// W3: a group commit of which any part is missing disappears whole, also if valid frames of
// it remain, and what is stored next is not confused by them.
func TestTornGroupCommitDisappearsWhole(t *testing.T) {
	for damaged := range 4 {
		for _, zero := range []bool{false, true} {
			fsys := newMemFS()
			w := mustOpen(t, inPlace(fsys))
			s := newScript(3, 200)
			kept := step{store: []*raft.Log{s.entry(1), s.entry(2)}}
			torn := step{store: []*raft.Log{s.entry(3), s.entry(4), s.entry(5), s.entry(6)}}
			for _, st := range []step{kept, torn} {
				if err := st.run(w); err != nil {
					t.Fatal(err)
				}
			}
			fsys = fsys.image() // the process is killed
			mustClose(t, w)
			file, offsets := tailOf(t, fsys)
			at := offsets[2+damaged]
			if zero {
				clear(file.data[at : at+frameHeaderBytes])
			} else {
				file.data[at+9] ^= 0x80
			}
			again := step{store: []*raft.Log{s.entry(3)}}
			w = mustOpen(t, inPlace(fsys))
			if err := diff(w, kept.apply(model{})); err != nil {
				t.Fatalf("frame %d damaged: %v", damaged, err)
			}
			if err := again.run(w); err != nil {
				t.Fatal(err)
			}
			mustClose(t, w)
			w = mustOpen(t, inPlace(fsys))
			if err := diff(w, again.apply(kept.apply(model{}))); err != nil {
				t.Fatalf("frame %d damaged, then stored anew: %v", damaged, err)
			}
			mustClose(t, w)
		}
	}
}

// A log whose lowest segment, or the file "first", is missing is refused, not opened shorter.
func TestMissingFilesAreRefused(t *testing.T) {
	base, _ := storedLog(t)
	names := segmentNames(base)
	for _, name := range []string{names[0].String(), names[1].String(), names[len(names)-1].String(), firstFile} {
		fsys := base.image()
		delete(fsys.names, filepath.Join("/wal", name))
		_, err := Open(inPlace(fsys))
		var bad *CorruptError
		if !errors.As(err, &bad) {
			t.Errorf("without %s: want a CorruptError, got %v", name, err)
		}
	}
	o := inPlace(newMemFS())
	o.Held = true
	if _, err := Open(o); !isCorrupt(err, 0) {
		t.Errorf("nothing at all where entries were held: %v", err)
	}
}

// Damage to an entry in use ends the node: the read fails and Fatal is called.
func TestDamagedEntryIsFatalWhenRead(t *testing.T) {
	fsys, m := storedLog(t)
	first := segmentNames(fsys)[0]
	o := inPlace(fsys)
	var fatal []error
	o.Fatal = func(err error) { fatal = append(fatal, err) }
	w := mustOpen(t, o)
	defer mustClose(t, w)
	data := fsys.names[filepath.Join("/wal", first.String())].data
	for off := frameStart; off < len(data)-1000; off++ {
		data[off] ^= 0xff
	}
	var bad *CorruptError
	if err := w.GetLog(m.first(), new(raft.Log)); !errors.As(err, &bad) || bad.Segment != first.id {
		t.Fatalf("want a CorruptError of segment %d, got %v", first.id, err)
	}
	if _, err := w.Reader(m.first()).Next(m.last()); !errors.As(err, &bad) {
		t.Fatalf("reader: want a CorruptError, got %v", err)
	}
	if len(fatal) != 1 || !errors.As(fatal[0], &bad) {
		t.Fatalf("want one fatal CorruptError, got %v", fatal)
	}
	if err := w.StoreLog(&raft.Log{Index: m.last() + 1}); !errors.As(err, &bad) {
		t.Fatalf("W7: stored on a damaged log: %v", err)
	}
}
