package wal

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// survey is what names and bounds say about a directory; no segment is opened for it.
type survey struct {
	bounds bounds
	live   []segmentName // ascending, by id and by base
	dead   []segmentName
	spares []uint64
	mark   endMark // as it was before the rest: beside a living writer it may claim more a moment later
}

// look surveys a directory. file is the open file "first".
func look(fsys FS, dir string, b bounds) (survey, error) {
	mark, err := readEnd(fsys, dir)
	if err != nil {
		return survey{}, err
	}
	names, err := fsys.List(OpOpen, dir)
	if err != nil {
		return survey{}, fmt.Errorf("wal: list %s: %w", dir, err)
	}
	s := survey{bounds: b, mark: mark}
	var found []segmentName
	for _, name := range names {
		if n, ok := parseSegmentName(name); ok {
			found = append(found, n)
		} else if n, ok := parseSpareName(name); ok {
			s.spares = append(s.spares, n)
		}
	}
	slices.Sort(s.spares)
	slices.SortFunc(found, func(a, b segmentName) int { return cmp.Compare(a.id, b.id) })
	s.live, s.dead = living(found, b.lowest)
	return s, s.complete()
}

// living applies the rule of life and death: ids below lowest are dead, and a segment
// with a base at or above that of a later one is dead.
func living(found []segmentName, lowest uint64) (live, dead []segmentName) {
	for _, n := range found {
		if n.id < lowest {
			dead = append(dead, n)
			continue
		}
		for len(live) > 0 && live[len(live)-1].base >= n.base {
			dead = append(dead, live[len(live)-1])
			live = live[:len(live)-1]
		}
		live = append(live, n)
	}
	return live, dead
}

// complete refuses a directory whose lowest segment is not the one that counts as such.
func (s *survey) complete() error {
	b := s.bounds
	switch {
	case len(s.live) == 0 && b.first == 0:
		return nil
	case len(s.live) == 0:
		return &CorruptError{Segment: b.lowest, Index: b.first, Field: "number of segments", Want: 1, Got: 0}
	case s.live[0].id != b.lowest:
		return &CorruptError{Segment: b.lowest, Index: b.first, Field: "lowest segment", Want: b.lowest, Got: s.live[0].id}
	case b.first != 0 && s.live[0].base > b.first:
		return &CorruptError{Segment: b.lowest, Index: b.first, Field: "base of the lowest segment", Want: b.first, Got: s.live[0].base}
	}
	return nil
}

// files is the opened and verified contents of a surveyed directory.
type files struct {
	extents   []extent // all of the living segments
	rescanned []int    // which of them had no valid footer
	torn      tornTail
}

// load opens every living segment: the sealed ones by their footers, the tail by a scan.
func load(fsys FS, dir string, s survey, flag int) (loaded files, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, loaded.close())
		}
	}()
	for i, name := range s.live {
		segment, err := openSegment(fsys, dir, name, flag)
		if err != nil {
			return loaded, err
		}
		loaded.extents = append(loaded.extents, extent{segment: segment})
		e := &loaded.extents[i]
		if i == len(s.live)-1 {
			*e, loaded.torn, err = loadTail(segment)
		} else {
			var footed bool
			*e, footed, err = loadSealed(segment, s.live[i+1].base-1)
			if !footed {
				loaded.rescanned = append(loaded.rescanned, i)
			}
		}
		if err != nil {
			e.segment = segment
			return loaded, err
		}
	}
	if err := s.mark.holds(s, loaded.tail()); err != nil {
		return loaded, err
	}
	if n := len(loaded.extents); n > 0 && s.bounds.first > loaded.extents[n-1].last {
		tail := loaded.extents[n-1]
		return loaded, &CorruptError{tail.id, tail.end, s.bounds.first, "last index", s.bounds.first, tail.last}
	}
	return loaded, nil
}

// tail returns the last extent.
func (f *files) tail() extent {
	if n := len(f.extents); n > 0 {
		return f.extents[n-1]
	}
	return extent{}
}

// loadTail scans the segment that was in use. One that was sealed is not: a segment followed it, and is lost.
func loadTail(s *segment) (extent, tornTail, error) {
	if e, sealed, err := readFooter(s); sealed || err != nil {
		if sealed {
			err = &CorruptError{s.id, e.end, e.last + 1, "segments after a sealed one", 1, 0}
		}
		return extent{}, tornTail{}, err
	}
	return scanTail(s)
}

// loadSealed returns the extent of a segment that must hold the entries up to last.
func loadSealed(s *segment, last uint64) (e extent, footed bool, err error) {
	e, footed, err = readFooter(s)
	if err != nil {
		return extent{}, false, err
	}
	if !footed {
		e, err = scanSealed(s, last)
		return e, false, err
	}
	if e.last < last {
		return extent{}, true, &CorruptError{s.id, e.end, e.last + 1, "last index", last, e.last}
	}
	return e.cut(last, e.end), true, nil
}

func (f *files) close() error {
	var errs []error
	for _, e := range f.extents {
		errs = append(errs, e.file.Close())
	}
	return errors.Join(errs...)
}

// empty reports that the segments there are hold nothing.
func (f *files) empty() bool {
	n := len(f.extents)
	return n == 0 || f.extents[n-1].last < f.extents[0].base
}
