package config

import (
	"fmt"
	"slices"
	"strings"
)

// hint points from a wrong name to the nearest valid one, or lists them all if none is near.
func hint(wrong string, valid []string) string {
	if name, ok := Nearest(wrong, valid); ok {
		return fmt.Sprintf("; did you mean %q?", name)
	}
	valid = slices.Sorted(slices.Values(valid))
	return "; valid are " + strings.Join(valid, ", ")
}

// Nearest finds the valid name that a person most likely meant, if there is one.
func Nearest(wrong string, valid []string) (string, bool) {
	fold := func(s string) string { return strings.ToLower(strings.ReplaceAll(s, "-", "_")) }
	best, bestDistance := "", 1<<30
	for _, name := range slices.Sorted(slices.Values(valid)) {
		d := distance(fold(wrong), fold(name))
		if d < bestDistance {
			best, bestDistance = name, d
		}
	}
	return best, best != "" && bestDistance <= max(1, len(wrong)/3)
}

// distance counts the letters to insert, delete, replace or swap with their neighbour (optimal string
// alignment) to get from a to b.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
