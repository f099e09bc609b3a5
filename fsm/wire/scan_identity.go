package wire

import "sync"

// ScanIdentity calls fn with group and source of each series, both empty if its labels name nothing. It is for the
// bodies of standbys: it reads labels only, of a series no more than it takes to know where it comes from, and
// validates nothing that it need not read. Of a label name that is there twice, for which Scan refuses the series,
// either value may count. The arguments alias raw.
func ScanIdentity(raw []byte, p Protocol, l Labels, fn func(group, source []byte)) error {
	s := identityScans.Get().(*identityScan)
	defer identityScans.Put(s)
	s.matcher.set(l)
	s.last = settled{}
	pos := 0
	if p == V2 {
		var err error
		if pos, err = s.readSymbols(raw); err != nil {
			return withProtocol(err, p)
		}
	}
	return withProtocol(s.series(raw, pos, p, fn), p)
}

var identityScans = sync.Pool{New: func() any { return new(identityScan) }}

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

// settled is what told of the last series where it comes from: the stretch from the first label of the first pair to
// the label that completed it. That pair comes before all others, so nothing that follows could change the answer, and
// where the next series has the same bytes, it has the same answer.
type settled struct {
	stretch       span
	group, source span
}

// at reports whether the last answer's labels are at pos, within b.
func (s *settled) at(b []byte, pos int) bool {
	n := s.stretch.len()
	return n > 0 && pos+n <= len(b) && string(b[pos:pos+n]) == string(b[s.stretch.start:s.stretch.end])
}

func (s *settled) identity(raw []byte) (group, source []byte) {
	return raw[s.group.start:s.group.end], raw[s.source.start:s.source.end]
}

// note takes a label that identifies, whose name is at head, into account, and reports whether the first pair is
// complete. first is where the first such label of the series was, or negative.
func (s *identityScan) note(w *watched, value span, first *int, head, end int) bool {
	s.named.note(w, value)
	if w.uses[0].pair != 0 {
		return false
	}
	if *first < 0 {
		*first = head
	}
	v := &s.named.values[0]
	if v[1].len() == 0 || v[0].start == 0 && s.matcher.pairs[0].Group != "" {
		return false
	}
	s.last = settled{span{int32(*first), int32(end)}, v[0], v[1]}
	return true
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
			fn(s.last.identity(raw))
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
	first := -1
	table := &s.matcher.table
	for pos+5 <= len(b) && b[pos] == fieldLabels<<3|typeBytes && b[pos+1] < 0x80 && b[pos+2] == 1<<3|typeBytes {
		start := pos + 4
		v, end := start+int(b[pos+3]), pos+2+int(b[pos+1])
		if end > len(b) || v+2 > end || b[v] != 2<<3|typeBytes || v+2+int(b[v+1]) != end {
			break
		}
		if table[(uint(b[start])*5+uint(v-start))%watchSlots] != 0 { // as watchSlot, but for an empty name
			if s.last.at(b, pos) {
				return true, nil
			}
			w := s.matcher.find(b, start, v-start, prefixOf(b, start, v-start))
			if w != nil && s.note(w, span{int32(v + 2), int32(end)}, &first, pos, end) {
				return true, nil
			}
		}
		pos = end
	}
	return false, s.restV1(b, pos)
}

// restV1 reads labels however they are written. The series is not settled by them, only read.
func (s *identityScan) restV1(b []byte, pos int) error {
	for pos < len(b) {
		num, typ, p, err := header(b, pos)
		if err != nil {
			return err
		}
		if num != fieldLabels {
			if pos, err = skip(b, pos); err != nil {
				return err
			}
			continue
		}
		start, end, err := content(b, p, typ, "a label")
		if err != nil {
			return err
		}
		l, err := readLabel(b[:end], start)
		if err != nil {
			return err
		}
		off, n := int(l.name.start), l.name.len()
		if w := s.matcher.find(b, off, n, prefixOf(b, off, n)); w != nil {
			s.named.note(w, l.value)
		}
		pos = end
	}
	return nil
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
		s.symbols = append(s.symbols, identitySymbol{span{int32(start), int32(end)}, w})
		if pos == lead && start-pos <= 3 && raw[pos]>>3 == requestSymbols {
			lead = end
		}
		pos = end
	}
}

// seriesV2 reads the label references of a series. known means that s.last is the answer, else it is in s.named.
func (s *identityScan) seriesV2(b []byte, pos int) (known bool, err error) {
	s.named.reset(len(s.matcher.pairs))
	begin := pos
	if start, end := message(b, pos); end > 0 && b[pos]>>3 == fieldLabels {
		if s.packed(b[:end], start) {
			return true, nil
		}
		pos = end
	}
	for pos < len(b) {
		num, _, _, err := header(b, pos)
		if err != nil {
			return false, err
		}
		if num == fieldLabels { // in more than one piece, or in an odd one
			return false, s.restV2(b, begin)
		}
		if pos, err = skip(b, pos); err != nil {
			return false, err
		}
	}
	return false, nil
}

// packed reads references from a packed field; a damaged number ends it.
func (s *identityScan) packed(b []byte, pos int) (known bool) {
	first := -1
	for pos < len(b) {
		name, p := ref(b, pos)
		if p < 0 || p >= len(b) {
			return false
		}
		value, next := ref(b, p)
		if next < 0 {
			return false
		}
		if n := uint32(len(s.symbols)); name < n && s.symbols[name].watched != nil && value < n {
			if s.last.at(b, pos) || s.note(s.symbols[name].watched, s.symbols[value].span, &first, pos, next) {
				return true
			}
		}
		pos = next
	}
	return false
}

// ref reads a label reference.
func ref(b []byte, pos int) (v uint32, next int) {
	if c := b[pos]; c < 0x80 {
		return uint32(c), pos + 1
	}
	if pos+1 < len(b) && b[pos+1] < 0x80 { // nearly as common
		return uint32(b[pos]&0x7f) | uint32(b[pos+1])<<7, pos + 2
	}
	long, next := varintLong(b, pos)
	return uint32(long), next
}

// restV2 reads all references of a series, however they are written. The series is not settled by them, only read.
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
