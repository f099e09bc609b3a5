package wire

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"slices"
	"testing"

	"github.com/golang/snappy"
	"github.com/klauspost/compress/s2"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
)

func FuzzV1(f *testing.F) {
	for _, raw := range seedsV1(f) {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		checkMemory(t, raw, V1)
		checkBody(t, raw, V1)
	})
}

func FuzzV2(f *testing.F) {
	for _, raw := range seedsV2(f) {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		checkMemory(t, raw, V2)
		checkBody(t, raw, V2)
	})
}

// checkMemory scans a body with buffers that have to grow. R7: what they grow to depends on the bytes that are there.
func checkMemory(t *testing.T, raw []byte, p Protocol) {
	t.Helper()
	var before, after runtime.MemStats
	var r Request
	runtime.ReadMemStats(&before)
	_ = r.Scan(raw, p, pairs)
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > uint64(64<<10+512*len(raw)) {
		t.Fatalf("R7: %d bytes were allocated for a body of %d", got, len(raw))
	}
}

// TestEveryByte changes each byte of a body that takes the fast paths to values that mean something else there.
func TestEveryByte(t *testing.T) {
	v2 := &writev2.Request{Symbols: []string{"", "__name__", "up", "__replica__", "a"}, Timeseries: []writev2.TimeSeries{{
		LabelsRefs: []uint32{1, 2, 3, 4},
		Samples:    []writev2.Sample{{Value: 1.5, Timestamp: testTime, StartTimestamp: testTime - 1000}},
	}}}
	bodies := map[Protocol][]byte{V1: requestV1([]string{"__name__", "up", "__replica__", "a"}, []string{"__name__", "up"}), V2: []byte(encoded(v2))}
	for p, raw := range bodies {
		for at, b := range raw {
			for _, other := range []byte{0, 1, 2, 8, 9, 10, 11, 12, 16, 18, 24, 34, 42, b - 1, b + 1, b ^ 0x80, 0x80, 0xff} {
				changed := bytes.Clone(raw)
				changed[at] = other
				checkBody(t, changed, p)
			}
		}
	}
}

// FuzzBlocks decodes blocks that may lie about their length, and joins them. What is decoded is what the reference decoder of
// the format finds, at most the limit is allocated, and blocks join exactly if each of them is good.
func FuzzBlocks(f *testing.F) {
	long := bytes.Repeat([]byte("hello "), 100)
	for _, raw := range [][]byte{nil, []byte("x"), long, typicalV1(f, 3), typicalV2(f, 3)} {
		f.Add(snappy.Encode(nil, raw), s2.EncodeSnappyBetter(nil, raw))
	}
	f.Add(s2.Encode(nil, long), append(binary.AppendUvarint(nil, 1<<30), 0, 'x'))
	f.Add(framed, []byte{0x80, 0x80, 0x80, 0x80, 0x10})
	f.Fuzz(func(t *testing.T, one, two []byte) {
		const limit = 1 << 20
		var parts [][]byte
		for _, body := range [][]byte{one, two} {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			raw, err := Decompress(nil, body, limit)
			runtime.ReadMemStats(&after)
			if got := after.TotalAlloc - before.TotalAlloc; got > uint64(64<<10+2*perByteMax*len(body)) {
				t.Fatalf("R7: %d bytes were allocated for a block of %d", got, len(body))
			}
			if n, err := snappy.DecodedLen(body); err == nil && n > 64*limit {
				return // the reference would allocate what is claimed
			}
			want, wantErr := snappy.Decode(nil, body)
			if err == nil && (wantErr != nil || !bytes.Equal(raw, want)) {
				t.Fatalf("decoded to %d bytes, the reference to %d, %v", len(raw), len(want), wantErr)
			}
			if err != nil && wantErr == nil && len(want) <= limit && !bytes.HasPrefix(body, framed) {
				t.Fatalf("refused with %v, the reference decodes it to %d bytes", err, len(want))
			}
			if err != nil {
				return
			}
			parts = append(parts, raw)
		}
		joined, err := MergeV1(nil, one, two)
		if err != nil {
			t.Fatal(err)
		}
		if raw, err := Decompress(nil, joined, 2*limit); err != nil || !bytes.Equal(raw, slices.Concat(parts...)) {
			t.Fatalf("joined to %d bytes, %v", len(raw), err)
		}
	})
}

// FuzzMerge joins two bodies of the same protocol that were accepted, as egress does: what both hold is in the result, and
// nothing else.
func FuzzMerge(f *testing.F) {
	for i, seeds := range [][][]byte{seedsV1(f), seedsV2(f)} {
		for j := 1; j < len(seeds); j += 3 {
			f.Add(seeds[j-1], seeds[j], byte(i))
		}
	}
	f.Fuzz(func(t *testing.T, one, two []byte, second byte) {
		p := V1 + Protocol(second&1)
		want := newContents()
		var bodies [][]byte
		for _, raw := range [][]byte{one, two} {
			var r Request
			if err := r.Scan(raw, p, Labels{}); err != nil || r.Bad > 0 || len(r.Series) == 0 {
				return
			}
			if _, err := reference(raw, p); err != nil {
				t.Fatalf("R1: accepted, the generated decoder says %v", err)
			}
			want.add(t, raw, p, false, everything)
			bodies = append(bodies, Compress(nil, raw))
		}
		merge := MergeV1
		if p == V2 {
			merge = MergeV2
		}
		merged, err := merge(nil, bodies...)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := Decompress(nil, merged, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		got := newContents()
		got.add(t, raw, p, false, everything)
		expectSame(t, "merge", got, want)
	})
}
