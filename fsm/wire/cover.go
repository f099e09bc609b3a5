package wire

import "errors"

// verdict is what Cover does with a series.
type verdict uint8

const (
	stays   verdict = iota // as it is
	goes                   // refused by Scan, or covered wholly
	shrinks                // loses the samples at or below its line
)

// coverage is the verdict about one series, with its line if it shrinks.
type coverage struct {
	verdict verdict
	line    int64
}

// Times calls fn with the time of each sample of series i, floats and histograms, in Unix milliseconds and in the
// order of the body. It is good for refused series as well.
func (r *Request) Times(i int, fn func(ms int64)) {
	s := &r.Series[i]
	if s.Counts.Samples() == 1 { // nearly always
		fn(s.Counts.MinTime)
		return
	}
	f := r.fields(s)
	for f.next() {
		if k, ok := r.Protocol.kindOf(f.num); ok && k != elementExemplar {
			fn(timeOf(f.b[:f.end], f.start, k))
		}
	}
}

// timeOf is the time of a sample or histogram that has been checked before.
func timeOf(b []byte, pos int, k elementKind) int64 {
	if k == elementHistogram {
		t, _ := histogramTime(b, pos)
		return t
	}
	t, _ := sampleTime(b, pos, 3)
	return t
}

// Cover writes a decoded body without what is covered, in dst's memory, which must not be the scanned body's, and
// returns how many samples (floats and histograms) that were. A sample is covered if it is at or below the line that
// line returns for the SeriesHash of its series; a series without a known line stays whole. A series that loses all
// its samples goes, with its exemplars and, in 2.0, its metadata. One that never had a sample stays, and so does
// whatever else the request holds. Series that Scan refused are not written: what Scan says of them must be taken
// from r before the result is scanned in its place. If nothing was covered and no series refused, the result is the
// body as it came.
//
// line is called once for each good series that has samples. seen, which may be nil, is told the smallest time that
// stays of each series of which a sample does.
func (r *Request) Cover(dst []byte, l Labels, line func(hash uint64) (upTo int64, known bool), seen func(hash uint64, first int64)) (raw []byte, covered uint64, err error) {
	if r.Protocol == 0 {
		return nil, 0, errors.New("wire: nothing to cover before a body was scanned")
	}
	r.covers = r.covers[:0]
	m := r.matcherOf(l)
	for i := range r.Series {
		c, n := r.judgeCover(&r.Series[i], m, line, seen)
		r.covers = append(r.covers, c)
		covered += n
	}
	switch {
	case covered == 0 && r.Bad == 0:
		return append(dst[:0], r.raw...), 0, nil
	case r.Protocol == V2:
		return r.coverV2(dst), covered, nil
	}
	return r.coverV1(dst), covered, nil
}

// judgeCover decides about one series; n is how many of its samples are covered.
func (r *Request) judgeCover(s *Series, m *matcher, line func(uint64) (int64, bool), seen func(uint64, int64)) (c coverage, n uint64) {
	switch {
	case s.Reason != "":
		return coverage{verdict: goes}, 0
	case s.Counts.Samples() == 0:
		return coverage{verdict: stays}, 0
	}
	hash := r.hash(s, m)
	first := s.Counts.MinTime
	upTo, known := line(hash)
	switch {
	case !known || first > upTo:
	case s.Counts.MaxTime <= upTo:
		return coverage{verdict: goes}, s.Counts.Samples()
	default:
		c = coverage{verdict: shrinks, line: upTo}
		n, first = r.countCovered(s, upTo)
	}
	if seen != nil {
		seen(hash, first)
	}
	return c, n
}

// countCovered counts the samples at or below the line and returns the smallest time above it.
func (r *Request) countCovered(s *Series, line int64) (n uint64, first int64) {
	first = s.Counts.MaxTime
	f := r.fields(s)
	for f.next() {
		k, ok := r.Protocol.kindOf(f.num)
		if !ok || k == elementExemplar {
			continue
		}
		if t := timeOf(f.b[:f.end], f.start, k); t <= line {
			n++
		} else {
			first = min(first, t)
		}
	}
	return n, first
}

// coverV1 copies the body but for the series that go or shrink.
func (r *Request) coverV1(dst []byte) []byte {
	dst = dst[:0]
	pos := int32(0)
	for i := range r.Series {
		s, c := &r.Series[i], r.covers[i]
		if c.verdict == stays {
			continue
		}
		dst = append(dst, r.raw[pos:s.head]...)
		if c.verdict == shrinks {
			dst = r.shrinkV1(dst, s, c.line)
		}
		pos = s.end
	}
	return append(dst, r.raw[pos:]...)
}

func (r *Request) shrinkV1(dst []byte, s *Series, line int64) []byte {
	from := len(dst)
	f := r.fields(s)
	for f.next() {
		k, ok := V1.kindOf(f.num)
		if !ok || k == elementExemplar || timeOf(f.b[:f.end], f.start, k) > line {
			dst = append(dst, f.b[f.head:f.end]...)
		}
	}
	return frame(dst, from, requestSeriesV1)
}

// coverV2 writes the request again, so that the symbols of what goes do not stay.
func (r *Request) coverV2(dst []byte) []byte {
	w := &r.writer
	w.reset()
	w.from(r)
	r.choose(nil, true)
	var counts Counts
	for _, u := range r.units {
		switch {
		case u.series < 0 || r.covers[u.series].verdict == stays:
			w.unit(r, u, false, &counts)
		case r.covers[u.series].verdict == shrinks && u.from == 0: // the first of its units stands for all
			w.shrink(r, &r.Series[u.series], r.covers[u.series].line)
		}
	}
	dst = w.finish(dst)
	w.forget()
	return dst
}

// shrink writes what stays of a series: samples, else histograms, with the exemplars; then the histograms, if samples
// stay as well.
func (w *writerV2) shrink(r *Request, s *Series, line int64) {
	w.labels(r, s, false)
	above := func(k elementKind) int {
		r.elements = r.elements[:0]
		r.collect(s, func(have elementKind) bool { return have == k })
		r.elements = dropCovered(r, line)
		return len(r.elements)
	}
	floats := above(elementSample)
	if floats == 0 {
		above(elementHistogram)
	}
	r.collect(s, func(k elementKind) bool { return k == elementExemplar })
	w.write(r, s, r.elements)
	if floats > 0 && above(elementHistogram) > 0 {
		w.write(r, s, r.elements)
	}
}

// dropCovered takes the samples and histograms at or below the line from r.elements.
func dropCovered(r *Request, line int64) []element {
	kept := r.elements[:0]
	for _, e := range r.elements {
		if timeOf(r.raw[:e.field.end], int(e.start), e.kind) > line {
			kept = append(kept, e)
		}
	}
	return kept
}
