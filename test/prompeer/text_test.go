package prompeer

import (
	"fmt"
	"math"
	"sort"
	"strings"
)

func key(series string, ts int64) string { return fmt.Sprintf("%s @%d", series, ts) }

func hex(v float64) string { return fmt.Sprintf("%016x", math.Float64bits(v)) }

func floats(list []float64) string {
	var b strings.Builder
	for _, v := range list {
		b.WriteString(" " + hex(v))
	}
	return b.String()
}

// without is the same content with a piece of text cut from the names of series.
func (c content) without(text string) content {
	out := content{}
	for k, v := range c {
		out[strings.Replace(k, text, "", 1)] = v
	}
	return out
}

// differences names up to ten entries in which two contents differ.
func differences(want, got content) string {
	var lines []string
	for k, v := range want {
		if got[k] != v {
			lines = append(lines, fmt.Sprintf("%s: got %q, want %q", k, got[k], v))
		}
	}
	for k, v := range got {
		if _, ok := want[k]; !ok {
			lines = append(lines, fmt.Sprintf("%s: got %q, want nothing", k, v))
		}
	}
	if len(lines) == 0 {
		return ""
	}
	sort.Strings(lines)
	return fmt.Sprintf("%d of %d entries differ:\n%s", len(lines), len(want), strings.Join(lines[:min(10, len(lines))], "\n"))
}
