package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

var updateGolden = flag.Bool("update", false, "write the golden files of the current format version")

const goldenDir = "testdata/v1"

func withVersion(header []byte, version uint32) []byte {
	h := bytes.Clone(header)
	binary.LittleEndian.PutUint32(h[8:], version)
	binary.LittleEndian.PutUint32(h[60:], crc32.Checksum(h[:60], castagnoli))
	return h
}

// goldenSteps use every field of the format: two segments, a prefix deleted, all types,
// extensions, times.
func goldenSteps() []step {
	at := time.Date(2026, 1, 2, 15, 4, 5, 123456789, time.UTC)
	long := bytes.Repeat([]byte("highlander "), 900)
	return []step{
		{store: []*raft.Log{{Index: 7, Term: 2, Type: raft.LogNoop}}},
		{store: []*raft.Log{
			{Index: 8, Term: 2, Type: raft.LogConfiguration, Data: []byte("members"), AppendedAt: at},
			{Index: 9, Term: 2, Type: raft.LogCommand, Data: []byte("batch"), Extensions: []byte("ext"), AppendedAt: at.Add(time.Hour)},
			{Index: 10, Term: 3, Type: raft.LogBarrier, Extensions: []byte("only extensions")},
		}},
		{store: []*raft.Log{{Index: 11, Term: 3, Data: long, AppendedAt: at}}},
		{store: []*raft.Log{{Index: 12, Term: 3, Data: long[:5000]}}},
		{low: 1, high: 8},
	}
}

// The format of version 1 is what testdata/v1 says: it is written like that, and read for ever.
func TestGoldenV1(t *testing.T) {
	dir := t.TempDir()
	o := Options{Dir: dir, SegmentBytes: segmentBytesMin}
	w := mustOpen(t, o)
	var m model
	for _, st := range goldenSteps() {
		if err := st.run(w); err != nil {
			t.Fatal(err)
		}
		m = st.apply(m)
	}
	mustClose(t, w)
	written := contents(t, dir)
	if *updateGolden {
		if err := os.MkdirAll(goldenDir, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, data := range written {
			if err := os.WriteFile(filepath.Join(goldenDir, name), data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	golden := contents(t, goldenDir)
	if len(golden) != 3 {
		t.Fatalf("want 3 golden files, got %d", len(golden))
	}
	for name, want := range golden {
		if !bytes.Equal(written[name], want) {
			t.Errorf("%s is written differently: a new format needs a new version", name)
		}
	}
	o.Dir = t.TempDir()
	for name, data := range golden {
		if err := os.WriteFile(filepath.Join(o.Dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	w = mustOpen(t, o)
	defer mustClose(t, w)
	if err := diff(w, m); err != nil {
		t.Error(err)
	}
}

// contents returns the files of a directory, without spares.
func contents(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, e := range names {
		if filepath.Ext(e.Name()) == spareSuffix {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = data
	}
	return files
}

func TestFrameRoundTrip(t *testing.T) {
	s := newScript(1, 500)
	for i := range uint64(500) {
		want := s.entry(i + 1)
		last := i%3 == 0
		b := appendFrame([]byte("before"), frameSeed(i), uint32(i), last, want)[6:]
		if int64(len(b)) != frameBytes(want) || len(b)%frameAlign != 0 {
			t.Fatalf("%d bytes, want %d", len(b), frameBytes(want))
		}
		f, n, err := decodeFrame(frameSeed(i), append(b, "behind"...))
		if err != nil || n != len(b) || f.last != last || f.commit != uint32(i) {
			t.Fatalf("got %+v, %d, %v", f, n, err)
		}
		var got raft.Log
		f.copyTo(&got)
		if !equalLogs(want, &got) {
			t.Fatalf("want %+v, got %+v", want, got)
		}
		if (want.AppendedAt == time.Time{}) != (got.AppendedAt == time.Time{}) {
			t.Fatalf("the zero time comes back as %v", got.AppendedAt)
		}
	}
}

// W6: a frame of one segment never validates in another.
func TestFrameBelongsToItsSegment(t *testing.T) {
	s := newScript(1, 300)
	for id := range uint64(2000) {
		b := appendFrame(nil, frameSeed(id), 1, true, s.entry(1))
		for _, other := range []uint64{id + 1, id + 7, id + 1<<20, id ^ 1<<31} {
			if _, _, err := decodeFrame(frameSeed(other), b); err == nil {
				t.Fatalf("a frame of segment %d validates in segment %d", id, other)
			}
		}
	}
}

func FuzzDecodeFrame(f *testing.F) {
	s := newScript(1, 100)
	for index := range uint64(4) {
		b := appendFrame(nil, frameSeed(1), 1, true, s.entry(index+1))
		f.Add(b)
		f.Add(b[:len(b)/2])
		f.Add(append(b, b...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		checkDecode(t, b)
		checkDecode(t, resummed(b)) // otherwise the checksum stops nearly all of them
	})
}

// resummed makes the checksum of a frame right, if there is a whole one.
func resummed(b []byte) []byte {
	b = bytes.Clone(b)
	if len(b) < frameHeaderBytes {
		return b
	}
	end := frameHeaderBytes + int64(binary.LittleEndian.Uint32(b[4:])) + int64(binary.LittleEndian.Uint32(b[32:]))
	if end <= int64(len(b)) {
		binary.LittleEndian.PutUint32(b, crc32.Update(frameSeed(1), castagnoli, b[4:end]))
	}
	return b
}

func checkDecode(t *testing.T, b []byte) {
	t.Helper()
	got, n, err := decodeFrame(frameSeed(1), b)
	var bad *frameError
	switch {
	case errors.Is(err, errShort):
		if n <= len(b) && len(b) >= frameHeaderBytes {
			t.Fatalf("%d bytes are there, %d needed, but it is said to be short", len(b), n)
		}
	case errors.As(err, &bad):
		if bad.want == bad.got {
			t.Fatalf("%v names no difference", bad)
		}
	case err != nil:
		t.Fatal(err)
	default:
		if n > len(b) || got.index == 0 {
			t.Fatalf("%d of %d bytes, index %d", n, len(b), got.index)
		}
		var l raft.Log
		got.copyTo(&l)
		// What is valid says all there is to say: it encodes to the same bytes, padding aside.
		again := appendFrame(nil, frameSeed(1), got.commit, got.last, &l)
		end := frameHeaderBytes + len(l.Data) + len(l.Extensions)
		if !bytes.Equal(again[:end], b[:end]) {
			t.Fatalf("encodes differently:\n%x\n%x", again[:end], b[:end])
		}
	}
}

// FuzzOpen opens whatever a tail segment may contain.
func FuzzOpen(f *testing.F) {
	base := newMemFS()
	w, err := Open(inPlace(base))
	if err != nil {
		f.Fatal(err)
	}
	s := newScript(1, 100)
	for index := range uint64(4) {
		if err := w.StoreLog(s.entry(index + 1)); err != nil {
			f.Fatal(err)
		}
	}
	path := filepath.Join("/wal", segmentName{1, 1}.String())
	end := w.view.Load().tail.end
	if err := w.Close(); err != nil {
		f.Fatal(err)
	}
	f.Add(base.names[path].data[frameStart:end])
	f.Add(base.names[path].data[frameStart : end-7])
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > segmentBytesMin-frameStart {
			return
		}
		fsys := base.image()
		tail := fsys.names[path].data[frameStart:]
		clear(tail)
		copy(tail, b)
		w, err := Open(inPlace(fsys))
		if err != nil {
			if bad := (*CorruptError)(nil); !errors.As(err, &bad) {
				t.Fatal(err)
			}
			return
		}
		first, _ := w.FirstIndex()
		last, _ := w.LastIndex()
		for index := first; index <= last && last > 0; index++ {
			if err := w.GetLog(index, new(raft.Log)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.StoreLog(&raft.Log{Index: last + 1}); err != nil {
			t.Fatal(err)
		}
		mustClose(t, w)
	})
}
