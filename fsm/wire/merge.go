package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync"
)

// MergeV1 joins stored 1.0 bodies without decoding them, in dst's memory: concatenated messages are a message, and
// snappy blocks concatenate once the lengths in front are replaced by their sum, because copies only ever point
// backwards.
func MergeV1(dst []byte, bodies ...[]byte) ([]byte, error) {
	var total uint64
	for i, b := range bodies {
		n, next := binary.Uvarint(b)
		if next <= 0 {
			return nil, fmt.Errorf("wire: body %d of a merge has no decoded length", i)
		}
		total += n
	}
	if total > math.MaxUint32 {
		return nil, fmt.Errorf("%w: %d merged bodies decode to %d bytes", ErrTooLarge, len(bodies), total)
	}
	dst = binary.AppendUvarint(dst[:0], total)
	for _, b := range bodies {
		_, next := binary.Uvarint(b)
		dst = append(dst, b[next:]...)
	}
	return dst, nil
}

// MergeV2 joins stored 2.0 bodies, in dst's memory. They are decoded, because the symbols of one mean nothing to
// another. They were checked when they were accepted: a series that would be refused today is an error.
func MergeV2(dst []byte, bodies ...[]byte) ([]byte, error) {
	if len(bodies) == 1 {
		return append(dst[:0], bodies[0]...), nil
	}
	m := mergers.Get().(*merger)
	defer mergers.Put(m)
	m.writer.reset()
	for i, b := range bodies {
		if err := m.add(i, b); err != nil {
			return nil, fmt.Errorf("wire: body %d of a merge: %w", i, err)
		}
	}
	m.out = m.writer.finish(m.out)
	m.writer.forget()
	if err := checkBlock(len(m.out)); err != nil {
		return nil, err
	}
	return Compress(dst, m.out), nil
}

// merger is what a merge of 2.0 bodies needs besides the result.
type merger struct {
	request Request
	writer  writerV2
	raws    [][]byte // the decoded bodies: their symbols stay in use until the end
	out     []byte
}

var mergers = sync.Pool{New: func() any { return &merger{request: Request{MaxStored: math.MaxInt32}} }}

// add appends all that the i-th body holds.
func (m *merger) add(i int, body []byte) error {
	if i == len(m.raws) {
		m.raws = append(m.raws, nil)
	}
	raw, err := Decompress(m.raws[i], body, math.MaxInt32)
	if err != nil {
		return err
	}
	m.raws[i] = raw
	if err := m.request.Scan(raw, V2, Labels{}); err != nil {
		return err
	}
	if err := m.request.mergeable(); err != nil {
		return err
	}
	m.writer.all(&m.request)
	return nil
}

func (r *Request) mergeable() error {
	for i := range r.Series {
		if s := &r.Series[i]; s.Reason != "" {
			return errors.New(s.Detail)
		}
	}
	return nil
}

// all appends everything that r holds.
func (w *writerV2) all(r *Request) {
	var counts Counts
	w.from(r)
	r.choose(nil, true)
	for _, u := range r.units {
		w.unit(r, u, false, &counts)
	}
}
