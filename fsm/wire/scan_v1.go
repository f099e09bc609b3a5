package wire

import (
	"encoding/binary"
	"fmt"
)

// scanV1 reads a prometheus.WriteRequest: series as field 1, metadata as field 3.
func (r *Request) scanV1() error {
	b := r.raw
	foreign := 0 // fields that 2.0 has at this place
	for pos := 0; pos < len(b); {
		num, typ, p, err := header(b, pos)
		if err != nil {
			return err
		}
		switch num {
		case 1:
			start, end, err := content(b, p, typ, "a series")
			if err != nil {
				return err
			}
			r.current = len(r.Series)
			s := r.add(pos, start, end)
			if err := r.seriesV1(b[:end], start, s); err != nil {
				return err
			}
			r.finish(s)
			if err := r.checkLimits(); err != nil {
				return err
			}
			pos = end
		case 3:
			start, end, err := content(b, p, typ, "metadata")
			if err != nil {
				return err
			}
			if err := checkMetadataV1(b[:end], start); err != nil {
				return err
			}
			r.Counts.Metadata++
			if err := r.keep(pos, end, true); err != nil {
				return err
			}
			pos = end
		default:
			next, err := skip(b, pos)
			if err != nil {
				return err
			}
			if (num == 4 || num == 5) && typ == typeBytes {
				foreign++
			}
			if err := r.keep(pos, next, false); err != nil {
				return err
			}
			pos = next
		}
	}
	if foreign > 0 && len(r.Series) == 0 && r.Counts.Metadata == 0 {
		return damageOther(V1, V2)
	}
	return nil
}

// keep remembers a field of the request that is not a series: it goes into the first part.
func (r *Request) keep(start, end int, metadata bool) error {
	if end-start > r.rawMax {
		return &DamageError{Offset: start, Expected: "metadata and unknown fields that fit an entry", Got: fmt.Sprintf("one of %d bytes", end-start)}
	}
	r.extra = append(r.extra, extra{span{int32(start), int32(end)}, metadata})
	return r.checkLimits()
}

// seriesV1 reads a series. What all encoders write, labels first and then one sample, goes through shortLabels and
// shortSample; the loop takes what they leave, which may be everything.
func (r *Request) seriesV1(b []byte, pos int, s *Series) error {
	r.named.reset(len(r.matcher.pairs))
	var c labelCheck
	pos = r.shortLabels(b, pos, s, &c)
	pos = r.shortSample(b, pos, s)
	for pos < len(b) {
		head := pos
		num, start, end, err := seriesField(b, pos)
		if err != nil {
			return err
		}
		pos = end
		switch num {
		case fieldLabels:
			l, err := readLabel(b[:end], start)
			if err != nil {
				return err
			}
			r.labelV1(s, &c, l, head, end)
		case fieldSamples:
			t, err := sampleTime(b[:end], start, 2)
			if err != nil {
				return err
			}
			s.Counts.at(t)
			s.Counts.Floats++
		case exemplarsV1:
			if err := checkExemplarV1(b[:end], start); err != nil {
				return err
			}
			s.Counts.Exemplars++
		case histogramsV1:
			if err := r.histogram(b[:end], start, s); err != nil {
				return err
			}
		}
	}
	r.judgeLabels(s, &c)
	r.judgeSize(s, c.bytes, 0)
	return nil
}

// shortLabels reads the labels at the beginning of a series for as long as they are written as every encoder does
// (name, value, nothing else, all lengths below 128) and returns where it stopped. It is the hottest loop of all and
// does in one go what labelV1 does for any label.
func (r *Request) shortLabels(b []byte, pos int, s *Series, c *labelCheck) int {
	const label, name, value = fieldLabels<<3 | typeBytes, 1<<3 | typeBytes, 2<<3 | typeBytes
	raw, table := r.raw, &r.matcher.table
	c.from = pos
	for pos+4 <= len(b) && b[pos] == label && b[pos+2] == name && b[pos+1] < 0x80 {
		n, start := int(b[pos+3]), pos+4
		v, end := start+n, pos+2+int(b[pos+1])
		if end > len(b) || v+2 > end || b[v] != value || v+2+int(b[v+1]) != end || start+8 > len(raw) {
			break // all this implies lengths below 128
		}
		prefix := binary.BigEndian.Uint64(raw[start:])
		if n < 8 {
			prefix &= ^uint64(0) << (64 - 8*uint(n))
		}
		last := c.last
		c.last = span{int32(start), int32(v)}
		if prefix <= c.prefix && c.count > 0 && (prefix < c.prefix || string(raw[start:v]) <= string(raw[last.start:last.end])) {
			s.sorted = false
		}
		c.prefix = prefix
		c.count++
		switch {
		case prefix == metricPrefix && n == len(metricName):
			c.metric, c.hasMetric = span{int32(v + 2), int32(end)}, true
		case n == 0:
			c.nameless = true
		}
		if table[watchSlot(prefix, n)] != 0 {
			r.watchedV1(s, labelSpan{c.last, span{int32(v + 2), int32(end)}}, prefix, pos, end)
		}
		pos = end
	}
	c.to, c.bytes = pos, pos-c.from
	return pos
}

// shortSample reads one sample at pos if it is written as every encoder does, with a value that is not zero and a
// time of our days.
func (r *Request) shortSample(b []byte, pos int, s *Series) int {
	const size = 1 + 8 + 1 + 6
	end := pos + 2 + size
	if end > len(b) || end+2 > len(r.raw) || b[pos] != fieldSamples<<3|typeBytes || b[pos+1] != size ||
		b[pos+2] != 1<<3|typeFixed64 || b[pos+11] != 2<<3|typeVarint {
		return pos
	}
	t, ok := varint6(r.raw, pos+12)
	if !ok {
		return pos
	}
	s.Counts.at(int64(t))
	s.Counts.Floats++
	return end
}

// seriesField reads any field of a series; what is not known in 1.0 is skipped.
func seriesField(b []byte, pos int) (num int32, start, end int, err error) {
	num, typ, p, err := header(b, pos)
	if err != nil {
		return 0, 0, 0, err
	}
	if num > histogramsV1 {
		end, err = skip(b, pos)
		return num, p, end, err
	}
	start, end, err = content(b, p, typ, "labels, samples, exemplars or histograms of a series")
	return num, start, end, err
}

// histogram reads one histogram of a series, in either protocol.
func (r *Request) histogram(b []byte, pos int, s *Series) error {
	h := &r.scratch
	if err := h.read(b, pos, r.Protocol); err != nil {
		return err
	}
	s.Counts.at(h.time)
	s.Counts.Histograms++
	if size := len(b) - pos; size > r.rawMax {
		r.refuse(s, ReasonSampleTooLong, "histogram at %d ms takes %d bytes, an entry has room for %d", h.time, size, r.rawMax)
	} else if f := h.fault(); f != "" {
		r.refuse(s, ReasonBadHistogram, "histogram at %d ms: %s", h.time, f)
	}
	return nil
}

// labelV1 takes a label into account while the series is read.
func (r *Request) labelV1(s *Series, c *labelCheck, l labelSpan, head, end int) {
	off, n := int(l.name.start), l.name.len()
	prefix := prefixOf(r.raw, off, n)
	if prefix <= c.prefix && c.count > 0 && (prefix < c.prefix || string(r.bytes(l.name)) <= string(r.bytes(c.last))) {
		s.sorted = false
	}
	if c.count == 0 {
		c.from = head // shortLabels found none
	}
	c.prefix, c.last = prefix, l.name
	c.count++
	c.to = end
	c.bytes += end - head
	switch {
	case prefix == metricPrefix && n == len(metricName):
		c.metric, c.hasMetric = l.value, true
	case n == 0:
		c.nameless = true
	}
	if r.matcher.table[watchSlot(prefix, n)] != 0 {
		r.watchedV1(s, l, prefix, head, end)
	}
}

// watchedV1 looks whether a label is one of those that identify.
func (r *Request) watchedV1(s *Series, l labelSpan, prefix uint64, head, end int) {
	w := r.matcher.find(r.raw, int(l.name.start), l.name.len(), prefix)
	if w == nil {
		return
	}
	r.named.note(w, l.value)
	if w.replica {
		r.cuts = append(r.cuts, span{int32(head), int32(end)})
		s.n++
		s.Replica = true
	}
}

// checkExemplarV1 checks an exemplar's structure. Its labels are not validated: no receiver refuses samples for
// them.
func checkExemplarV1(b []byte, pos int) error {
	for pos < len(b) {
		num, typ, p, err := header(b, pos)
		if err != nil {
			return err
		}
		switch num {
		case 1:
			var start int
			if start, pos, err = content(b, p, typ, "an exemplar's label"); err == nil {
				_, err = readLabel(b[:pos], start)
			}
		case 2:
			_, pos, err = double(b, p, typ, "an exemplar's value")
		case 3:
			_, pos, err = number(b, p, typ, "an exemplar's timestamp")
		default:
			pos, err = skip(b, pos)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func checkMetadataV1(b []byte, pos int) error {
	for pos < len(b) {
		num, typ, p, err := header(b, pos)
		if err != nil {
			return err
		}
		switch num {
		case 1:
			_, pos, err = number(b, p, typ, "a metric's type")
		case 2, 4, 5:
			_, pos, err = content(b, p, typ, "a metric's name, help or unit")
		default:
			pos, err = skip(b, pos)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
