package wire

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"unsafe"
)

// matcher finds the configured labels among a series' labels. It is built when the configuration changes, so that
// the hot path looks at nothing but one byte of a table for a label that is not configured.
type matcher struct {
	pairs []Pair
	names []watched
	table [watchSlots]uint16 // by watchSlot: the first name of that slot, from 1
}

// watched is a label name that a pair mentions.
type watched struct {
	name    string
	prefix  uint64
	next    uint16 // another name of the same slot, from 1
	replica bool   // some pair's replica label: it is removed
	uses    []use
}

type use struct {
	pair    int
	replica bool
}

const watchSlots = 64

// watchSlot is a hash of a name's length and first byte.
func watchSlot(prefix uint64, n int) uint { return (uint(prefix>>56)*5 + uint(n)) % watchSlots }

func (m *matcher) set(l Labels) {
	if slices.Equal(m.pairs, l.Pairs) {
		return
	}
	*m = matcher{pairs: slices.Clone(l.Pairs)}
	for i, p := range m.pairs {
		m.watch(p.Group, use{i, false})
		m.watch(p.Replica, use{i, true})
	}
}

func (m *matcher) watch(name string, u use) {
	i := slices.IndexFunc(m.names, func(w watched) bool { return w.name == name })
	if i < 0 {
		if name == "" {
			return
		}
		i = len(m.names)
		prefix := prefixOf([]byte(name), 0, len(name))
		slot := watchSlot(prefix, len(name))
		m.names = append(m.names, watched{name: name, prefix: prefix, next: m.table[slot]})
		m.table[slot] = uint16(i + 1)
	}
	m.names[i].uses = append(m.names[i].uses, u)
	m.names[i].replica = m.names[i].replica || u.replica
}

// find returns the watched name that is b[off:off+n], or nil.
func (m *matcher) find(b []byte, off, n int, prefix uint64) *watched {
	for i := m.table[watchSlot(prefix, n)]; i > 0; {
		w := &m.names[i-1]
		if w.prefix == prefix && w.name == string(b[off:off+n]) {
			return w
		}
		i = w.next
	}
	return nil
}

// prefixOf returns the first eight bytes of b[off:off+n] as a big-endian number, filled with zeros. If one
// prefix is below another, so is the string; equal ones say nothing.
func prefixOf(b []byte, off, n int) uint64 {
	if off+8 <= len(b) {
		v := binary.BigEndian.Uint64(b[off:])
		if n < 8 {
			v &= ^uint64(0) << (64 - 8*uint(n))
		}
		return v
	}
	var v uint64
	for i := range 8 {
		v <<= 8
		if i < n {
			v |= uint64(b[off+i])
		}
	}
	return v
}

// named collects what the labels of one series say about where it comes from.
type named struct {
	values  [][2]span // by pair: group, replica
	touched bool
}

func (n *named) reset(pairs int) {
	if n.touched || len(n.values) != pairs {
		n.values = slices.Grow(n.values[:0], pairs)[:pairs]
		clear(n.values)
		n.touched = false
	}
}

func (n *named) note(w *watched, value span) {
	n.touched = true
	for _, u := range w.uses {
		if u.replica {
			n.values[u.pair][1] = value
		} else {
			n.values[u.pair][0] = value
		}
	}
}

// identity returns group and source by the first pair whose replica label has a value. A label with an empty
// value is the same as none.
func (n *named) identity(raw []byte) (group, source []byte) {
	if !n.touched {
		return nil, nil
	}
	for _, v := range n.values {
		if v[1].len() > 0 {
			return raw[v[0].start:v[0].end], raw[v[1].start:v[1].end]
		}
	}
	return nil, nil
}

type identityKey struct{ group, source string }

// linearIdentities is up to how many identities are searched one by one.
const linearIdentities = 8

// intern returns the index of an identity among those of this request.
func (r *Request) intern(group, source []byte) int32 {
	if len(r.Identities) <= linearIdentities {
		for i := range r.Identities {
			if id := &r.Identities[i]; id.Source == string(source) && id.Group == string(group) {
				return int32(i)
			}
		}
	} else if i, ok := r.byIdentity[identityKey{view(group), view(source)}]; ok {
		return i
	}
	return r.newIdentity(group, source)
}

// newIdentity appends an identity. The strings of the request before, often the same ones, are used again.
func (r *Request) newIdentity(group, source []byte) int32 {
	i := len(r.Identities)
	r.Identities = slices.Grow(r.Identities, 1)[:i+1]
	id := &r.Identities[i]
	if id.Group != string(group) {
		id.Group = string(group)
	}
	if id.Source != string(source) {
		id.Source = string(source)
	}
	id.Series = 0
	switch {
	case i < linearIdentities:
	case i == linearIdentities:
		r.byIdentity = make(map[identityKey]int32)
		for j := range r.Identities {
			r.byIdentity[identityKey{r.Identities[j].Group, r.Identities[j].Source}] = int32(j)
		}
	default:
		r.byIdentity[identityKey{id.Group, id.Source}] = int32(i)
	}
	return int32(i)
}

// view is b as a string, for as long as b stays as it is.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// quote shortens a name or value for an error text.
func quote(b []byte) string {
	const most = 64
	s := strings.ToValidUTF8(string(b[:min(len(b), most)]), "\uFFFD")
	if len(bytes.TrimSpace(b)) > most {
		s += "…"
	}
	return s
}
