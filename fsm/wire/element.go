package wire

// Field numbers of what a series holds. 1.0 and 2.0 differ.
const (
	fieldLabels      = 1
	fieldSamples     = 2
	exemplarsV1      = 3
	histogramsV1     = 4
	histogramsV2     = 3
	exemplarsV2      = 4
	fieldMetadataV2  = 5
	requestSeriesV1  = 1
	requestSymbols   = 4
	requestSeriesV2  = 5
	requestMetadata  = 3
	fieldStartTimeV2 = 17 // of a histogram
)

type elementKind uint8

const (
	elementSample elementKind = iota
	elementHistogram
	elementExemplar
)

// element is one sample, histogram or exemplar of a series: the whole field, and its content.
type element struct {
	field span
	start int32
	kind  elementKind
}

func (p Protocol) kindOf(num int32) (elementKind, bool) {
	switch {
	case num == fieldSamples:
		return elementSample, true
	case p == V1 && num == histogramsV1, p == V2 && num == histogramsV2:
		return elementHistogram, true
	case p == V1 && num == exemplarsV1, p == V2 && num == exemplarsV2:
		return elementExemplar, true
	}
	return 0, false
}

// readElements collects what a series holds in r.elements, in the order in which it may be cut: exemplars spread between
// the samples, because a 2.0 series without a sample is refused by receivers; in 2.0 histograms after the samples,
// because they must not be in one series. Samples, histograms and exemplars each keep their order.
func (r *Request) readElements(s *Series) {
	r.elements = r.elements[:0]
	first := elementSample
	if s.Counts.Floats == 0 {
		first = elementHistogram
	}
	if r.Protocol == V1 {
		r.collect(s, func(k elementKind) bool { return k != elementExemplar })
	} else {
		r.collect(s, func(k elementKind) bool { return k == first })
	}
	samples := len(r.elements)
	r.collect(s, func(k elementKind) bool { return k == elementExemplar })
	r.spread(samples)
	if r.Protocol == V2 && first == elementSample {
		r.collect(s, func(k elementKind) bool { return k == elementHistogram })
	}
}

func (r *Request) collect(s *Series, want func(elementKind) bool) {
	f := r.fields(s)
	for f.next() {
		if k, ok := r.Protocol.kindOf(f.num); ok && want(k) {
			r.elements = append(r.elements, element{span{int32(f.head), int32(f.end)}, int32(f.start), k})
		}
	}
}

// spread mixes the elements from n on evenly with the n before them: as many behind each as there must be.
func (r *Request) spread(n int) {
	others := len(r.elements) - n
	if n == 0 || others == 0 {
		return
	}
	mixed := make([]element, 0, len(r.elements))
	behind := (others + n - 1) / n
	rest := r.elements[n:]
	for _, e := range r.elements[:n] {
		mixed = append(mixed, e)
		k := min(behind, len(rest))
		mixed = append(mixed, rest[:k]...)
		rest = rest[k:]
	}
	copy(r.elements, mixed)
}

// countElement adds one element to the counts of a piece.
func (r *Request) countElement(c *Counts, e element) {
	b, pos := r.raw[:e.field.end], int(e.start)
	switch e.kind {
	case elementExemplar:
		c.Exemplars++
	case elementSample:
		t, _ := readSample(b, pos)
		c.at(t)
		c.Floats++
	case elementHistogram:
		t, _ := readHistogram(b, pos)
		c.at(t)
		c.Histograms++
	}
}

// Samples appends what series i holds to dst, in the order of the body.
func (r *Request) Samples(i int, dst []Sample) []Sample {
	f := r.fields(&r.Series[i])
	for f.next() {
		switch k, ok := r.Protocol.kindOf(f.num); {
		case ok && k == elementSample:
			t, bits := readSample(f.b[:f.end], f.start)
			dst = append(dst, Sample{Time: t, Value: fromBits(bits)})
		case ok && k == elementHistogram:
			t, sum := readHistogram(f.b[:f.end], f.start)
			dst = append(dst, Sample{Time: t, Value: sum, Histogram: true})
		}
	}
	return dst
}

// frameBytes is more than the tag and length of a series and an empty first symbol take.
const frameBytes = 32

// judgeSize refuses a series that cannot be cut into pieces that fit an entry, though its labels do. labels is what
// those take in a body of their own, others what the symbols of its exemplars and metadata do.
func (r *Request) judgeSize(s *Series, labels, others int) {
	size := int(s.end-s.start) + others + frameBytes
	if r.Protocol == V2 {
		size += labels
	}
	if size <= r.rawMax || s.Reason != "" {
		return
	}
	if piece := r.smallestPiece(s) + labels + frameBytes; piece > r.rawMax {
		r.refuse(s, ReasonSampleTooLong, "one sample with labels takes %d bytes, an entry has room for %d", piece, r.rawMax)
	}
}

// smallestPiece is what the largest element of a series takes, with all that must accompany it but the labels.
func (r *Request) smallestPiece(s *Series) int {
	largest, always := 0, 0
	f := r.fields(s)
	for f.next() {
		n := f.end - f.head
		k, ok := r.Protocol.kindOf(f.num)
		switch {
		case ok && k == elementExemplar && r.Protocol == V2:
			weight, _ := r.exemplarV2(f.b[:f.end], f.start, s)
			largest = max(largest, n+weight)
		case ok:
			largest = max(largest, n)
		case f.num == fieldLabels:
		case f.num == fieldMetadataV2 && r.Protocol == V2:
			var m metadataV2
			_ = m.read(f.b[:f.end], f.start) // was read before
			always += n + r.refWeight(s, m.help) + r.refWeight(s, m.unit)
		default:
			always += n
		}
	}
	return largest + always
}
