package wire

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
)

func identitiesOf(t *testing.T, raw []byte, p Protocol, l Labels) (all []string) {
	t.Helper()
	if err := ScanIdentity(raw, p, l, func(group, source []byte) { all = append(all, fmt.Sprintf("%s/%s", group, source)) }); err != nil {
		t.Fatal(err)
	}
	return all
}

// Each series is like the one before but for what changes the answer.
func TestScanIdentityFromSeriesToSeries(t *testing.T) {
	series := [][]string{
		{"__name__", "up", "__replica__", "a", "cluster", "x", "job", "j"},
		{"__name__", "down", "__replica__", "a", "cluster", "x"},
		{"__replica__", "a", "cluster", "x", "prometheus", "p", "prometheus_replica", "r"},
		{"__name__", "up", "__replica__", "a", "cluster", "y"},
		{"__name__", "up", "__replica__", "b", "cluster", "y"},
		{"__name__", "up", "cluster", "y", "prometheus", "p", "prometheus_replica", "r"},
		{"__name__", "up", "cluster", "y", "prometheus", "p", "prometheus_replica", "r"},
		{"__name__", "up", "prometheus", "p", "prometheus_replica", "r"},
		{"__name__", "up", "prometheus", "p", "prometheus_replica", "r", "z", "z"},
		{"__name__", "up", "prometheus", "p", "prometheus_replica", "r", "__replica__", "late"},
		{"__name__", "up", "__replica__", "early", "prometheus", "p", "prometheus_replica", "r"},
		{"__name__", "up", "__replica__", "", "prometheus", "p", "prometheus_replica", "r"},
		{"__name__", "up", "__replica__", "a", "job", "cluster"},
		{"__name__", "up", "__replica__", "a", "job", "cluster"},
		{"__name__", "up", "prometheus_replica", "r"},
		{"__name__", "up"},
		{},
		{"__name__", "up", "cluster", "only"},
		{"__name__", "up", "cluster", "only"},
		{"cluster", "x", "__replica__", "a"},
	}
	want := []string{
		"x/a", "x/a", "x/a", "y/a", "y/b", "p/r", "p/r", "p/r", "p/r", "/late", "/early", "p/r", "/a", "/a", "/r",
		"/", "/", "/", "/", "x/a",
	}
	for p, raw := range map[Protocol][]byte{V1: requestV1(series...), V2: requestV2(series...)} {
		if got := identitiesOf(t, raw, p, pairs); !slices.Equal(got, want) {
			t.Errorf("%s: got\n%q\nexpected\n%q", p, got, want)
		}
	}
}

// A label that is written in another way than the rest of its series counts all the same, and nothing is remembered of
// it.
func TestScanIdentityOfOddLabels(t *testing.T) {
	const odd = fieldLabels<<3 | typeBytes | 0x80 // a tag of two bytes
	label := func(name, value string) []byte {
		l := append(appendTag(nil, 1, len(name)), name...)
		return append(appendTag(l, 2, len(value)), value...)
	}
	plain := func(name, value string) []byte {
		l := label(name, value)
		return append(appendTag(nil, fieldLabels, len(l)), l...)
	}
	oddly := func(name, value string) []byte {
		l := label(name, value)
		return append([]byte{odd, 0, byte(len(l))}, l...)
	}
	var raw []byte
	for _, labels := range [][][]byte{
		{plain("prometheus_replica", "r")},
		{plain("prometheus_replica", "r"), oddly("prometheus", "p")},
		{plain("prometheus_replica", "r"), oddly("__replica__", "a")},
		{plain("prometheus_replica", "s"), oddly("__replica__", "a")},
		{plain("prometheus_replica", "s")},
		{oddly("__replica__", "a"), plain("cluster", "x")},
		{plain("cluster", "x")},
		{oddly("__name__", "up"), plain("__replica__", "a"), plain("cluster", "x")},
	} {
		body := slices.Concat(labels...)
		raw = append(appendTag(raw, requestSeriesV1, len(body)), body...)
	}
	want := []string{"/r", "p/r", "/a", "/a", "/s", "x/a", "/", "x/a"}
	if got := identitiesOf(t, raw, V1, pairs); !slices.Equal(got, want) {
		t.Errorf("got\n%q\nexpected\n%q", got, want)
	}
}

func TestSettledEndsWithItsSeries(t *testing.T) {
	b := []byte("abcd..abcd")
	s := settled{stretch: span{0, 4}}
	if !s.at(b, 6) || s.at(b[:9], 6) || s.at(b, 5) || new(settled).at(b, 0) {
		t.Error("a stretch is where it is not, or not where it is")
	}
}

// Pooled scans keep nothing that another body or other pairs would see.
func TestScanIdentityStartsAfresh(t *testing.T) {
	raw := requestV2([]string{"__name__", "up", "__replica__", "a", "cluster", "x"})
	for range 3 {
		if got := identitiesOf(t, raw, V2, pairs); got[0] != "x/a" {
			t.Fatal(got)
		}
		if got := identitiesOf(t, raw, V2, Labels{Pairs: []Pair{{"__name__", "cluster"}}}); got[0] != "up/x" {
			t.Fatal(got)
		}
		if got := identitiesOf(t, raw, V2, Labels{}); got[0] != "/" {
			t.Fatal(got)
		}
	}
}

func TestScanIdentityAllocatesNothing(t *testing.T) {
	for p, raw := range map[Protocol][]byte{V1: typicalV1(t, 100), V2: typicalV2(t, 100)} {
		var s identityScan // not from the pool, which may be emptied at any time
		series := 0
		count := func(_, _ []byte) { series++ }
		if n := testing.AllocsPerRun(50, func() {
			if err := withProtocol(s.scan(raw, p, pairs, count), p); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", p, n)
		}
	}
}

func TestScanIdentityIsBounded(t *testing.T) {
	raw := bytes.Repeat([]byte{requestSymbols<<3 | typeBytes, 0}, symbolsMax+1)
	none := func(_, _ []byte) { t.Error("a series") }
	if err := ScanIdentity(raw[2:], V2, pairs, none); err != nil {
		t.Errorf("as many symbols as may be: %v", err)
	}
	var limit *LimitError
	if err := ScanIdentity(raw, V2, pairs, none); !errors.As(err, &limit) {
		t.Errorf("one symbol more: %v", err)
	}
}
