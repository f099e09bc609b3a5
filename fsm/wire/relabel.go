package wire

import (
	"slices"
	"strings"
)

// Relabel gives all good series the labels that fn makes of theirs, and returns a decoded body in dst's memory and
// how many samples went with series that fn does not keep or leaves without a label. fn may change the slice it is
// given; its strings alias the body and are valid only as long as that is. Everything else in the request is kept. The
// error is ErrTooLarge: labels may grow beyond what a snappy block can hold.
func (r *Request) Relabel(dst []byte, fn func([]Label) ([]Label, bool)) (raw []byte, dropped uint64, err error) {
	var labels []Label
	w := &r.writer
	w.reset()
	if r.Protocol == V2 {
		w.from(r)
	}
	dst = dst[:0]
	r.choose(nil, true)
	for _, u := range r.units {
		if u.series < 0 {
			dst = r.writeExtra(dst, u, &Counts{})
			continue
		}
		labels = r.Labels(int(u.series), labels[:0])
		relabeled, keep := fn(labels)
		if !keep || len(relabeled) == 0 {
			dropped += r.unitSamples(u)
			continue
		}
		sortByName(relabeled)
		if r.Protocol == V1 {
			dst = r.relabelV1(dst, &r.Series[u.series], relabeled)
		} else {
			w.relabel(r, u, relabeled)
		}
	}
	if r.Protocol == V2 {
		dst = append(append(dst, w.symbols...), w.series...)
	}
	return dst, dropped, checkBlock(len(dst))
}

// unitSamples counts the samples of a unit: a 2.0 series with samples and histograms is two units.
func (r *Request) unitSamples(u unit) uint64 {
	s := &r.Series[u.series]
	switch {
	case u.to < 0:
		return s.Counts.Samples()
	case u.from == 0:
		return uint64(s.Counts.Floats)
	}
	return uint64(s.Counts.Histograms)
}

func sortByName(labels []Label) {
	byName := func(x, y Label) int { return strings.Compare(x.Name, y.Name) }
	if !slices.IsSortedFunc(labels, byName) {
		slices.SortStableFunc(labels, byName)
	}
}

func (r *Request) relabelV1(dst []byte, s *Series, labels []Label) []byte {
	from := len(dst)
	c := converter{dst: dst}
	for _, l := range labels {
		c.label([]byte(l.Name), []byte(l.Value))
	}
	f := r.fields(s)
	for f.next() {
		if f.num != fieldLabels {
			c.dst = append(c.dst, f.b[f.head:f.end]...)
		}
	}
	return frame(c.dst, from, requestSeriesV1)
}

func (w *writerV2) relabel(r *Request, u unit, labels []Label) {
	w.refs = w.refs[:0]
	for _, l := range labels {
		w.refs = append(w.refs, w.symbol(l.Name), w.symbol(l.Value))
	}
	s := &r.Series[u.series]
	if u.to < 0 {
		w.write(r, s, nil)
		return
	}
	r.readElements(s)
	w.write(r, s, r.elements[u.from:u.to])
}
