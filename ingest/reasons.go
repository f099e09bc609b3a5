package ingest

import (
	"fmt"
	"strings"
)

// rejectionText tells a sender what was wrong with some of its series.
type rejectionText struct {
	series  int
	samples uint64
	all     rejections
}

func (t *rejectionText) add(r rejections) {
	for i := range r {
		t.series += r[i].series
		t.samples += r[i].samples
		t.merge(r[i])
	}
}

func (t *rejectionText) merge(r rejection) {
	for i := range t.all {
		if t.all[i].reason == r.reason {
			t.all[i].series += r.series
			return
		}
	}
	t.all = append(t.all, r)
}

func (t *rejectionText) String(series int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %d series refused (%d samples)", t.series, series, t.samples)
	for i, r := range t.all {
		sep := "; "
		if i == 0 {
			sep = ": "
		}
		fmt.Fprintf(&b, "%s%s in %d", sep, r.reason, r.series)
		if r.detail != "" {
			fmt.Fprintf(&b, ", first: %s", r.detail)
		}
	}
	if t.series < series {
		b.WriteString("; the rest was taken")
	}
	return strings.ToValidUTF8(b.String(), "\uFFFD")
}
