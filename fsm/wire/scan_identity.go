package wire

import "sync"

// ScanIdentity calls fn with group and source of each series, both empty if its labels name nothing. It is for the
// bodies of standbys: it reads labels only, of a series no more than it takes to know where it comes from, and
// validates nothing that it need not read. Of a label name that is there twice, for which Scan refuses the series,
// either value may count. The arguments alias raw.
func ScanIdentity(raw []byte, p Protocol, l Labels, fn func(group, source []byte)) error {
	s := identityScans.Get().(*identityScan)
	defer identityScans.Put(s)
	return withProtocol(s.scan(raw, p, l, fn), p)
}

var identityScans = sync.Pool{New: func() any { return new(identityScan) }}

func (s *identityScan) scan(raw []byte, p Protocol, l Labels, fn func(group, source []byte)) error {
	s.matcher.set(l)
	s.last = settled{}
	pos := 0
	if p == V2 {
		var err error
		if pos, err = s.readSymbols(raw); err != nil {
			return err
		}
	}
	return s.series(raw, pos, p, fn)
}

type identityScan struct {
	matcher matcher
	named   named
	symbols []identitySymbol
	refs    []uint32 // of one series
	last    settled
}

type identitySymbol struct {
	span
	watched *watched // a label name that identifies
}

// settled is what told of an earlier series where it comes from: the stretch from the first label that identifies to
// the last. A series that has the same bytes has the same answer, unless it has more such labels elsewhere.
type settled struct {
	stretch       span
	group, source span
	first         bool // by the first pair: more labels could not change the answer
}

// at reports whether the same labels are at pos, within b.
func (s *settled) at(b []byte, pos int) bool {
	n := s.stretch.len()
	return n > 0 && pos+n <= len(b) && string(b[pos:pos+n]) == string(b[s.stretch.start:s.stretch.end])
}

// reading is how far a series has been read.
type reading struct {
	matched    bool // has the labels of identityScan.last
	noted      bool // has others that identify
	head, tail int  // from where to where those are
}

// note takes a label that identifies, from head to tail, into account. settled means that the first pair is complete.
func (s *identityScan) note(r *reading, w *watched, value span, head, tail int) (settled bool) {
	s.named.note(w, value)
	if !r.noted {
		r.noted, r.head = true, head
	}
	r.tail = tail
	v := &s.named.values[0]
	return v[1].len() > 0 && (v[0].start > 0 || s.matcher.pairs[0].Group == "")
}

// settle remembers the answer that the labels noted so far give.
func (s *identityScan) settle(r *reading, first bool) {
	s.last = settled{stretch: span{int32(r.head), int32(r.tail)}, first: first}
	for _, v := range s.named.values {
		if v[1].len() > 0 {
			s.last.group, s.last.source = v[0], v[1]
			return
		}
	}
}

// series calls fn for the series from pos on.
func (s *identityScan) series(raw []byte, pos int, p Protocol, fn func(group, source []byte)) error {
	num, read := byte(requestSeriesV1), (*identityScan).seriesV1
	if p == V2 {
		num, read = requestSeriesV2, (*identityScan).seriesV2
	}
	for {
		start, end, err := nextMessage(raw, pos, num)
		if start < 0 || err != nil {
			return err
		}
		known, err := read(s, raw[:end], start)
		if err != nil {
			return err
		}
		if known {
			fn(raw[s.last.group.start:s.last.group.end], raw[s.last.source.start:s.last.source.end])
		} else {
			fn(s.named.identity(raw))
		}
		pos = end
	}
}

// nextMessage returns the content of the next field of that number, which is below 16, and skips others. start is
// negative if there is none.
func nextMessage(b []byte, pos int, num byte) (start, end int, err error) {
	for pos < len(b) {
		if start, end = message(b, pos); end > 0 {
			if b[pos]>>3 == num {
				return start, end, nil
			}
			pos = end
			continue
		}
		have, typ, p, err := header(b, pos)
		if err != nil {
			return 0, 0, err
		}
		if have == int32(num) {
			return content(b, p, typ, "a message")
		}
		if pos, err = skip(b, pos); err != nil {
			return 0, 0, err
		}
	}
	return -1, 0, nil
}

// message reads a length-delimited field with a number below 16 and a length of one or two bytes; end is zero if
// there is something else.
func message(b []byte, pos int) (start, end int) {
	if pos+3 > len(b) || b[pos]&0x87 != typeBytes || b[pos] < 1<<3 {
		return 0, 0
	}
	n, start := int(b[pos+1]), pos+2
	if n >= 0x80 {
		if b[pos+2] >= 0x80 {
			return 0, 0
		}
		n, start = n&0x7f|int(b[pos+2])<<7, pos+3
	}
	if start+n > len(b) {
		return 0, 0
	}
	return start, start + n
}

// seriesV1 reads the labels of a series: first those that are written as every encoder does (see shortLabels), then
// what is left. known means that s.last is the answer, else it is in s.named.
func (s *identityScan) seriesV1(b []byte, pos int) (known bool, err error) {
	s.named.reset(len(s.matcher.pairs))
	var r reading
	begin, table := pos, &s.matcher.table
	for pos+5 <= len(b) && b[pos] == fieldLabels<<3|typeBytes && b[pos+1] < 0x80 && b[pos+2] == 1<<3|typeBytes {
		start := pos + 4
		v, end := start+int(b[pos+3]), pos+2+int(b[pos+1])
		if end > len(b) || v+2 > end || b[v] != 2<<3|typeBytes || v+2+int(b[v+1]) != end {
			break
		}
		if table[(uint(b[start])*5+uint(v-start))%watchSlots] != 0 { // as watchSlot, but for an empty name
			if s.last.at(b, pos) {
				if s.last.first {
					return true, nil
				}
				r.matched = true
				pos += s.last.stretch.len()
				continue
			}
			w := s.matcher.find(b, start, v-start, prefixOf(b, start, v-start))
			if w != nil && s.note(&r, w, span{int32(v + 2), int32(end)}, pos, end) {
				s.settle(&r, true)
				return true, nil
			}
		}
		pos = end
	}
	noted, err := s.restV1(b, pos)
	if err != nil {
		return false, err
	}
	return s.conclude(&r, noted, func() error {
		_, err := s.restV1(b, begin)
		return err
	})
}

// conclude ends a series that was read to its end. more says that there were labels that identify outside of what
// reading describes. again reads the series anew.
func (s *identityScan) conclude(r *reading, more bool, again func() error) (known bool, err error) {
	switch {
	case r.matched && !r.noted && !more:
		return true, nil
	case r.matched:
		s.named.reset(len(s.matcher.pairs))
		return false, again()
	case r.noted && !more:
		s.settle(r, false)
	}
	return false, nil
}

// restV1 reads labels however they are written and says whether one of them identifies.
func (s *identityScan) restV1(b []byte, pos int) (noted bool, err error) {
	for pos < len(b) {
		start, end, err := nextMessage(b, pos, fieldLabels)
		if start < 0 || err != nil {
			return noted, err
		}
		l, err := readLabel(b[:end], start)
		if err != nil {
			return noted, err
		}
		off, n := int(l.name.start), l.name.len()
		if w := s.matcher.find(b, off, n, prefixOf(b, off, n)); w != nil {
			s.named.note(w, l.value)
			noted = true
		}
		pos = end
	}
	return noted, nil
}

// readSymbols collects the symbols, wherever they are, and returns a position before which there is nothing else.
func (s *identityScan) readSymbols(raw []byte) (lead int, err error) {
	s.symbols = s.symbols[:0]
	table := &s.matcher.table
	for pos := 0; ; {
		start, end, err := nextMessage(raw, pos, requestSymbols)
		if start < 0 || err != nil {
			return lead, err
		}
		var w *watched
		if n := end - start; n > 0 && table[(uint(raw[start])*5+uint(n))%watchSlots] != 0 { // as watchSlot
			w = s.matcher.find(raw, start, n, prefixOf(raw, start, n))
		}
		if len(s.symbols) == symbolsMax {
			return 0, &LimitError{"symbols", symbolsMax}
		}
		s.symbols = append(s.symbols, identitySymbol{span{int32(start), int32(end)}, w})
		if pos == lead && raw[pos]>>3 == requestSymbols {
			lead = end
		}
		pos = end
	}
}

// seriesV2 reads the label references of a series: in one packed field, as every encoder writes them, or else however
// they are. known means that s.last is the answer, else it is in s.named.
func (s *identityScan) seriesV2(b []byte, pos int) (known bool, err error) {
	s.named.reset(len(s.matcher.pairs))
	var r reading
	begin := pos
	if start, end := message(b, pos); end > 0 && b[pos]>>3 == fieldLabels {
		if s.packed(&r, b[:end], start) {
			return true, nil
		}
		pos = end
	}
	again := func() error { return s.restV2(b, begin) }
	for pos < len(b) {
		if _, end := message(b, pos); end > 0 && b[pos]>>3 != fieldLabels {
			pos = end
			continue
		}
		num, _, _, err := header(b, pos)
		if err != nil {
			return false, err
		}
		if num == fieldLabels {
			return false, again()
		}
		if pos, err = skip(b, pos); err != nil {
			return false, err
		}
	}
	return s.conclude(&r, false, again)
}

// packed reads references from a packed field; a damaged number ends it. known means that s.last is the answer.
func (s *identityScan) packed(r *reading, b []byte, pos int) (known bool) {
	for pos < len(b) {
		name, p := uint32(b[pos]), pos+1
		if name >= 0x80 {
			if name, p = refLong(b, pos); p < 0 {
				return false
			}
		}
		if p >= len(b) {
			return false
		}
		value, next := uint32(b[p]), p+1
		if value >= 0x80 {
			if value, next = refLong(b, p); next < 0 {
				return false
			}
		}
		if n := uint32(len(s.symbols)); name < n && s.symbols[name].watched != nil && value < n {
			if s.last.at(b, pos) {
				if s.last.first {
					return true
				}
				r.matched = true
				pos += s.last.stretch.len()
				continue
			}
			if s.note(r, s.symbols[name].watched, s.symbols[value].span, pos, next) {
				s.settle(r, true)
				return true
			}
		}
		pos = next
	}
	return false
}

// refLong reads a label reference of more than one byte.
func refLong(b []byte, pos int) (v uint32, next int) {
	if pos+1 < len(b) && b[pos+1] < 0x80 { // nearly as common
		return uint32(b[pos]&0x7f) | uint32(b[pos+1])<<7, pos + 2
	}
	long, next := varintLong(b, pos)
	return uint32(long), next
}

// restV2 reads all references of a series, however they are written.
func (s *identityScan) restV2(b []byte, pos int) error {
	s.named.reset(len(s.matcher.pairs))
	s.refs = s.refs[:0]
	for pos < len(b) {
		num, typ, p, err := header(b, pos)
		if err != nil {
			return err
		}
		if num == fieldLabels {
			s.refs, pos, err = readRefs(s.refs, b, p, typ)
		} else {
			pos, err = skip(b, pos)
		}
		if err != nil {
			return err
		}
	}
	for i := 0; i+1 < len(s.refs); i += 2 {
		if n := uint32(len(s.symbols)); s.refs[i] < n && s.refs[i+1] < n && s.symbols[s.refs[i]].watched != nil {
			s.named.note(s.symbols[s.refs[i]].watched, s.symbols[s.refs[i+1]].span)
		}
	}
	return nil
}
