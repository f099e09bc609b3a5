package wire

import (
	"encoding/binary"
	"slices"
	"strings"
)

// writerV2 writes a 2.0 request by the book: symbols first, the empty one in front, none twice, labels sorted.
type writerV2 struct {
	index   map[string]uint32 // keys alias the bodies that are read
	symbols []byte            // fields of the request
	series  []byte            // fields of the request
	refs    []uint32          // of one series
	meta    []byte            // unknown fields of one series' metadata
}

func (w *writerV2) reset() {
	if w.index == nil {
		w.index = make(map[string]uint32)
	}
	clear(w.index)
	w.symbols = appendTag(w.symbols[:0], requestSymbols, 0)
	w.series = w.series[:0]
}

// forget drops the keys, which point into bodies that may go.
func (w *writerV2) forget() { clear(w.index) }

func (w *writerV2) size() int { return len(w.symbols) + len(w.series) }

// finish returns the request in dst's memory.
func (w *writerV2) finish(dst []byte) []byte {
	return append(append(dst[:0], w.symbols...), w.series...)
}

// symbol returns the reference of a string; zero is the empty one.
func (w *writerV2) symbol(s string) uint32 {
	if s == "" {
		return 0
	}
	if ref, ok := w.index[s]; ok {
		return ref
	}
	ref := uint32(len(w.index)) + 1
	w.index[s] = ref
	w.symbols = append(appendTag(w.symbols, requestSymbols, len(s)), s...)
	return ref
}

// ref translates a reference of the request that is read.
func (w *writerV2) ref(r *Request, old uint32) uint32 {
	if int(old) >= len(r.symbols) { // only an absent reference of a request without symbols
		return 0
	}
	if n := r.remap[old]; n != 0 {
		return n
	}
	n := w.symbol(view(r.bytes(r.symbols[old].span)))
	r.remap[old] = n
	return n
}

// from prepares for series of r.
func (w *writerV2) from(r *Request) {
	r.remap = slices.Grow(r.remap[:0], len(r.symbols))[:len(r.symbols)]
	clear(r.remap)
}

func (r *Request) writeV2(units []unit, strip bool, target int) (raw []byte, counts Counts, n int) {
	w := &r.writer
	w.reset()
	w.from(r)
	for n < len(units) && (n == 0 || w.size() < target) {
		w.unit(r, units[n], strip, &counts)
		n++
	}
	r.out = w.finish(r.out)
	return r.out, counts, n
}

func (w *writerV2) unit(r *Request, u unit, strip bool, counts *Counts) {
	if u.series < 0 {
		w.series = r.writeExtra(w.series, u, counts)
		return
	}
	s := &r.Series[u.series]
	w.labels(r, s, strip)
	if u.to < 0 {
		counts.add(&s.Counts)
		w.write(r, s, nil)
		return
	}
	r.readElements(s)
	elements := r.elements[u.from:u.to]
	piece := Counts{Series: 1}
	if u.from == 0 {
		piece.Metadata = s.Counts.Metadata
	}
	for _, e := range elements {
		r.countElement(&piece, e)
	}
	counts.add(&piece)
	w.write(r, s, elements)
}

// labels puts the references of a series' labels, in order, into w.refs.
func (w *writerV2) labels(r *Request, s *Series, strip bool) {
	w.refs = w.refs[:0]
	refs := r.labelRefs(s)
	if s.sorted {
		for i := 0; i < len(refs); i += 2 {
			if !strip || !r.isReplica(refs[i]) {
				w.refs = append(w.refs, w.ref(r, refs[i]), w.ref(r, refs[i+1]))
			}
		}
		return
	}
	r.readLabels(s)
	r.sortLabels()
	for _, l := range r.labels {
		if m := r.matchName(l.name); !strip || m == nil || !m.replica {
			w.refs = append(w.refs, w.symbol(view(r.bytes(l.name))), w.symbol(view(r.bytes(l.value))))
		}
	}
}

func (r *Request) isReplica(ref uint32) bool {
	m := r.symbols[ref].watched
	return m != nil && m.replica
}

func (r *Request) matchName(name span) *watched {
	return r.matcher.find(r.raw, int(name.start), name.len(), prefixOf(r.raw, int(name.start), name.len()))
}

func (r *Request) sortLabels() {
	slices.SortStableFunc(r.labels, func(x, y labelSpan) int {
		return strings.Compare(view(r.bytes(x.name)), view(r.bytes(y.name)))
	})
}

// write appends a series with the labels in w.refs; elements nil means all, as they stand.
func (w *writerV2) write(r *Request, s *Series, elements []element) {
	from := len(w.series)
	w.series = appendRefs(w.series, w.refs)
	w.meta = w.meta[:0]
	var m metadataV2
	f := r.fields(s)
	for f.next() {
		k, ok := V2.kindOf(f.num)
		switch {
		case f.num == fieldLabels:
		case f.num == fieldMetadataV2:
			w.metadata(&m, &f)
		case !ok:
			w.series = append(w.series, f.b[f.head:f.end]...)
		case elements == nil:
			w.element(r, element{span{int32(f.head), int32(f.end)}, int32(f.start), k})
		}
	}
	for _, e := range elements {
		w.element(r, e)
	}
	w.writeMetadata(r, &m)
	w.series = frame(w.series, from, requestSeriesV2)
}

func (w *writerV2) element(r *Request, e element) {
	if e.kind != elementExemplar {
		w.series = append(w.series, r.bytes(e.field)...)
		return
	}
	from := len(w.series)
	r.exemplar = r.exemplar[:0]
	f := fields{b: r.raw[:e.field.end], pos: int(e.start)}
	for f.next() {
		if f.num == fieldLabels {
			r.exemplar, _, _ = readRefs(r.exemplar, f.b, f.valuePos(), f.typ)
		}
	}
	for i, ref := range r.exemplar {
		r.exemplar[i] = w.ref(r, ref)
	}
	w.series = appendRefs(w.series, r.exemplar)
	for f.pos = int(e.start); f.next(); {
		if f.num != fieldLabels {
			w.series = append(w.series, f.b[f.head:f.end]...)
		}
	}
	w.series = frame(w.series, from, exemplarsV2)
}

// metadata takes what one metadata field says; unknown fields are kept aside.
func (w *writerV2) metadata(m *metadataV2, f *fields) {
	b := f.b[:f.end]
	_ = m.read(b, f.start) // was checked by Scan
	in := fields{b: b, pos: f.start}
	for in.next() {
		if in.num != 1 && in.num != 3 && in.num != 4 {
			w.meta = append(w.meta, b[in.head:in.end]...)
		}
	}
}

func (w *writerV2) writeMetadata(r *Request, m *metadataV2) {
	from := len(w.series)
	w.series = appendNumber(w.series, 1, m.kind)
	w.series = appendNumber(w.series, 3, uint64(w.ref(r, m.help)))
	w.series = appendNumber(w.series, 4, uint64(w.ref(r, m.unit)))
	w.series = append(w.series, w.meta...)
	if len(w.series) > from {
		w.series = frame(w.series, from, fieldMetadataV2)
	}
}

// appendNumber appends a varint field unless it is zero, as encoders do.
func appendNumber(dst []byte, num byte, v uint64) []byte {
	if v == 0 {
		return dst
	}
	return binary.AppendUvarint(append(dst, num<<3|typeVarint), v)
}

// appendRefs appends references as packed field 1, unless there are none.
func appendRefs(dst []byte, refs []uint32) []byte {
	if len(refs) == 0 {
		return dst
	}
	size := 0
	for _, ref := range refs {
		size += uvarintLen(uint64(ref))
	}
	dst = appendTag(dst, fieldLabels, size)
	for _, ref := range refs {
		dst = binary.AppendUvarint(dst, uint64(ref))
	}
	return dst
}
