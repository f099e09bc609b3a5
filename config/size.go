package config

import (
	"fmt"
	"math"
	"math/big"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Bytes is a size. It is written with a binary (KiB, MiB, …) or decimal (KB, MB, …) unit, or as a plain
// number of bytes.
type Bytes int64

// Binary units.
const (
	KiB Bytes = 1 << (10 * (iota + 1))
	MiB
	GiB
	TiB
	PiB
)

const expectedBytes = "a size such as 512MiB, 20GiB or 20GB"

// sizeUnits holds the larger unit first, so that String finds the shortest exact form.
var sizeUnits = []struct {
	name string
	size Bytes
}{
	{"PiB", PiB}, {"PB", 1e15},
	{"TiB", TiB}, {"TB", 1e12},
	{"GiB", GiB}, {"GB", 1e9},
	{"MiB", MiB}, {"MB", 1e6},
	{"KiB", KiB}, {"KB", 1e3}, {"kB", 1e3},
	{"B", 1},
}

// ParseBytes reads a size. Fractions are allowed where the result is a whole number of bytes.
func ParseBytes(s string) (Bytes, error) {
	number, unit := s, Bytes(1)
	for _, u := range sizeUnits {
		if rest, ok := strings.CutSuffix(s, u.name); ok {
			number, unit = strings.TrimRight(rest, " "), u.size
			break
		}
	}
	if number == "" || strings.Trim(number, "0123456789.") != "" {
		return 0, fmt.Errorf("expected %s, got %q", expectedBytes, s)
	}
	r, ok := new(big.Rat).SetString(number)
	if !ok {
		return 0, fmt.Errorf("expected %s, got %q", expectedBytes, s)
	}
	r.Mul(r, new(big.Rat).SetInt64(int64(unit)))
	if !r.IsInt() || r.Cmp(new(big.Rat).SetInt64(math.MaxInt64)) > 0 {
		return 0, fmt.Errorf("expected a whole number of bytes below 8192PiB, got %q", s)
	}
	return Bytes(r.Num().Int64()), nil
}

// String writes the size with the largest unit that is exact.
func (b Bytes) String() string {
	if b == 0 {
		return "0"
	}
	for _, u := range sizeUnits {
		if b%u.size == 0 {
			return fmt.Sprintf("%d%s", int64(b/u.size), u.name)
		}
	}
	return fmt.Sprintf("%dB", int64(b))
}

// UnmarshalYAML reads a size from the file.
func (b *Bytes) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.ScalarNode {
		return fmt.Errorf("expected %s", expectedBytes)
	}
	size, err := ParseBytes(n.Value)
	if err != nil {
		return err
	}
	*b = size
	return nil
}

// MarshalYAML writes a size as ParseBytes reads it.
func (b Bytes) MarshalYAML() (any, error) {
	if b == 0 {
		return 0, nil
	}
	return b.String(), nil
}
