package wire

import (
	"bytes"
	"encoding/binary"
	"slices"
	"unicode/utf8"
)

const (
	metricName   = "__name__"
	metricPrefix = 0x5f5f6e616d655f5f // metricName as prefixOf sees it
)

// labelSpan is where a label's name and value are.
type labelSpan struct{ name, value span }

// readLabel reads a label of 1.0. Of a repeated field the last one counts, a missing one is empty.
func readLabel(b []byte, pos int) (l labelSpan, err error) {
	// What every encoder writes: name, value, each shorter than 128 bytes, nothing else.
	if v := pos + 2; v < len(b) && b[pos] == 1<<3|typeBytes && b[pos+1] < 0x80 {
		name := v
		if v += int(b[pos+1]); v+2 <= len(b) && b[v] == 2<<3|typeBytes && b[v+1] < 0x80 && v+2+int(b[v+1]) == len(b) {
			return labelSpan{span{int32(name), int32(v)}, span{int32(v + 2), int32(len(b))}}, nil
		}
	}
	return readLabelLong(b, pos)
}

func readLabelLong(b []byte, pos int) (l labelSpan, err error) {
	l = labelSpan{span{int32(pos), int32(pos)}, span{int32(pos), int32(pos)}}
	for pos < len(b) {
		num, typ, p, err := header(b, pos)
		if err != nil {
			return l, err
		}
		if num > 2 {
			if pos, err = skip(b, pos); err != nil {
				return l, err
			}
			continue
		}
		start, end, err := content(b, p, typ, "a label's name or value")
		if err != nil {
			return l, err
		}
		if num == 1 {
			l.name = span{int32(start), int32(end)}
		} else {
			l.value = span{int32(start), int32(end)}
		}
		pos = end
	}
	return l, nil
}

// labelCheck is what is known about a series' labels while they are read.
type labelCheck struct {
	prefix    uint64
	last      span // name of the label before
	metric    span // value of __name__
	from, to  int  // stretch of the body that holds all labels, 1.0 only
	bytes     int
	count     int
	hasMetric bool
	nameless  bool
	encoding  bool // a name or value is not UTF-8, 2.0 only
}

// judgeLabels decides about the labels as a whole. The order of reasons is fixed, so that counts by reason do
// not depend on the order of labels.
func (r *Request) judgeLabels(s *Series, c *labelCheck) {
	if c.bytes+frameBytes > r.rawMax { // first, so that no one can make the other tests long
		r.refuse(s, ReasonLabelsTooLong, "its labels take %d bytes, an entry has room for %d", c.bytes, r.rawMax)
		return
	}
	if c.nameless {
		r.refuse(s, ReasonEmptyLabelName, "a label without a name%s", r.of(c))
	}
	if c.encoding || r.Protocol == V1 && !ascii(r.raw[c.from:c.to]) {
		r.judgeEncoding(s, c)
	}
	if !s.sorted {
		r.judgeDuplicates(s, c)
	}
	switch {
	case !c.hasMetric:
		r.refuse(s, ReasonMissingName, "no label __name__")
	case c.metric.len() == 0:
		r.refuse(s, ReasonEmptyName, "the label __name__ is empty")
	}
}

// of names the metric in an error text.
func (r *Request) of(c *labelCheck) string {
	if !c.hasMetric {
		return ""
	}
	return " in metric \"" + quote(r.bytes(c.metric)) + "\""
}

func (r *Request) judgeEncoding(s *Series, c *labelCheck) {
	r.readLabels(s)
	for _, l := range r.labels {
		if !utf8.Valid(r.bytes(l.name)) || !utf8.Valid(r.bytes(l.value)) {
			r.refuse(s, ReasonInvalidUTF8, "label \"%s\" is not valid UTF-8 in name or value%s", quote(r.bytes(l.name)), r.of(c))
			return
		}
	}
}

// judgeDuplicates looks for a name that is there twice among labels that are not in order.
func (r *Request) judgeDuplicates(s *Series, c *labelCheck) {
	r.readLabels(s)
	slices.SortFunc(r.labels, func(x, y labelSpan) int { return bytes.Compare(r.bytes(x.name), r.bytes(y.name)) })
	for i := 1; i < len(r.labels); i++ {
		if name := r.bytes(r.labels[i].name); bytes.Equal(name, r.bytes(r.labels[i-1].name)) {
			r.refuse(s, ReasonDuplicateLabel, "label \"%s\" is there twice%s", quote(name), r.of(c))
			return
		}
	}
}

// readLabels collects a series' labels in r.labels, in the order of the body.
func (r *Request) readLabels(s *Series) {
	r.labels = r.labels[:0]
	if r.Protocol == V2 {
		refs := r.labelRefs(s)
		for i := 0; i+1 < len(refs); i += 2 {
			r.labels = append(r.labels, labelSpan{r.symbols[refs[i]].span, r.symbols[refs[i+1]].span})
		}
		return
	}
	f := r.fields(s)
	for f.next() {
		if f.num == 1 {
			l, _ := readLabel(f.b[:f.end], f.start)
			r.labels = append(r.labels, l)
		}
	}
}

// labelRefs are a 2.0 series' label references.
func (r *Request) labelRefs(s *Series) []uint32 { return r.refs[s.from : s.from+s.n] }

// replicaLabels are the fields of a 1.0 series that must go.
func (r *Request) replicaLabels(s *Series) []span { return r.cuts[s.from : s.from+s.n] }

func (r *Request) fields(s *Series) fields {
	return fields{b: r.raw[:s.end], pos: int(s.start)}
}

// Labels appends the labels of series i, as they are in the body, to dst. They alias the body. A series with bad
// symbol references has none.
func (r *Request) Labels(i int, dst []Label) []Label {
	r.readLabels(&r.Series[i])
	for _, l := range r.labels {
		dst = append(dst, Label{view(r.bytes(l.name)), view(r.bytes(l.value))})
	}
	return dst
}

// ascii reports whether no byte has its top bit set.
func ascii(b []byte) bool {
	const top = 0x8080808080808080
	for len(b) >= 32 {
		if (binary.LittleEndian.Uint64(b)|binary.LittleEndian.Uint64(b[8:])|
			binary.LittleEndian.Uint64(b[16:])|binary.LittleEndian.Uint64(b[24:]))&top != 0 {
			return false
		}
		b = b[32:]
	}
	for len(b) >= 8 {
		if binary.LittleEndian.Uint64(b)&top != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c >= 0x80 {
			return false
		}
	}
	return true
}
