package wire

import (
	"testing"

	"pgregory.net/rapid"
)

// seedsV1 are bodies that reach most of the code; testdata holds what fuzzing has found on top.
func seedsV1(t testing.TB) [][]byte {
	seeds := [][]byte{nil, typicalV1(t, 2)}
	for i := range 30 {
		seeds = append(seeds, []byte(encoded(rapid.Custom(drawRequestV1).Example(i))))
		seeds = append(seeds, rapid.Custom(func(t *rapid.T) []byte {
			return mangler{t}.message([]byte(encoded(drawRequestV1(t))), shapeV1)
		}).Example(i))
	}
	return seeds
}

func seedsV2(t testing.TB) [][]byte {
	seeds := [][]byte{nil, typicalV2(t, 2)}
	for i := range 30 {
		seeds = append(seeds, []byte(encoded(rapid.Custom(drawRequestV2).Example(i))))
		seeds = append(seeds, rapid.Custom(func(t *rapid.T) []byte {
			return mangler{t}.message([]byte(encoded(drawRequestV2(t))), shapeV2)
		}).Example(i))
	}
	return seeds
}
