package wire

import "unicode/utf8"

// scanV2 reads an io.prometheus.write.v2.Request: symbols as field 4, series as field 5. Symbols may stand behind
// the series that use them, so the series are found first and read afterwards.
func (r *Request) scanV2() error {
	if err := r.outlineV2(); err != nil {
		return err
	}
	for i := range r.Series {
		s := &r.Series[i]
		r.current = i
		if err := r.seriesV2(r.raw[:s.end], int(s.start), s); err != nil {
			return err
		}
		r.finish(s)
		if err := r.checkLimits(); err != nil {
			return err
		}
	}
	return nil
}

func (r *Request) outlineV2() error {
	b := r.raw
	foreign := 0 // fields that 1.0 has at this place and 2.0 has reserved
	for pos := 0; pos < len(b); {
		num, typ, p, err := header(b, pos)
		if err != nil {
			return err
		}
		switch num {
		case 4:
			start, end, err := content(b, p, typ, "a symbol")
			if err != nil {
				return err
			}
			r.addSymbol(start, end)
			if err := r.checkLimits(); err != nil {
				return err
			}
			pos = end
		case 5:
			start, end, err := content(b, p, typ, "a series")
			if err != nil {
				return err
			}
			r.add(pos, start, end)
			if err := r.checkLimits(); err != nil {
				return err
			}
			pos = end
		default:
			next, err := skip(b, pos)
			if err != nil {
				return err
			}
			if (num == 1 || num == 3) && typ == typeBytes {
				foreign++
			}
			if err := r.keep(pos, next, false); err != nil {
				return err
			}
			pos = next
		}
	}
	if foreign > 0 && len(r.Series) == 0 && len(r.symbols) == 0 {
		return damageOther(V2, V1)
	}
	if len(r.symbols) > 0 && r.symbols[0].len() != 0 {
		return &DamageError{Offset: int(r.symbols[0].start), Expected: "an empty first symbol", Got: "\"" + quote(r.bytes(r.symbols[0].span)) + "\""}
	}
	return nil
}

func (r *Request) addSymbol(start, end int) {
	s := symbol{span: span{int32(start), int32(end)}}
	s.prefix = prefixOf(r.raw, start, end-start)
	s.watched = r.matcher.find(r.raw, start, end-start, s.prefix)
	s.invalid = !utf8.Valid(r.raw[start:end])
	r.symbols = append(r.symbols, s)
}

// refBytes is more than a reference and its symbol's tag and length take.
const refBytes = 12

func (r *Request) seriesV2(b []byte, pos int, s *Series) error {
	s.from = int32(len(r.refs))
	weight := 0 // of the symbols that exemplars and metadata use
	var m metadataV2
	for pos < len(b) {
		num, typ, p, err := header(b, pos)
		if err != nil {
			return err
		}
		var start, end int
		switch num {
		case 1:
			r.refs, end, err = readRefs(r.refs, b, p, typ)
		case 2:
			var t int64
			if start, end, err = content(b, p, typ, "a sample"); err == nil {
				t, err = sampleTime(b[:end], start, 3)
				s.Counts.at(t)
				s.Counts.Floats++
			}
		case 3:
			if start, end, err = content(b, p, typ, "a histogram"); err == nil {
				err = r.histogram(b[:end], start, s)
			}
		case 4:
			var n int
			if start, end, err = content(b, p, typ, "an exemplar"); err == nil {
				n, err = r.exemplarV2(b[:end], start, s)
				weight += n
				s.Counts.Exemplars++
			}
		case 5:
			if start, end, err = content(b, p, typ, "metadata"); err == nil {
				err = m.read(b[:end], start)
				s.metadata = true
			}
		default:
			end, err = skip(b, pos)
		}
		if err != nil {
			return err
		}
		pos = end
	}
	s.n = int32(len(r.refs)) - s.from
	if s.metadata {
		s.Counts.Metadata = 1
		weight += r.refWeight(s, m.help) + r.refWeight(s, m.unit)
	}
	r.labelsV2(s, weight)
	return nil
}

// refWeight checks a reference that is not a label's and returns what its symbol takes.
func (r *Request) refWeight(s *Series, ref uint32) int {
	if int(ref) < len(r.symbols) {
		return r.symbols[ref].len() + refBytes
	}
	if ref != 0 { // zero is what an absent reference is read as
		r.refuse(s, ReasonBadSymbolRef, "symbol %d of %d", ref, len(r.symbols))
	}
	return 0
}

// labelsV2 judges the series by its label references. The labels that can be read say where it comes from, even if
// others cannot.
func (r *Request) labelsV2(s *Series, weight int) {
	r.named.reset(len(r.matcher.pairs))
	var c labelCheck
	refs := r.labelRefs(s)
	readable := len(refs)%2 == 0
	if !readable {
		r.refuse(s, ReasonBadSymbolRef, "%d label references, which is an odd number", len(refs))
	}
	for i := 0; i+1 < len(refs); i += 2 {
		if n := uint32(len(r.symbols)); refs[i] >= n || refs[i+1] >= n {
			r.refuse(s, ReasonBadSymbolRef, "label %d refers to symbol %d of %d", i/2+1, max(refs[i], refs[i+1]), n)
			readable = false
			continue
		}
		r.labelV2(s, &c, refs[i], refs[i+1])
	}
	if !readable {
		s.n = 0
		return
	}
	r.WrittenOut += int64(c.bytes + weight)
	r.judgeLabels(s, &c)
	r.judgeSize(s, c.bytes, weight)
}

func (r *Request) labelV2(s *Series, c *labelCheck, nameRef, valueRef uint32) {
	name, value := &r.symbols[nameRef], &r.symbols[valueRef]
	if c.count > 0 && name.prefix <= c.prefix && (name.prefix < c.prefix || string(r.bytes(name.span)) <= string(r.bytes(c.last))) {
		s.sorted = false
	}
	c.prefix, c.last = name.prefix, name.span
	c.count++
	c.bytes += name.len() + value.len() + 2*refBytes
	c.encoding = c.encoding || name.invalid || value.invalid
	switch {
	case name.len() == 0:
		c.nameless = true
	case name.len() == len(metricName) && name.prefix == metricPrefix:
		c.metric, c.hasMetric = value.span, true
	}
	if name.watched != nil {
		r.named.note(name.watched, value.span)
		s.Replica = s.Replica || name.watched.replica
	}
}

// exemplarV2 checks an exemplar and its references; it returns what their symbols take.
func (r *Request) exemplarV2(b []byte, pos int, s *Series) (weight int, err error) {
	r.exemplar = r.exemplar[:0]
	for pos < len(b) {
		num, typ, p, err := header(b, pos)
		if err != nil {
			return 0, err
		}
		switch num {
		case 1:
			r.exemplar, pos, err = readRefs(r.exemplar, b, p, typ)
		case 2:
			_, pos, err = double(b, p, typ, "an exemplar's value")
		case 3:
			_, pos, err = number(b, p, typ, "an exemplar's timestamp")
		default:
			pos, err = skip(b, pos)
		}
		if err != nil {
			return 0, err
		}
	}
	if len(r.exemplar)%2 != 0 {
		r.refuse(s, ReasonBadSymbolRef, "an exemplar with %d label references, which is an odd number", len(r.exemplar))
	}
	for _, ref := range r.exemplar {
		if int(ref) >= len(r.symbols) {
			r.refuse(s, ReasonBadSymbolRef, "an exemplar refers to symbol %d of %d", ref, len(r.symbols))
			return 0, nil
		}
		weight += r.symbols[ref].len() + refBytes
	}
	return weight, nil
}

// readRefs reads label references, packed or one by one.
func readRefs(dst []uint32, b []byte, pos int, typ uint8) ([]uint32, int, error) {
	const what = "label references"
	if typ == typeVarint {
		v, next, err := number(b, pos, typ, what)
		return append(dst, uint32(v)), next, err
	}
	start, end, err := content(b, pos, typ, what)
	if err != nil {
		return dst, 0, err
	}
	b = b[:end]
	for p := start; p < len(b); {
		v, next := uint64(b[p]), p+1
		if v >= 0x80 { // two bytes are nearly as common as one
			if p+1 < len(b) && b[p+1] < 0x80 {
				v, next = v&0x7f|uint64(b[p+1])<<7, p+2
			} else if v, next = varintLong(b, p); next < 0 {
				return dst, 0, damage(b, p, next, expectedWithin)
			}
		}
		dst, p = append(dst, uint32(v)), next
	}
	return dst, end, nil
}

// metadataV2 is a series' metadata. A second message adds to the first: of each field the last one counts.
type metadataV2 struct {
	kind       uint64
	help, unit uint32
}

func (m *metadataV2) read(b []byte, pos int) error {
	for pos < len(b) {
		num, typ, p, err := header(b, pos)
		if err != nil {
			return err
		}
		var v uint64
		switch num {
		case 1:
			m.kind, pos, err = number(b, p, typ, "a metric's type")
		case 3:
			v, pos, err = number(b, p, typ, "a reference to a help text")
			m.help = uint32(v)
		case 4:
			v, pos, err = number(b, p, typ, "a reference to a unit")
			m.unit = uint32(v)
		default:
			pos, err = skip(b, pos)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
