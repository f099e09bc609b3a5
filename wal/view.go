package wal

import "sort"

// view is what the log holds at one moment; never changed once published.
type view struct {
	first, last uint64 // 0, 0: empty
	sealed      []extent
	tail        extent // its segment is nil while there is none
	// generation grows whenever entries are removed. A read that fails is only
	// the disk's fault if no entries were removed meanwhile.
	generation uint64
}

func (v *view) contains(index uint64) bool {
	return index >= v.first && index <= v.last && v.last > 0
}

// find returns the extent of an index that the view contains.
func (v *view) find(index uint64) extent {
	if v.tail.segment != nil && index >= v.tail.base {
		return v.tail
	}
	i := sort.Search(len(v.sealed), func(i int) bool { return v.sealed[i].base > index })
	return v.sealed[i-1]
}

// extents calls fn for every segment, oldest first.
func (v *view) extents(fn func(extent)) {
	for _, e := range v.sealed {
		fn(e)
	}
	if v.tail.segment != nil {
		fn(v.tail)
	}
}
