package wire

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Wire types of the protobuf encoding.
const (
	typeVarint  = 0
	typeFixed64 = 1
	typeBytes   = 2
	typeGroup   = 3
	typeEnd     = 4
	typeFixed32 = 5
)

// A message inside the body is handed around as raw[:end] together with a position, so that every position is
// an offset into the whole body and errors can name it.

// DamageError says where a body stops being what it should be. The whole body is refused.
type DamageError struct {
	Protocol Protocol
	Offset   int    // in the decoded body
	Expected string // what should have been there
	Got      string
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("%s body is damaged at byte %d: expected %s, got %s", e.Protocol, e.Offset, e.Expected, e.Got)
}

// What a position reader returns instead of the next position.
const (
	cutShort = -1 // the message ends first
	overlong = -2 // more than ten bytes
	tooLong  = -3 // a length that leads out of the message
)

// expectedWithin is the one thing on which this package is stricter than the generated decoder, which reads on
// behind a packed field whose last number is cut off. Other decoders refuse such a body.
const expectedWithin = "packed numbers that end with their field"

func damage(b []byte, pos, code int, expected string) error {
	got := "the end of its message"
	switch code {
	case overlong:
		got = "a number of more than ten bytes"
	case tooLong:
		got = fmt.Sprintf("a length that leads past the end of its message at byte %d", len(b))
	}
	return &DamageError{Offset: pos, Expected: expected, Got: got}
}

func wrongType(pos int, typ uint8, expected string) error {
	return &DamageError{Offset: pos, Expected: expected, Got: fmt.Sprintf("wire type %d", typ)}
}

// varint reads a base-128 number of up to ten bytes. Bits beyond 64 are dropped, as the generated decoder does.
func varint(b []byte, pos int) (uint64, int) {
	if pos < len(b) && b[pos] < 0x80 {
		return uint64(b[pos]), pos + 1
	}
	return varintLong(b, pos)
}

func varintLong(b []byte, pos int) (v uint64, next int) {
	for shift := uint(0); shift < 64; shift += 7 {
		if pos >= len(b) {
			return 0, cutShort
		}
		c := b[pos]
		pos++
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return v, pos
		}
	}
	return 0, overlong
}

// varint6 reads a number of six bytes, which is what milliseconds since 1970 take from 2004 to 2109; ok is false if
// there is another one. b must go on for eight bytes.
func varint6(b []byte, pos int) (v uint64, ok bool) {
	const more, last = 0x8080808080, 0x80 << 40
	x := binary.LittleEndian.Uint64(b[pos:])
	if x&(more|last) != more {
		return 0, false
	}
	return x&0x7f | x>>1&(0x7f<<7) | x>>2&(0x7f<<14) | x>>3&(0x7f<<21) | x>>4&(0x7f<<28) | x>>5&(0x7f<<35), true
}

// block reads the length of a length-delimited field and returns where its content starts and ends; start is
// negative if it does not fit.
func block(b []byte, pos int) (start, end int) {
	n, start := varint(b, pos)
	if start < 0 {
		return start, 0
	}
	if n > uint64(len(b)-start) {
		return tooLong, 0
	}
	return start, start + int(n)
}

// skip returns the position behind the field whose tag is at pos. Groups are skipped with all they contain.
func skip(b []byte, pos int) (next int, err error) {
	depth := 0
	for {
		tag, p := varint(b, pos)
		if p < 0 {
			return 0, damage(b, pos, p, "a field's tag")
		}
		code := p
		switch tag & 7 {
		case typeVarint:
			_, code = varint(b, p)
		case typeFixed64:
			code = fixed(b, p, 8)
		case typeFixed32:
			code = fixed(b, p, 4)
		case typeBytes:
			start, end := block(b, p)
			if code = start; start >= 0 {
				code = end
			}
		case typeGroup:
			depth++
		case typeEnd:
			if depth == 0 {
				return 0, wrongType(pos, typeEnd, "a field")
			}
			depth--
		default:
			return 0, wrongType(pos, uint8(tag&7), "a wire type from 0 to 5")
		}
		if code < 0 {
			return 0, damage(b, p, code, "the content of an unknown field")
		}
		if depth == 0 {
			return code, nil
		}
		pos = code
	}
}

func fixed(b []byte, pos, n int) (next int) {
	if len(b)-pos < n {
		return cutShort
	}
	return pos + n
}

func fixed64(b []byte, pos int) (v uint64, next int) {
	if len(b)-pos < 8 {
		return 0, cutShort
	}
	return binary.LittleEndian.Uint64(b[pos:]), pos + 8
}

// header reads a field's tag. The field number is cut to 32 bits, as the generated decoder does.
func header(b []byte, pos int) (num int32, typ uint8, next int, err error) {
	if pos < len(b) {
		if c := b[pos]; c < 0x80 && c > 7 && c&7 != typeEnd {
			return int32(c >> 3), c & 7, pos + 1, nil
		}
	}
	tag, next := varint(b, pos)
	if next < 0 {
		return 0, 0, 0, damage(b, pos, next, "a field's tag")
	}
	num, typ = int32(tag>>3), uint8(tag&7)
	if typ == typeEnd {
		return 0, 0, 0, wrongType(pos, typ, "a field")
	}
	if num <= 0 {
		return 0, 0, 0, &DamageError{Offset: pos, Expected: "a field number above zero", Got: fmt.Sprint(num)}
	}
	return num, typ, next, nil
}

// number reads a field that must be a varint.
func number(b []byte, pos int, typ uint8, what string) (v uint64, next int, err error) {
	if typ != typeVarint {
		return 0, 0, wrongType(pos, typ, what)
	}
	v, next = varint(b, pos)
	if next < 0 {
		return 0, 0, damage(b, pos, next, what)
	}
	return v, next, nil
}

// double reads a field that must be eight bytes.
func double(b []byte, pos int, typ uint8, what string) (bits uint64, next int, err error) {
	if typ != typeFixed64 {
		return 0, 0, wrongType(pos, typ, what)
	}
	bits, next = fixed64(b, pos)
	if next < 0 {
		return 0, 0, damage(b, pos, next, what)
	}
	return bits, next, nil
}

// content reads a field that must be length-delimited.
func content(b []byte, pos int, typ uint8, what string) (start, end int, err error) {
	if typ == typeBytes && pos < len(b) && b[pos] < 0x80 {
		if end = pos + 1 + int(b[pos]); end <= len(b) {
			return pos + 1, end, nil
		}
	}
	if typ != typeBytes {
		return 0, 0, wrongType(pos, typ, what)
	}
	start, end = block(b, pos)
	if start < 0 {
		return 0, 0, damage(b, pos, start, what)
	}
	return start, end, nil
}

// shortField reads the tag and length of a length-delimited field if they take one byte each, as nearly all do; end is
// 0 if not.
func shortField(b []byte, pos int) (num int32, start, end int) {
	if start = pos + 2; start <= len(b) && b[pos]&0x87 == typeBytes && b[pos] > typeBytes && b[pos+1] < 0x80 {
		if end = start + int(b[pos+1]); end <= len(b) {
			return int32(b[pos] >> 3), start, end
		}
	}
	return 0, 0, 0
}

// fields walks over a message that has been checked before.
type fields struct {
	b     []byte // raw[:end of the message]
	pos   int
	num   int32
	typ   uint8
	head  int // where the field's tag is
	start int // content of a length-delimited field, else the value
	end   int // behind the field
}

func (f *fields) next() bool {
	if f.pos >= len(f.b) {
		return false
	}
	f.head = f.pos
	tag, p := varint(f.b, f.pos)
	f.num, f.typ = int32(tag>>3), uint8(tag&7)
	switch f.typ {
	case typeVarint:
		f.start = p
		_, f.end = varint(f.b, p)
	case typeFixed64:
		f.start, f.end = p, p+8
	case typeBytes:
		f.start, f.end = block(f.b, p)
	default:
		f.start = p
		f.end, _ = skip(f.b, f.head)
	}
	if f.end <= f.head || f.end > len(f.b) {
		panic("BUG: wire: a message changed after it was scanned")
	}
	f.pos = f.end
	return true
}

// valuePos is where the value begins, or the length of a length-delimited field.
func (f *fields) valuePos() int {
	_, p := varint(f.b, f.head)
	return p
}

// varint is the value of a varint field.
func (f *fields) varint() uint64 {
	v, _ := varint(f.b, f.start)
	return v
}

// appendTag appends a tag and the length of a length-delimited field below number 16.
func appendTag(dst []byte, num byte, n int) []byte {
	dst = append(dst, num<<3|typeBytes)
	return binary.AppendUvarint(dst, uint64(n))
}

// uvarintLen is the number of bytes that v takes.
func uvarintLen(v uint64) int {
	n := 1
	for v >= 0x80 {
		v >>= 7
		n++
	}
	return n
}

func fromBits(bits uint64) float64 { return math.Float64frombits(bits) }
