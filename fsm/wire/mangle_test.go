package wire

import (
	"encoding/binary"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// A message can be encoded in many ways that mean the same. mangler writes a message again with its fields in
// another order, numbers overlong, packed fields split or unpacked, scalars given twice and unknown fields in
// between; only the order within one field stays.

// shape says what the fields of a message are.
type shape struct {
	messages map[int32]*shape
	packed   map[int32]bool // repeated numbers: varints
	doubles  map[int32]bool // repeated numbers: eight bytes
	plural   bool           // as a field, may be repeated
}

var (
	leaf        = &shape{plural: true}
	histogramAs = &shape{
		messages: map[int32]*shape{8: leaf, 11: leaf},
		packed:   map[int32]bool{9: true, 12: true},
		doubles:  map[int32]bool{10: true, 13: true, 16: true},
		plural:   true,
	}
	shapeV1 = &shape{messages: map[int32]*shape{
		1: {plural: true, messages: map[int32]*shape{1: leaf, 2: leaf, 3: {plural: true, messages: map[int32]*shape{1: leaf}}, 4: histogramAs}},
		3: leaf,
	}}
	shapeV2 = &shape{messages: map[int32]*shape{5: {
		plural: true, packed: map[int32]bool{1: true},
		messages: map[int32]*shape{2: leaf, 3: histogramAs, 4: {plural: true, packed: map[int32]bool{1: true}}, 5: {}},
	}}}
)

type mangler struct{ t *rapid.T }

func (m mangler) chance(n int) bool { return rapid.IntRange(0, n).Draw(m.t, "chance") == 0 }

// varint appends a number, sometimes with bytes that add nothing.
func (m mangler) varint(dst []byte, v uint64) []byte {
	dst = binary.AppendUvarint(dst, v)
	if uvarintLen(v) < 9 && m.chance(8) {
		dst[len(dst)-1] |= 0x80
		dst = append(dst, 0x80, 0)
	}
	return dst
}

func (m mangler) tag(dst []byte, num int32, typ uint8) []byte {
	return m.varint(dst, uint64(num)<<3|uint64(typ))
}

func (m mangler) bytes(dst []byte, num int32, content []byte) []byte {
	return append(m.varint(m.tag(dst, num, typeBytes), uint64(len(content))), content...)
}

// message writes the message in raw again.
func (m mangler) message(raw []byte, s *shape) []byte {
	byNumber := map[int32][][]byte{}
	var order []int32
	f := fields{b: raw}
	for f.next() {
		if byNumber[f.num] == nil {
			order = append(order, f.num)
		}
		byNumber[f.num] = append(byNumber[f.num], m.field(&f, s)...)
	}
	if m.chance(1) {
		order = rapid.Permutation(order).Draw(m.t, "order")
	}
	var out []byte
	for len(order) > 0 {
		i := rapid.IntRange(0, len(order)-1).Draw(m.t, "next")
		if m.chance(3) {
			i = 0
		}
		num := order[i]
		out = append(out, byNumber[num][0]...)
		if byNumber[num] = byNumber[num][1:]; len(byNumber[num]) == 0 {
			order = slices.Delete(order, i, i+1)
		}
	}
	return out
}

// field returns the encodings of a field that must follow each other.
func (m mangler) field(f *fields, s *shape) [][]byte {
	body := f.b[f.start:f.end]
	inner := s.messages[f.num]
	switch {
	case f.typ == typeBytes && inner != nil && !inner.plural:
		return m.halves(f.num, m.message(body, inner))
	case f.typ == typeBytes && inner != nil:
		return [][]byte{m.bytes(nil, f.num, m.message(body, inner))}
	case f.typ == typeBytes && s.packed[f.num]:
		return m.split(f.num, body, typeVarint, func(p int) int { _, next := varint(body, p); return next })
	case f.typ == typeBytes && s.doubles[f.num]:
		return m.split(f.num, body, typeFixed64, func(p int) int { return p + 8 })
	case f.typ == typeVarint:
		return m.twice(m.varint(m.tag(nil, f.num, typeVarint), f.varint()), binary.AppendUvarint(m.tag(nil, f.num, typeVarint), 3), f.num, s)
	case f.typ == typeFixed64:
		other := binary.LittleEndian.AppendUint64(m.tag(nil, f.num, typeFixed64), math.Float64bits(-7))
		return m.twice(append(m.tag(nil, f.num, typeFixed64), body...), other, f.num, s)
	}
	return [][]byte{f.b[f.head:f.end]}
}

// halves writes a message that may not repeat as two, which decoders join.
func (m mangler) halves(num int32, body []byte) [][]byte {
	f := fields{b: body}
	for f.next() && !m.chance(1) {
	}
	return [][]byte{m.bytes(nil, num, body[:f.pos]), m.bytes(nil, num, body[f.pos:])}
}

// twice puts another value in front of a scalar's, which then does not count.
func (m mangler) twice(field, other []byte, num int32, s *shape) [][]byte {
	if s.packed[num] || s.doubles[num] || num > 8 && num != 15 || !m.chance(6) {
		return [][]byte{field}
	}
	return [][]byte{other, field}
}

// split writes packed numbers one by one, or as several packed fields.
func (m mangler) split(num int32, body []byte, typ uint8, next func(int) int) [][]byte {
	var all [][]byte
	for p := 0; p < len(body); {
		end := next(p)
		if m.chance(1) {
			all = append(all, append(m.tag(nil, num, typ), body[p:end]...))
		} else {
			for end < len(body) && !m.chance(3) {
				end = next(end)
			}
			all = append(all, m.bytes(nil, num, body[p:end]))
		}
		p = end
	}
	if m.chance(5) {
		all = append(all, m.bytes(nil, num, nil))
	}
	return all
}

func TestRandomEncodingsV1(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		checkBody(t, mangler{t}.message([]byte(encoded(drawRequestV1(t))), shapeV1), V1)
	})
}

func TestRandomEncodingsV2(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		checkBody(t, mangler{t}.message([]byte(encoded(drawRequestV2(t))), shapeV2), V2)
	})
}
