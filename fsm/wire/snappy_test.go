package wire

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/golang/snappy"
	"github.com/klauspost/compress/s2"
)

func TestDecompressRefuses(t *testing.T) {
	var stream, zipped bytes.Buffer
	w := snappy.NewBufferedWriter(&stream)
	_, _ = w.Write([]byte("hello"))
	_ = w.Close()
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write([]byte("hello"))
	_ = z.Close()
	block := snappy.Encode(nil, bytes.Repeat([]byte("hello "), 1000))
	// S2's repeat code is not snappy: a destination could not read it.
	extended := s2.Encode(nil, bytes.Repeat([]byte("0123456789abcdef"), 64))

	for name, c := range map[string]struct {
		body []byte
		text string
	}{
		"empty":            {nil, "no decoded length"},
		"framed":           {stream.Bytes(), "framing format"},
		"framed, only tag": {framed, "framing format"},
		"gzip":             {zipped.Bytes(), "gzip"},
		"zstd":             {append([]byte{0x28, 0xb5, 0x2f, 0xfd}, make([]byte, 20)...), "zstd"},
		"cut off":          {block[:len(block)/2], "snappy block"},
		"surplus":          {append(bytes.Clone(block), 0), "snappy block"},
		"lying":            {append(binary.AppendUvarint(nil, 1<<24), 0, 'x'), "declares 16777216 bytes"},
		"beyond 32 bits":   {binary.AppendUvarint(nil, 1<<33), "exceeds 32 bits"},
		"extended":         {extended, "snappy block"},
	} {
		t.Run(name, func(t *testing.T) {
			if raw, err := Decompress(nil, c.body, 1<<20); err == nil || !strings.Contains(err.Error(), c.text) {
				t.Fatalf("%q %v, expected %q", raw, err, c.text)
			}
		})
	}
}

// R7: the limit is on what the body declares, and comes before memory.
func TestDecompressLimit(t *testing.T) {
	body := snappy.Encode(nil, make([]byte, 1<<20))
	if _, err := Decompress(nil, body, 1<<20-1); !errors.Is(err, ErrTooLarge) {
		t.Fatal(err)
	}
	raw, err := Decompress(nil, body, 1<<20)
	if err != nil || len(raw) != 1<<20 {
		t.Fatal(len(raw), err)
	}
	if n := testing.AllocsPerRun(10, func() { raw, _ = Decompress(raw, body, 1<<20) }); n != 0 {
		t.Fatalf("%v allocations with a buffer", n)
	}
	if n, err := DecodedLen(body); n != 1<<20 || err != nil {
		t.Fatal(n, err)
	}
}

// The bound by which a lie is told is never below what a real block reaches.
func TestExpansionBound(t *testing.T) {
	for _, n := range []int{1, 10, 100, 1 << 10, 1 << 16, 1 << 20, 1 << 24} {
		for name, body := range map[string][]byte{
			"golang": snappy.Encode(nil, make([]byte, n)), "s2": s2.EncodeSnappy(nil, make([]byte, n)),
			"better": s2.EncodeSnappyBetter(nil, make([]byte, n)), "best": s2.EncodeSnappyBest(nil, make([]byte, n)),
		} {
			if got, err := DecodedLen(body); err != nil || got != n {
				t.Errorf("%s of %d zeros: %d %v", name, n, got, err)
			}
		}
	}
}

// What Compress writes, the reference decoder of the format reads.
func TestCompress(t *testing.T) {
	for _, raw := range [][]byte{nil, []byte("x"), typicalV1(t, 100), typicalV1(t, 3000)} {
		body := Compress(nil, raw)
		got, err := snappy.Decode(nil, body)
		if err != nil || !bytes.Equal(got, raw) {
			t.Fatalf("%d bytes: %v", len(raw), err)
		}
		if len(body) > len(raw)+snappyOverhead {
			t.Fatalf("%d bytes take %d", len(raw), len(body))
		}
	}
}
