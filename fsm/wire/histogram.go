package wire

import (
	"fmt"
	"math"
)

// Schemas of native histograms, as model/histogram of Prometheus knows them. Those between the valid and the
// reserved bounds are legal on the wire: a receiver reduces their resolution.
const (
	schemaCustom = -53
	schemaMin    = -9
	schemaMax    = 52
)

// bucketSpan is a run of buckets: the gap before it and its length.
type bucketSpan struct {
	offset int32
	length uint32
}

// buckets is one side of a histogram: deltas for integer histograms, counts for float histograms.
type buckets struct {
	spans  []bucketSpan
	deltas []int64
	counts []float64
}

// nativeHistogram is the scratch space into which one histogram is read to check it.
type nativeHistogram struct {
	float         bool // the last count was a float
	count         uint64
	countFloat    float64
	zero          uint64
	zeroFloat     float64
	sum           float64
	schema        int32
	zeroThreshold float64
	negative      buckets
	positive      buckets
	custom        []float64
	time          int64
}

func (s *buckets) reset() {
	s.spans, s.deltas, s.counts = s.spans[:0], s.deltas[:0], s.counts[:0]
}

func (h *nativeHistogram) reset() {
	n, p, c := h.negative, h.positive, h.custom[:0]
	n.reset()
	p.reset()
	*h = nativeHistogram{negative: n, positive: p, custom: c}
}

// read checks the structure of the histogram in b[pos:] and takes what validation needs. The message is the
// same in both protocols but for the start timestamp, field 17 of 2.0.
func (h *nativeHistogram) read(b []byte, pos int, p Protocol) error {
	h.reset()
	for pos < len(b) {
		num, typ, body, err := header(b, pos)
		if err != nil {
			return err
		}
		switch {
		case num <= 7:
			pos, err = h.readScalar(b, body, num, typ)
		case num <= 10:
			pos, err = h.negative.read(b, body, num-8, typ)
		case num <= 13:
			pos, err = h.positive.read(b, body, num-11, typ)
		case num == 14:
			_, pos, err = number(b, body, typ, "a histogram's reset hint")
		case num == 15:
			var v uint64
			v, pos, err = number(b, body, typ, "a histogram's timestamp")
			h.time = int64(v)
		case num == 16:
			h.custom, pos, err = doubles(h.custom, b, body, typ, "a histogram's custom values")
		case num == 17 && p == V2:
			_, pos, err = number(b, body, typ, "a histogram's start timestamp")
		default:
			pos, err = skip(b, pos)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (h *nativeHistogram) readScalar(b []byte, pos int, num int32, typ uint8) (next int, err error) {
	var v uint64
	switch num {
	case 1:
		h.count, next, err = number(b, pos, typ, "a histogram's count")
		h.float, h.countFloat = false, 0
	case 2:
		v, next, err = double(b, pos, typ, "a histogram's float count")
		h.float, h.count, h.countFloat = true, 0, math.Float64frombits(v)
	case 3:
		v, next, err = double(b, pos, typ, "a histogram's sum")
		h.sum = math.Float64frombits(v)
	case 4:
		v, next, err = number(b, pos, typ, "a histogram's schema")
		h.schema = zigzag32(v)
	case 5:
		v, next, err = double(b, pos, typ, "a histogram's zero threshold")
		h.zeroThreshold = math.Float64frombits(v)
	case 6:
		h.zero, next, err = number(b, pos, typ, "a histogram's zero count")
		h.zeroFloat = 0
	case 7:
		v, next, err = double(b, pos, typ, "a histogram's float zero count")
		h.zero, h.zeroFloat = 0, math.Float64frombits(v)
	}
	return next, err
}

// read takes one field of a side; which counts from the side's first field: spans, deltas, counts.
func (s *buckets) read(b []byte, pos int, which int32, typ uint8) (next int, err error) {
	switch which {
	case 0:
		start, end, err := content(b, pos, typ, "a bucket span")
		if err != nil {
			return 0, err
		}
		span, err := readSpan(b[:end], start)
		s.spans = append(within(s.spans), span)
		return end, err
	case 1:
		s.deltas, next, err = deltas(s.deltas, b, pos, typ)
	default:
		s.counts, next, err = doubles(s.counts, b, pos, typ, "bucket counts")
	}
	return next, err
}

// within keeps memory within bounds: a histogram with that much is refused for its length whatever it holds.
func within[T any](list []T) []T {
	if len(list) >= bucketsMax {
		return list[:0]
	}
	return list
}

func readSpan(b []byte, pos int) (s bucketSpan, err error) {
	for pos < len(b) {
		num, typ, p, err := header(b, pos)
		if err != nil {
			return s, err
		}
		var v uint64
		switch num {
		case 1:
			v, pos, err = number(b, p, typ, "a span's offset")
			s.offset = zigzag32(v)
		case 2:
			v, pos, err = number(b, p, typ, "a span's length")
			s.length = uint32(v)
		default:
			pos, err = skip(b, pos)
		}
		if err != nil {
			return s, err
		}
	}
	return s, nil
}

func zigzag32(v uint64) int32 { return int32(uint32(v)>>1) ^ -int32(v&1) }

func zigzag64(v uint64) int64 { return int64(v>>1) ^ -int64(v&1) }

// deltas reads bucket deltas, packed or one by one.
func deltas(dst []int64, b []byte, pos int, typ uint8) ([]int64, int, error) {
	const what = "bucket deltas"
	if typ == typeVarint {
		v, next, err := number(b, pos, typ, what)
		return append(within(dst), zigzag64(v)), next, err
	}
	start, end, err := content(b, pos, typ, what)
	if err != nil {
		return dst, 0, err
	}
	for p := start; p < end; {
		v, next := varint(b[:end], p)
		if next < 0 {
			return dst, 0, damage(b[:end], p, next, expectedWithin)
		}
		dst, p = append(within(dst), zigzag64(v)), next
	}
	return dst, end, nil
}

// doubles reads floating point numbers, packed or one by one.
func doubles(dst []float64, b []byte, pos int, typ uint8, what string) ([]float64, int, error) {
	if typ == typeFixed64 {
		v, next, err := double(b, pos, typ, what)
		return append(within(dst), math.Float64frombits(v)), next, err
	}
	start, end, err := content(b, pos, typ, what)
	if err != nil {
		return dst, 0, err
	}
	for p := start; p < end; {
		v, next := fixed64(b[:end], p)
		if next < 0 {
			return dst, 0, damage(b[:end], p, next, expectedWithin)
		}
		dst, p = append(within(dst), math.Float64frombits(v)), next
	}
	return dst, end, nil
}

// fault says what is wrong with the histogram, or "". The rules are those by which a Prometheus TSDB takes or
// refuses one; of schemas that no one knows yet nothing can be said.
func (h *nativeHistogram) fault() string {
	switch {
	case h.schema == schemaCustom:
		if f := h.customFault(); f != "" {
			return f
		}
	case h.schema >= schemaMin && h.schema <= schemaMax:
		if f := h.exponentialFault(); f != "" {
			return f
		}
	default:
		return ""
	}
	if h.float {
		return h.floatFault()
	}
	return h.countFault()
}

func (h *nativeHistogram) customFault() string {
	if f := boundsFault(h.custom); f != "" {
		return f
	}
	var length, total int
	for i, s := range h.positive.spans {
		if s.offset < 0 {
			return fmt.Sprintf("span %d has the negative offset %d", i+1, s.offset)
		}
		length += int(s.length)
		total += int(s.length) + int(s.offset)
	}
	if n := h.positive.len(h.float); n != length {
		return fmt.Sprintf("spans need %d buckets, there are %d", length, n)
	}
	if len(h.custom)+1 < total {
		return fmt.Sprintf("%d custom bounds do not cover a span length of %d", len(h.custom), total)
	}
	switch {
	case h.float && h.zeroFloat != 0, !h.float && h.zero != 0:
		return "custom buckets with a zero bucket"
	case h.zeroThreshold != 0:
		return "custom buckets with a zero threshold"
	case len(h.negative.spans) > 0 || h.negative.len(h.float) > 0:
		return "custom buckets with negative buckets"
	}
	return ""
}

func boundsFault(bounds []float64) string {
	for i, v := range bounds {
		switch {
		case math.IsNaN(v):
			return "a custom bound is not a number"
		case i > 0 && v <= bounds[i-1]:
			return fmt.Sprintf("custom bound %v follows %v", v, bounds[i-1])
		}
	}
	if n := len(bounds); n > 0 && math.IsInf(bounds[n-1], 1) {
		return "the last custom bound is +Inf, which must not be given"
	}
	return ""
}

func (h *nativeHistogram) exponentialFault() string {
	if f := h.positive.spanFault(h.float); f != "" {
		return "positive side: " + f
	}
	if f := h.negative.spanFault(h.float); f != "" {
		return "negative side: " + f
	}
	if len(h.custom) > 0 {
		return "exponential buckets with custom bounds"
	}
	return ""
}

func (s *buckets) len(float bool) int {
	if float {
		return len(s.counts)
	}
	return len(s.deltas)
}

func (s *buckets) spanFault(float bool) string {
	total := 0
	for i, span := range s.spans {
		if i > 0 && span.offset < 0 {
			return fmt.Sprintf("span %d has the negative offset %d", i+1, span.offset)
		}
		total += int(span.length)
	}
	if n := s.len(float); n != total {
		return fmt.Sprintf("spans need %d buckets, there are %d", total, n)
	}
	return ""
}

// sum adds up the buckets of an integer histogram; negative is the first bucket (from 1) below zero. Overflow
// wraps, as it does in Prometheus.
func (s *buckets) sum() (total uint64, negative int) {
	var last int64
	for i, d := range s.deltas {
		if last += d; last < 0 {
			return 0, i + 1
		}
		total += uint64(last)
	}
	return total, 0
}

// countFault compares an integer histogram's count with its buckets. An observation that is not a number is in
// no bucket, and makes the sum not a number.
func (h *nativeHistogram) countFault() string {
	n, bad := h.negative.sum()
	if bad > 0 && h.schema != schemaCustom {
		return fmt.Sprintf("negative side: bucket %d is below zero", bad)
	}
	p, bad := h.positive.sum()
	if bad > 0 {
		return fmt.Sprintf("positive side: bucket %d is below zero", bad)
	}
	total := n + p + h.zero
	if total > h.count || total != h.count && !math.IsNaN(h.sum) {
		return fmt.Sprintf("its buckets hold %d observations, its count says %d", total, h.count)
	}
	return ""
}

// floatFault does not compare counts: sums of floating point numbers differ by rounding.
func (h *nativeHistogram) floatFault() string {
	for _, c := range h.negative.counts {
		if c < 0 {
			return fmt.Sprintf("negative side: a bucket holds %v", c)
		}
	}
	if h.zeroFloat < 0 {
		return fmt.Sprintf("its zero bucket holds %v", h.zeroFloat)
	}
	if h.countFloat < 0 {
		return fmt.Sprintf("its count is %v", h.countFloat)
	}
	for _, c := range h.positive.counts {
		if c < 0 {
			return fmt.Sprintf("positive side: a bucket holds %v", c)
		}
	}
	return ""
}
