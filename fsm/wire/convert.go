package wire

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// ToV1 converts a decoded 2.0 body into a decoded 1.0 body, in dst's memory. What 1.0 does not know is left out:
// start timestamps and unknown fields. Metadata of series becomes metadata of metric families, each once.
func ToV1(dst, rawV2 []byte) ([]byte, error) {
	m := mergers.Get().(*merger)
	defer mergers.Put(m)
	r := &m.request
	if err := r.Scan(rawV2, V2, Labels{}); err != nil {
		return nil, err
	}
	c := converter{r: r, dst: dst[:0], families: make(map[string]bool)}
	if r.badRef != "" {
		return nil, fmt.Errorf("wire: cannot convert to %s: %s", V1, r.badRef)
	}
	for i := range r.Series {
		c.series(&r.Series[i])
	}
	return c.dst, nil
}

type converter struct {
	r        *Request
	dst      []byte
	families map[string]bool // that have metadata already
}

func (c *converter) series(s *Series) {
	from := len(c.dst)
	r := c.r
	r.readLabels(s)
	if !s.sorted {
		r.sortLabels()
	}
	for _, l := range r.labels {
		c.label(r.bytes(l.name), r.bytes(l.value))
	}
	var m metadataV2
	f := r.fields(s)
	for f.next() {
		switch f.num {
		case fieldSamples:
			c.sample(&f)
		case histogramsV2:
			c.histogram(&f)
		case exemplarsV2:
			c.exemplar(&f)
		case fieldMetadataV2:
			_ = m.read(f.b[:f.end], f.start) // was checked by Scan
		}
	}
	c.dst = frame(c.dst, from, requestSeriesV1)
	c.metadata(s, &m)
}

func (c *converter) label(name, value []byte) {
	size := 0
	if len(name) > 0 {
		size += 1 + uvarintLen(uint64(len(name))) + len(name)
	}
	if len(value) > 0 {
		size += 1 + uvarintLen(uint64(len(value))) + len(value)
	}
	c.dst = appendTag(c.dst, fieldLabels, size)
	c.text(1, name)
	c.text(2, value)
}

func (c *converter) text(num byte, s []byte) {
	if len(s) > 0 {
		c.dst = append(appendTag(c.dst, num, len(s)), s...)
	}
}

// sample writes value and timestamp; zero is left out, as encoders do. Negative zero and NaN are not zero bits.
func (c *converter) sample(f *fields) {
	t, bits := readSample(f.b[:f.end], f.start)
	from := len(c.dst)
	c.dst = appendDouble(c.dst, 1, bits)
	c.dst = appendNumber(c.dst, 2, uint64(t))
	c.dst = frame(c.dst, from, fieldSamples)
}

func appendDouble(dst []byte, num byte, bits uint64) []byte {
	if bits == 0 {
		return dst
	}
	return binary.LittleEndian.AppendUint64(append(dst, num<<3|typeFixed64), bits)
}

// histogram copies the fields that both protocols know; they have the same numbers.
func (c *converter) histogram(f *fields) {
	from := len(c.dst)
	in := fields{b: f.b[:f.end], pos: f.start}
	for in.next() {
		if in.num < fieldStartTimeV2 {
			c.dst = append(c.dst, in.b[in.head:in.end]...)
		}
	}
	c.dst = frame(c.dst, from, histogramsV1)
}

func (c *converter) exemplar(f *fields) {
	from := len(c.dst)
	r := c.r
	r.exemplar = r.exemplar[:0]
	in := fields{b: f.b[:f.end], pos: f.start}
	var bits, t uint64
	for in.next() {
		switch in.num {
		case 1:
			r.exemplar, _, _ = readRefs(r.exemplar, in.b, in.valuePos(), in.typ)
		case 2:
			bits, _ = fixed64(in.b, in.start)
		case 3:
			t = in.varint()
		}
	}
	for i := 0; i+1 < len(r.exemplar); i += 2 {
		c.label(r.bytes(r.symbols[r.exemplar[i]].span), r.bytes(r.symbols[r.exemplar[i+1]].span))
	}
	c.dst = appendDouble(c.dst, 2, bits)
	c.dst = appendNumber(c.dst, 3, t)
	c.dst = frame(c.dst, from, exemplarsV1)
}

// metadata writes the metadata of the family that a series belongs to. Types have the same numbers in both
// protocols.
func (c *converter) metadata(s *Series, m *metadataV2) {
	help, unit := c.symbol(m.help), c.symbol(m.unit)
	if m.kind == 0 && len(help) == 0 && len(unit) == 0 {
		return
	}
	family := familyOf(c.metric(s), m.kind)
	if family == "" || c.families[family] {
		return
	}
	c.families[family] = true
	from := len(c.dst)
	c.dst = appendNumber(c.dst, 1, m.kind)
	c.text(2, []byte(family))
	c.text(4, help)
	c.text(5, unit)
	c.dst = frame(c.dst, from, requestMetadata)
}

func (c *converter) symbol(ref uint32) []byte {
	if int(ref) >= len(c.r.symbols) {
		return nil
	}
	return c.r.bytes(c.r.symbols[ref].span)
}

func (c *converter) metric(s *Series) string {
	c.r.readLabels(s)
	for _, l := range c.r.labels {
		if string(c.r.bytes(l.name)) == metricName {
			return view(c.r.bytes(l.value))
		}
	}
	return ""
}

// Metric types that consist of several series, by number.
const (
	metricHistogram      = 3
	metricGaugeHistogram = 4
	metricSummary        = 5
)

// familyOf returns the name of the metric family: that of the series without the suffix its type adds.
func familyOf(name string, kind uint64) string {
	var suffixes []string
	switch kind {
	case metricHistogram:
		suffixes = []string{"_bucket", "_count", "_sum"}
	case metricGaugeHistogram:
		suffixes = []string{"_bucket", "_gcount", "_gsum", "_count", "_sum"}
	case metricSummary:
		suffixes = []string{"_count", "_sum"}
	}
	for _, s := range suffixes {
		if family, ok := strings.CutSuffix(name, s); ok && family != "" {
			return family
		}
	}
	return name
}
