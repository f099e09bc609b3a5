package wire

import (
	"bytes"
	"testing"

	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
)

func FuzzV1(f *testing.F) {
	for _, raw := range seedsV1(f) {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) { checkBody(t, raw, V1) })
}

func FuzzV2(f *testing.F) {
	for _, raw := range seedsV2(f) {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) { checkBody(t, raw, V2) })
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
