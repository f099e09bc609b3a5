package wire

import (
	"errors"
	"slices"
	"strings"

	"pgregory.net/rapid"
)

// checkBody compares everything this package does with a body with the reference. It is what fuzzing and the random
// tests run.
func checkBody(t rapid.TB, raw []byte, p Protocol) {
	t.Helper()
	var r Request
	err := r.Scan(raw, p, pairs)
	all, referenceErr := reference(raw, p)
	if !checkAccepted(t, raw, p, err, referenceErr) {
		// Those who look for less need not find the damage, but must survive it.
		_ = ScanIdentity(raw, p, pairs, func(_, _ []byte) {})
		_, _, _ = Newest(raw, p)
		if _, err := ToV1(nil, raw); p == V2 && err == nil {
			t.Fatal("a body that is refused was converted")
		}
		return
	}
	checkSeries(t, &r, all)
	checkLooks(t, &r, all)
	checkFence(t, &r, raw, all)
	checkParts(t, &r, raw, false, 0)
	checkParts(t, &r, raw, true, 0)
	checkShards(t, &r)
	checkRelabel(t, &r, raw)
	if p == V1 {
		checkMergeV1(t, &r, raw)
	} else {
		checkMergeV2(t, &r, raw)
		checkToV1(t, &r, raw)
	}
	for _, limit := range []int{150, 400} {
		small := Request{MaxStored: limit}
		if err := small.Scan(raw, p, pairs); err == nil {
			checkParts(t, &small, raw, true, limit)
		}
	}
}

func reference(raw []byte, p Protocol) ([]referenceSeries, error) {
	if p == V1 {
		all, _, err := decodeV1(raw)
		return all, err
	}
	all, _, err := decodeV2(raw)
	return all, err
}

// checkAccepted reports whether the body is accepted by both. Where this package is stricter is written out here,
// and nowhere else.
func checkAccepted(t rapid.TB, raw []byte, p Protocol, err, referenceErr error) bool {
	t.Helper()
	if err == nil && referenceErr != nil {
		t.Fatalf("accepted, the generated decoder says %v", referenceErr)
	}
	if err == nil {
		return true
	}
	if referenceErr != nil {
		if d := (*DamageError)(nil); !errors.As(err, &d) {
			if !strings.Contains(err.Error(), "Content-Type") {
				t.Fatalf("damage without a place: %v", err)
			}
		} else if d.Offset < 0 || d.Offset > len(raw) || d.Expected == "" || d.Protocol != p {
			t.Fatalf("bad error %#v", d)
		}
		return false
	}
	if d := (*DamageError)(nil); errors.As(err, &d) {
		if d.Expected == expectedWithin || d.Expected == "an empty first symbol" {
			return false
		}
	} else if strings.Contains(err.Error(), "Content-Type") {
		return false
	}
	t.Fatalf("refused with %v, the generated decoder takes it", err)
	return false
}

// checkSeries compares counts, labels, verdicts and identities.
func checkSeries(t rapid.TB, r *Request, all []referenceSeries) {
	t.Helper()
	if len(r.Series) != len(all) {
		t.Fatalf("%d series, expected %d", len(r.Series), len(all))
	}
	var good, rejected Counts
	good.Metadata = r.Counts.Metadata
	for i := range r.Series {
		s, want := &r.Series[i], &all[i]
		reasons := want.reasons()
		if (s.Reason == "") != (len(reasons) == 0) || s.Reason != "" && !slices.Contains(reasons, s.Reason) {
			t.Fatalf("series %d: reason %q (%s), expected one of %q", i, s.Reason, s.Detail, reasons)
		}
		if (s.Reason == "") != (s.Detail == "") {
			t.Fatalf("series %d: reason %q with detail %q", i, s.Reason, s.Detail)
		}
		checkCounts(t, s.Counts, want)
		if s.Reason != "" {
			rejected.add(&s.Counts)
			continue
		}
		good.add(&s.Counts)
		good.Metadata -= s.Counts.Metadata
		if got := r.Labels(i, nil); !slices.Equal(got, want.labels) {
			t.Fatalf("series %d: labels %q, expected %q", i, got, want.labels)
		}
		checkIdentity(t, r, s, want.labels)
	}
	if r.Counts != good || r.Rejected != rejected {
		t.Fatalf("counts %+v and %+v, expected %+v and %+v", r.Counts, r.Rejected, good, rejected)
	}
}

func checkCounts(t rapid.TB, c Counts, want *referenceSeries) {
	t.Helper()
	if c.Series != 1 || int(c.Floats) != want.floats || int(c.Histograms) != len(want.histograms) || int(c.Exemplars) != want.exemplars {
		t.Fatalf("counts %+v, expected %+v", c, want)
	}
	if len(want.times) > 0 && (c.MinTime != slices.Min(want.times) || c.MaxTime != slices.Max(want.times)) {
		t.Fatalf("times %d to %d, expected those of %d", c.MinTime, c.MaxTime, want.times)
	}
	if len(want.times) == 0 && (c.MinTime != 0 || c.MaxTime != 0) {
		t.Fatalf("times without a sample: %+v", c)
	}
}

func checkIdentity(t rapid.TB, r *Request, s *Series, labels []Label) {
	t.Helper()
	want := namedBy(labels, pairs)
	if id := r.Identities[s.Identity]; id.Group != want.Group || id.Source != want.Source {
		t.Fatalf("identity %+v, expected %+v", id, want)
	}
	replica := slices.ContainsFunc(labels, func(l Label) bool { return l.Name == "__replica__" || l.Name == "prometheus_replica" })
	if s.Replica != replica {
		t.Fatalf("replica label %v, expected %v", s.Replica, replica)
	}
}

// namedBy is what labels say about where a series comes from.
func namedBy(labels []Label, l Labels) Identity {
	value := func(name string) string {
		for _, l := range labels {
			if name != "" && l.Name == name {
				return l.Value
			}
		}
		return ""
	}
	for _, p := range l.Pairs {
		if value(p.Replica) != "" {
			return Identity{Group: value(p.Group), Source: value(p.Replica)}
		}
	}
	return Identity{}
}

// checkLooks compares the cheap looks at a body with Scan.
func checkLooks(t rapid.TB, r *Request, all []referenceSeries) {
	t.Helper()
	newest, counts, err := Newest(r.raw, r.Protocol)
	want := r.Counts
	want.add(&r.Rejected)
	if err != nil || counts != want || newest != want.MaxTime {
		t.Fatalf("newest %d %+v %v, expected %+v", newest, counts, err, want)
	}
	for _, l := range []Labels{pairs, {Pairs: []Pair{pairs.Pairs[1], pairs.Pairs[0]}}, others, {}} {
		checkScanIdentity(t, r, all, l)
	}
}

func checkScanIdentity(t rapid.TB, r *Request, all []referenceSeries, l Labels) {
	t.Helper()
	i := 0
	err := ScanIdentity(r.raw, r.Protocol, l, func(group, source []byte) {
		want := namedBy(all[i].labels, l)
		twice := all[i].badRefs || slices.Contains(all[i].reasons(), ReasonDuplicateLabel) // either value may count
		if !twice && (string(group) != want.Group || string(source) != want.Source) {
			t.Fatalf("series %d of pairs %v: identity %q %q, expected %+v", i, l.Pairs, group, source, want)
		}
		i++
	})
	if err != nil || i != len(all) {
		t.Fatalf("identities of %d series, expected %d: %v", i, len(all), err)
	}
}

func (r *Request) takesGood(i int) bool { return r.Series[i].Reason == "" }

func everything(int) bool { return true }

// contentsOf is the reference's view of the good series of a body.
func contentsOf(t rapid.TB, r *Request, raw []byte, strip bool) *contents {
	t.Helper()
	c := newContents()
	c.add(t, raw, r.Protocol, strip, r.takesGood)
	return c
}

func (c *contents) add(t rapid.TB, raw []byte, p Protocol, strip bool, take func(int) bool) {
	t.Helper()
	if p == V1 {
		_, req, err := decodeV1(raw)
		if err != nil {
			t.Fatalf("the generated decoder refuses what was written: %v", err)
		}
		c.addV1(req, strip, take)
		return
	}
	_, req, err := decodeV2(raw)
	if err != nil {
		t.Fatalf("the generated decoder refuses what was written: %v", err)
	}
	c.addV2(req, strip, take)
}

func expectSame(t rapid.TB, what string, got, want *contents) {
	t.Helper()
	if g, w := got.String(), want.String(); g != w {
		t.Fatalf("%s: got\n%s\nexpected\n%s", what, g, w)
	}
}

func checkParts(t rapid.TB, r *Request, raw []byte, strip bool, limit int) {
	t.Helper()
	parts, err := r.Parts(nil, strip, true, limit)
	if err != nil {
		t.Fatalf("parts of at most %d: %v", limit, err)
	}
	got := newContents()
	var counts Counts
	for i, p := range parts {
		if limit > 0 && len(p.Body) > limit {
			t.Fatalf("part %d has %d bytes, limit %d", i, len(p.Body), limit)
		}
		decoded, err := Decompress(nil, p.Body, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		got.add(t, decoded, r.Protocol, false, everything)
		checkPartCounts(t, p, decoded, r.Protocol)
		counts.add(&p.Counts)
		if r.Protocol == V2 {
			_, req, _ := decodeV2(decoded)
			byTheBook(t, req)
		}
	}
	expectSame(t, "parts", got, contentsOf(t, r, raw, strip))
	if counts.Series = r.Counts.Series; counts != r.Counts {
		t.Fatalf("parts hold %+v, the request %+v", counts, r.Counts)
	}
}

// checkPartCounts scans a part again: nothing in it may be refused, and its counts must be what was said.
func checkPartCounts(t rapid.TB, p Part, decoded []byte, protocol Protocol) {
	t.Helper()
	var again Request
	if err := again.Scan(decoded, protocol, pairs); err != nil {
		if strings.Contains(err.Error(), "Content-Type") && p.Counts.Series == 0 {
			return // unknown fields alone
		}
		t.Fatalf("a part is refused: %v", err)
	}
	if again.Bad > 0 {
		t.Fatalf("a series of a part is refused: %+v", again.Series)
	}
	want := again.Counts
	if protocol == V2 {
		want.Metadata = p.Counts.Metadata // empty metadata is not written
	}
	if p.Counts != want {
		t.Fatalf("part says %+v, holds %+v", p.Counts, want)
	}
}

func checkShards(t rapid.TB, r *Request) {
	t.Helper()
	lane := map[string]int{}
	total := 0
	for n, picked := range r.Shards(3) {
		for _, i := range picked {
			total++
			key := keyOf(r.Labels(int(i), nil), false, true)
			if before, ok := lane[key]; ok && before != n {
				t.Fatalf("series %s in lanes %d and %d", key, before, n)
			}
			lane[key] = n
		}
	}
	if total != len(r.Series)-r.Bad {
		t.Fatalf("%d series in lanes, expected %d", total, len(r.Series)-r.Bad)
	}
}

// checkRelabel drops every second label set and keeps the others as they are.
func checkRelabel(t rapid.TB, r *Request, raw []byte) {
	t.Helper()
	var want uint64
	drop := func(labels []Label) bool { return len(keyOf(labels, false, true))%2 == 0 }
	for i := range r.Series {
		if s := &r.Series[i]; s.Reason == "" && drop(r.Labels(i, nil)) {
			want += s.Counts.Samples()
		}
	}
	out, dropped, err := r.Relabel(nil, func(l []Label) ([]Label, bool) { return l, !drop(l) })
	if err != nil || dropped != want {
		t.Fatalf("dropped %d, expected %d: %v", dropped, want, err)
	}
	expected := newContents()
	take := func(i int) bool { return r.Series[i].Reason == "" && !drop(r.Labels(i, nil)) }
	got := newContents()
	if r.Protocol == V2 {
		expected.add(t, raw, V2, false, take)
		got.add(t, out, V2, false, everything)
		expectSame(t, "relabel", got, expected)
		return
	}
	_, req, _ := decodeV1(raw)
	for i := range req.Timeseries {
		slices.SortStableFunc(req.Timeseries[i].Labels, func(x, y promLabel) int { return strings.Compare(x.Name, y.Name) })
	}
	expected.addV1(req, false, take)
	got.add(t, out, V1, false, everything)
	expectSame(t, "relabel", got, expected)
}

func checkMergeV1(t rapid.TB, r *Request, raw []byte) {
	t.Helper()
	body := Compress(nil, raw)
	merged, err := MergeV1(nil, body, body, body)
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := Decompress(nil, merged, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	got, want := newContents(), newContents()
	got.add(t, decoded, V1, false, everything)
	for range 3 {
		want.add(t, raw, V1, false, everything)
	}
	expectSame(t, "merge", got, want)
}

func checkMergeV2(t rapid.TB, r *Request, raw []byte) {
	t.Helper()
	parts, err := r.Parts(nil, false, true, 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(parts) != 1 {
		return
	}
	merged, err := MergeV2(nil, parts[0].Body, parts[0].Body)
	if err != nil {
		if strings.Contains(err.Error(), "Content-Type") && r.Counts.Series == 0 {
			return
		}
		t.Fatal(err)
	}
	decoded, err := Decompress(nil, merged, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	got, want := newContents(), newContents()
	got.add(t, decoded, V2, false, everything)
	for range 2 {
		want.add(t, raw, V2, false, r.takesGood)
	}
	expectSame(t, "merge", got, want)
	_, req, _ := decodeV2(decoded)
	byTheBook(t, req)
}
