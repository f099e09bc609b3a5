package wire

import (
	"bytes"
	"errors"
	"fmt"
)

// ErrUncuttable is returned, wrapped, by Parts when one sample with its labels does not fit. Scan refuses such
// series for the size in Request.MaxStored, so it can only happen with a smaller one.
var ErrUncuttable = errors.New("wire: one sample with its labels exceeds the limit")

// unit is the smallest thing that Parts moves as a whole: a series, or a range of its elements, or a field of the
// request that is not a series.
type unit struct {
	series   int32 // index into Series; negative: extra ^series
	from, to int32 // range of elements; to < 0: the series as it is
}

// Parts writes the picked series (nil: all) into stored bodies of at most maxStored bytes each (zero: what Scan
// was told). Series that Scan refused are left out, picked or not. strip removes the replica labels. withMetadata
// adds what the request holds besides series: metadata of 1.0 and unknown fields; it comes first. A request is cut
// between series where possible, else between the samples of one series. Samples keep their order. Parts of a 2.0 body
// are also held to WrittenOutMax, if maxStored is less than that. The bodies are newly allocated.
func (r *Request) Parts(pick []int32, strip, withMetadata bool, maxStored int) ([]Part, error) {
	if maxStored <= 0 {
		maxStored = r.maxStored()
	}
	r.choose(pick, withMetadata)
	c := cutter{r: r, strip: strip, max: maxStored, ratio: 3}
	if r.WrittenOut > WrittenOutMax && maxStored < WrittenOutMax { // else a part may be larger than that as it is
		c.ruler = r.ruler()
	}
	for at := 0; at < len(r.units); {
		n, err := c.cut(at)
		if err != nil {
			return nil, err
		}
		at += n
	}
	return c.parts, nil
}

// choose lists the units to write.
func (r *Request) choose(pick []int32, withMetadata bool) {
	r.units = r.units[:0]
	if withMetadata {
		for i := range r.extra {
			r.units = append(r.units, unit{series: ^int32(i)})
		}
	}
	if pick != nil {
		for _, i := range pick {
			r.chooseSeries(i)
		}
		return
	}
	for i := range r.Series {
		r.chooseSeries(int32(i))
	}
}

func (r *Request) chooseSeries(i int32) {
	s := &r.Series[i]
	switch {
	case s.Reason != "":
	case r.Protocol == V2 && s.Counts.Floats > 0 && s.Counts.Histograms > 0:
		first := int32(s.Counts.Floats + s.Counts.Exemplars)
		r.units = append(r.units, unit{i, 0, first}, unit{i, first, first + int32(s.Counts.Histograms)})
	default:
		r.units = append(r.units, unit{series: i, to: -1})
	}
}

// cutter turns units into parts.
type cutter struct {
	r     *Request
	strip bool
	max   int
	ratio float64 // how well the last part compressed, a little less
	ruler *Ruler  // nil: whatever the units are when they are written out
	parts []Part
}

// wide is how many of some units stay below WrittenOutMax, one at least.
func (c *cutter) wide(units []unit) int {
	if c.ruler == nil {
		return len(units)
	}
	var sum int64
	for i, u := range units {
		if u.series < 0 {
			continue
		}
		s := &c.r.Series[u.series]
		n, _ := c.ruler.series(c.r.raw[:s.end], int(s.start)) // was read by Scan
		if sum += n; sum > WrittenOutMax && i > 0 {
			return i
		}
	}
	return len(units)
}

// cut makes one part of the units from at on and returns how many went into it. How much fits is known only
// after compression, so it tries with what fitted last time and takes less if that was too much.
func (c *cutter) cut(at int) (n int, err error) {
	most := c.wide(c.r.units[at:])
	for {
		raw, counts, n := c.r.write(c.r.units[at:at+most], c.strip, int(c.ratio*float64(c.max)))
		c.r.stored = Compress(c.r.stored, raw)
		stored := c.r.stored
		if len(stored) <= c.max {
			c.parts = append(c.parts, Part{Body: bytes.Clone(stored), Counts: counts})
			c.ratio = max(1, 0.95*float64(len(raw))/float64(len(stored)))
			return n, nil
		}
		if n == 1 {
			if err := c.r.split(at, len(stored), c.max); err != nil {
				return 0, err
			}
			most = 1
			continue
		}
		c.ratio = 0.9 * float64(len(raw)) / float64(len(stored))
		if most = n - 1; len(raw) <= int(c.ratio*float64(c.max)) || n < 8 {
			most = n / 2
		}
	}
}

// split replaces a unit by its two halves.
func (r *Request) split(at, stored, limit int) error {
	u := r.units[at]
	if u.series < 0 {
		return fmt.Errorf("%w: a field of the request takes %d bytes of %d", ErrUncuttable, stored, limit)
	}
	if u.to < 0 {
		r.readElements(&r.Series[u.series])
		u.from, u.to = 0, int32(len(r.elements))
	}
	if u.to-u.from < 2 {
		return fmt.Errorf("%w: series %d takes %d bytes of %d", ErrUncuttable, u.series, stored, limit)
	}
	middle := (u.from + u.to) / 2
	r.units = append(r.units, unit{})
	copy(r.units[at+1:], r.units[at:])
	r.units[at] = unit{u.series, u.from, middle}
	r.units[at+1] = unit{u.series, middle, u.to}
	return nil
}

// write puts units into one body until it has target bytes, at least one, and returns how many they were.
func (r *Request) write(units []unit, strip bool, target int) (raw []byte, counts Counts, n int) {
	if r.Protocol == V2 {
		return r.writeV2(units, strip, target)
	}
	dst := r.out[:0]
	for n < len(units) && (n == 0 || len(dst) < target) {
		dst = r.writeUnitV1(dst, units[n], strip, &counts)
		n++
	}
	r.out = dst
	return dst, counts, n
}

func (r *Request) writeUnitV1(dst []byte, u unit, strip bool, counts *Counts) []byte {
	if u.series < 0 {
		return r.writeExtra(dst, u, counts)
	}
	s := &r.Series[u.series]
	if u.to >= 0 {
		return r.writePieceV1(dst, s, u, strip, counts)
	}
	counts.add(&s.Counts)
	if !strip || s.n == 0 {
		return append(dst, r.raw[s.head:s.end]...)
	}
	cuts := r.replicaLabels(s)
	size := int(s.end - s.start)
	for _, c := range cuts {
		size -= c.len()
	}
	dst = appendTag(dst, requestSeriesV1, size)
	pos := s.start
	for _, c := range cuts {
		dst = append(dst, r.raw[pos:c.start]...)
		pos = c.end
	}
	return append(dst, r.raw[pos:s.end]...)
}

func (r *Request) writeExtra(dst []byte, u unit, counts *Counts) []byte {
	x := r.extra[^u.series]
	if x.metadata {
		counts.Metadata++
	}
	return append(dst, r.bytes(x.span)...)
}

// writePieceV1 writes some elements of a series, with its labels and unknown fields.
func (r *Request) writePieceV1(dst []byte, s *Series, u unit, strip bool, counts *Counts) []byte {
	r.readElements(s)
	elements := r.elements[u.from:u.to]
	from := len(dst)
	f := r.fields(s)
	for f.next() {
		if _, ok := V1.kindOf(f.num); ok || strip && r.isCut(s, f.head) {
			continue
		}
		dst = append(dst, r.raw[f.head:f.end]...)
	}
	piece := Counts{Series: 1}
	for _, e := range elements {
		r.countElement(&piece, e)
		dst = append(dst, r.bytes(e.field)...)
	}
	counts.add(&piece)
	return frame(dst, from, requestSeriesV1)
}

func (r *Request) isCut(s *Series, head int) bool {
	for _, c := range r.replicaLabels(s) {
		if int(c.start) == head {
			return true
		}
	}
	return false
}

// frame makes what was appended since from the content of a length-delimited field.
func frame(dst []byte, from int, num byte) []byte {
	size := len(dst) - from
	n := 1 + uvarintLen(uint64(size))
	var room [11]byte
	dst = append(dst, room[:n]...)
	copy(dst[from+n:], dst[from:from+size])
	appendTag(dst[:from], num, size)
	return dst
}
