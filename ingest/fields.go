package ingest

import (
	"iter"

	"github.com/highlander-io/highlander/fsm/wire"
)

// span is a range of a decoded body.
type span struct{ start, end int }

// fields ranges over the fields of a decoded request by number, with where their content is. It ends at the first one
// that is damaged or not length-delimited: those who care have package wire look at the body.
func fields(raw []byte) iter.Seq2[uint64, span] {
	return func(yield func(uint64, span) bool) {
		for at := 0; at < len(raw); {
			tag, n := uvarint(raw[at:])
			if n == 0 || tag&7 != 2 {
				return
			}
			at += n
			size, n := uvarint(raw[at:])
			if n == 0 || size > uint64(len(raw)-at-n) {
				return
			}
			at += n
			if !yield(tag>>3, span{at, at + int(size)}) {
				return
			}
			at += int(size)
		}
	}
}

// uvarint is encoding/binary's, with n = 0 for every kind of failure.
func uvarint(b []byte) (value uint64, n int) {
	for i, c := range b {
		if i == 10 {
			break
		}
		value |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			return value, i + 1
		}
	}
	return 0, 0
}

// firstSeries returns where the first series of a decoded body ends, or 0.
func firstSeries(raw []byte, p wire.Protocol) int {
	series := uint64(1)
	if p == wire.V2 {
		series = 5
	}
	for field, at := range fields(raw) {
		if field == series {
			return at.end
		}
	}
	return 0
}
