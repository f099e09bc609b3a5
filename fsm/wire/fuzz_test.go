package wire

import "testing"

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
