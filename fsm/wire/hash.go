package wire

import (
	"math/bits"
	"slices"

	"github.com/zeebo/xxh3"
)

// Hash returns a hash of the labels of series i. It does not depend on their order or on the protocol, and a label with
// an empty value is the same as none.
func (r *Request) Hash(i int) uint64 { return r.hash(&r.Series[i], nil) }

// SeriesHash is Hash without the replica labels of l's pairs: what the sources of a group send of one series has
// one hash, though a replica label tells them apart.
func (r *Request) SeriesHash(i int, l Labels) uint64 { return r.hash(&r.Series[i], r.matcherOf(l)) }

// matcherOf returns the matcher of l. That of the last Scan stays as it is, because symbols point into it.
func (r *Request) matcherOf(l Labels) *matcher {
	if slices.Equal(r.matcher.pairs, l.Pairs) {
		return &r.matcher
	}
	if !slices.Equal(r.other.pairs, l.Pairs) {
		r.other.set(l)
		r.columns.known = false
	}
	return &r.other
}

// hash adds up the hashes of labels, so that their order does not matter, and stirs the sum. Labels that m knows as
// replica labels are left out.
func (r *Request) hash(s *Series, m *matcher) uint64 {
	var sum uint64
	if r.Protocol == V2 {
		sum = r.sumV2(s, m)
	} else {
		sum = r.sumV1(s, m)
	}
	sum ^= sum >> 32
	return sum * 0x9e3779b97f4a7c15
}

// labelHash makes one hash of those of a name and a value. Those of 2.0 are computed once per symbol.
func labelHash(name, value uint64) uint64 {
	hi, lo := bits.Mul64(name^0xa0761d6478bd642f, value^0xe7037ed1a0b428db)
	return hi ^ lo
}

// sumV1 reads the labels at the beginning of a series, for as long as they are written as every encoder does (see
// shortLabels), by their lengths alone; the loop takes what is left.
func (r *Request) sumV1(s *Series, m *matcher) (sum uint64) {
	raw, b, pos := r.raw, r.raw[:s.end], int(s.start)
	names := r.columns.of(m)
	for k := 0; pos+4 <= len(b) && b[pos] == fieldLabels<<3|typeBytes && b[pos+1] < 0x80 && b[pos+2] == 1<<3|typeBytes; k++ {
		start := pos + 4
		v, end := start+int(b[pos+3]), pos+2+int(b[pos+1])
		if end > len(b) || v+2 > end || b[v] != 2<<3|typeBytes || v+2+int(b[v+1]) != end {
			break
		}
		n := &names[k%len(names)]
		if string(raw[start:v]) != string(raw[n.start:n.end]) {
			n.set(raw, span{int32(start), int32(v)}, m)
		}
		if pos = end; v+2 < end && !n.replica {
			sum += labelHash(n.hash, xxh3.Hash(raw[v+2:end]))
		}
	}
	f := fields{b: b, pos: pos}
	for f.next() {
		if f.num != fieldLabels {
			continue
		}
		l, _ := readLabel(f.b[:f.end], f.start)
		if l.value.len() > 0 && !m.replica(raw, l.name) {
			sum += labelHash(xxh3.Hash(r.bytes(l.name)), xxh3.Hash(r.bytes(l.value)))
		}
	}
	return sum
}

// columns remembers which name was last at which place among a series' labels, and its hash: nearly always it is the
// same one in the next series.
type columns struct {
	names   [16]column
	matcher *matcher // that says which are replica labels
	known   bool
}

type column struct {
	span
	hash    uint64
	replica bool
}

// of returns the names, forgotten if they were judged by another matcher.
func (c *columns) of(m *matcher) *[16]column {
	if !c.known || c.matcher != m {
		c.matcher, c.known = m, true
		for i := range c.names {
			c.names[i].set(nil, span{}, m)
		}
	}
	return &c.names
}

func (c *column) set(raw []byte, name span, m *matcher) {
	*c = column{name, xxh3.Hash(raw[name.start:name.end]), m.replica(raw, name)}
}

func (r *Request) sumV2(s *Series, m *matcher) (sum uint64) {
	if len(r.hashes) != len(r.symbols) {
		r.hashes = slices.Grow(r.hashes[:0], len(r.symbols))[:len(r.symbols)]
		clear(r.hashes)
	}
	refs := r.labelRefs(s)
	for i := 0; i+1 < len(refs); i += 2 {
		name, value := refs[i], refs[i+1]
		if r.symbols[value].len() > 0 && !r.isReplicaOf(m, name) {
			sum += labelHash(r.symbolHash(name), r.symbolHash(value))
		}
	}
	return sum
}

func (r *Request) isReplicaOf(m *matcher, ref uint32) bool {
	if m == &r.matcher {
		return r.isReplica(ref)
	}
	return m.replica(r.raw, r.symbols[ref].span)
}

func (r *Request) symbolHash(ref uint32) uint64 {
	h := r.hashes[ref]
	if h == 0 {
		h = xxh3.Hash(r.bytes(r.symbols[ref].span))
		r.hashes[ref] = h
	}
	return h
}

// replica reports whether a name in raw is that of a replica label; no matcher knows none.
func (m *matcher) replica(raw []byte, name span) bool {
	if m == nil {
		return false
	}
	off, n := int(name.start), name.len()
	w := m.find(raw, off, n, prefixOf(raw, off, n))
	return w != nil && w.replica
}
