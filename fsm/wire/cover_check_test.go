package wire

import (
	"slices"
	"testing"

	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"

	"pgregory.net/rapid"
)

// others name other labels than those of Scan.
var others = Labels{Pairs: []Pair{{"cluster", "job"}, {"", "a"}}}

// seriesKey names a series as SeriesHash sees it: without replica labels, empty labels and an order.
func seriesKey(labels []Label, l Labels) string {
	kept := slices.DeleteFunc(slices.Clone(labels), func(x Label) bool {
		return x.Value == "" || slices.ContainsFunc(l.Pairs, func(p Pair) bool { return p.Replica != "" && p.Replica == x.Name })
	})
	return keyOf(kept, false, true)
}

// checkHashes compares hashes with keys: the same exactly if those are.
func checkHashes(t rapid.TB, r *Request, all []referenceSeries) {
	t.Helper()
	for _, l := range []Labels{pairs, others, {}} {
		byKey, byHash := map[string]uint64{}, map[uint64]string{}
		for i := range all {
			if r.Series[i].Reason != "" {
				continue
			}
			key, hash := seriesKey(all[i].labels, l), r.SeriesHash(i, l)
			if h, ok := byKey[key]; ok && h != hash {
				t.Fatalf("series %d: %s has the hashes %x and %x", i, key, h, hash)
			}
			if k, ok := byHash[hash]; ok && k != key {
				t.Fatalf("series %d: %s and %s have the hash %x", i, k, key, hash)
			}
			byKey[key], byHash[hash] = hash, key
			if len(l.Pairs) == 0 && hash != r.Hash(i) {
				t.Fatalf("series %d: hash %x, without pairs %x", i, r.Hash(i), hash)
			}
		}
	}
}

// checkSameHashes converts a 2.0 body: the hashes must stay.
func checkSameHashes(t rapid.TB, r *Request, raw []byte) {
	t.Helper()
	out, err := ToV1(nil, raw)
	if err != nil {
		return // bad references
	}
	var v1 Request
	if err := v1.Scan(out, V1, Labels{}); err != nil {
		t.Fatal(err)
	}
	for i := range r.Series {
		if g, w := v1.SeriesHash(i, pairs), r.SeriesHash(i, pairs); g != w {
			t.Fatalf("series %d: hash %x in 1.0, %x in 2.0", i, g, w)
		}
	}
}

func checkTimes(t rapid.TB, r *Request, all []referenceSeries) {
	t.Helper()
	for i := range all {
		var got []int64
		r.Times(i, func(ms int64) { got = append(got, ms) })
		slices.Sort(got)
		want := slices.Sorted(slices.Values(all[i].times))
		if !slices.Equal(got, want) {
			t.Fatalf("series %d: times %d, expected %d", i, got, want)
		}
	}
}

// lines are what another source has delivered, by series.
type lines map[string]int64

// drawLines gives the series lines below, between and above their times, or none.
func drawLines(all []referenceSeries, l Labels, variant int) lines {
	drawn := lines{}
	for i := range all {
		key := seriesKey(all[i].labels, l)
		times := slices.Sorted(slices.Values(all[i].times))
		if _, ok := drawn[key]; ok || len(times) == 0 {
			continue
		}
		switch (variant + len(key)) % 5 {
		case 0:
			drawn[key] = times[len(times)-1]
		case 1:
			drawn[key] = times[(len(times)-1)/2]
		case 2:
			drawn[key] = times[0] - 1
		case 3:
			drawn[key] = times[0]
		}
	}
	return drawn
}

type firstSeen struct {
	hash  uint64
	first int64
}

// checkCover compares Cover with a reference by structs.
func checkCover(t rapid.TB, r *Request, raw []byte, all []referenceSeries, l Labels, variant int) {
	t.Helper()
	drawn := drawLines(all, l, variant)
	byHash := map[uint64]int64{}
	var want []firstSeen
	var covered uint64
	var asked, samples int
	for i := range all {
		if r.Series[i].Reason != "" || len(all[i].times) == 0 {
			continue
		}
		samples++
		hash := r.SeriesHash(i, l)
		upTo, known := drawn[seriesKey(all[i].labels, l)]
		if known {
			byHash[hash] = upTo
		}
		above := slices.DeleteFunc(slices.Clone(all[i].times), func(ms int64) bool { return known && ms <= upTo })
		covered += uint64(len(all[i].times) - len(above))
		if len(above) > 0 {
			want = append(want, firstSeen{hash, slices.Min(above)})
		}
	}
	var seen []firstSeen
	out, n, err := r.Cover(nil, l, func(hash uint64) (int64, bool) {
		asked++
		upTo, known := byHash[hash]
		return upTo, known
	}, func(hash uint64, first int64) { seen = append(seen, firstSeen{hash, first}) })
	if err != nil || n != covered {
		t.Fatalf("covered %d, expected %d: %v", n, covered, err)
	}
	if asked != samples || !slices.Equal(seen, want) {
		t.Fatalf("asked for %d lines of %d, seen %v, expected %v", asked, samples, seen, want)
	}
	if covered == 0 && r.Bad == 0 && string(out) != string(raw) {
		t.Fatal("a body of which nothing is covered was changed")
	}
	got := newContents()
	got.add(t, out, r.Protocol, false, everything)
	expectSame(t, "cover", got, uncovered(raw, r, drawn, l))
	if r.Protocol == V2 && string(out) != string(raw) {
		_, req, _ := decodeV2(out)
		byTheBook(t, req)
	}
	checkCoveredCounts(t, r, out, covered)
}

// checkCoveredCounts scans the result in place of the body.
func checkCoveredCounts(t rapid.TB, r *Request, out []byte, covered uint64) {
	t.Helper()
	var again Request
	if err := again.Scan(out, r.Protocol, pairs); err != nil {
		if len(again.Series) == 0 && len(r.Series) > 0 {
			return // unknown fields alone
		}
		t.Fatalf("what was written is refused: %v", err)
	}
	if again.Bad > 0 || again.Counts.Samples()+covered != r.Counts.Samples() || r.Protocol == V1 && again.Counts.Metadata != r.Counts.Metadata {
		t.Fatalf("%+v, %d refused, of %+v without %d", again.Counts, again.Bad, r.Counts, covered)
	}
}

// uncovered is what must stay, by structs.
func uncovered(raw []byte, r *Request, drawn lines, l Labels) *contents {
	c := newContents()
	stays := make([]bool, len(r.Series))
	if r.Protocol == V1 {
		_, req, _ := decodeV1(raw)
		for i := range req.Timeseries {
			ts := &req.Timeseries[i]
			stays[i] = withoutCovered(&ts.Samples, &ts.Histograms,
				func(s prompb.Sample) int64 { return s.Timestamp }, func(h prompb.Histogram) int64 { return h.Timestamp }, r.line(i, drawn, l))
		}
		c.addV1(req, false, func(i int) bool { return r.takesGood(i) && stays[i] })
		return c
	}
	_, req, _ := decodeV2(raw)
	for i := range req.Timeseries {
		ts := &req.Timeseries[i]
		stays[i] = withoutCovered(&ts.Samples, &ts.Histograms,
			func(s writev2.Sample) int64 { return s.Timestamp }, func(h writev2.Histogram) int64 { return h.Timestamp }, r.line(i, drawn, l))
	}
	c.addV2(req, false, func(i int) bool { return r.takesGood(i) && stays[i] })
	return c
}

func (r *Request) line(i int, drawn lines, l Labels) func(ms int64) bool {
	upTo, known := drawn[seriesKey(r.Labels(i, nil), l)]
	return func(ms int64) bool { return known && ms <= upTo }
}

// withoutCovered takes the covered samples away and says whether the series stays.
func withoutCovered[S, H any](samples *[]S, histograms *[]H, at func(S) int64, atH func(H) int64, covered func(int64) bool) bool {
	had := len(*samples) + len(*histograms)
	*samples = slices.DeleteFunc(*samples, func(s S) bool { return covered(at(s)) })
	*histograms = slices.DeleteFunc(*histograms, func(h H) bool { return covered(atH(h)) })
	return had == 0 || len(*samples)+len(*histograms) > 0
}

func checkFence(t rapid.TB, r *Request, raw []byte, all []referenceSeries) {
	t.Helper()
	checkHashes(t, r, all)
	checkTimes(t, r, all)
	for variant := range 5 {
		checkCover(t, r, raw, all, pairs, variant)
	}
	checkCover(t, r, raw, all, others, 1)
	if r.Protocol == V2 {
		checkSameHashes(t, r, raw)
	}
}

func TestCoverNeedsAScan(t *testing.T) {
	var r Request
	if _, _, err := r.Cover(nil, pairs, nil, nil); err == nil {
		t.Error("a body that was never scanned was covered")
	}
}
