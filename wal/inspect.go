package wal

import (
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
)

// inspectAttempts bounds how often a directory that changes while it is read is read again.
const inspectAttempts = 5

// Layout is what a directory holds.
type Layout struct {
	Info
	Files []SegmentInfo // oldest first
	// TornIndex is the first entry of a group commit that a crash (or, on a live node, this very
	// moment) left incomplete; 0 if there is none.
	TornIndex uint64
}

// SegmentInfo is what one segment holds. First is its base: entries below Info.FirstIndex do
// not count any more.
type SegmentInfo struct {
	ID, First, Last uint64 // Last = First−1: none
	Path            string
	Bytes           int64 // in use
	DiskBytes       int64
	Sealed          bool
}

// Problem is damage that Verify found.
type Problem struct {
	Segment uint64
	Path    string
	Err     error // mostly a *CorruptError
}

// Report is the outcome of Verify.
type Report struct {
	FirstIndex, LastIndex uint64 // of what was read
	Segments              int
	Entries               uint64 // read and verified
	Bytes                 int64
	Problems              []Problem

	tail extent
}

// Inspect reads what a directory holds and changes nothing. The directory may be in use.
func Inspect(dir string) (Layout, error) {
	var layout Layout
	err := attend(dir, func(found survey, loaded files) error {
		layout = describe(found, loaded)
		return layout.addSpares(dir, found.spares)
	})
	return layout, err
}

// Dump calls fn for each entry from index from to index to (0: the first, the last), and changes
// nothing. The directory may be in use. An entry's data is valid until fn returns. Of a damaged directory it shows what
// is before the damage, and then tells of that.
func Dump(dir string, from, to uint64, fn func(Entry) error) error {
	if to == 0 {
		to = math.MaxUint64
	}
	next := from // entries that fn has seen are not shown again when the directory is read again
	err := attend(dir, func(found survey, loaded files) error {
		v := viewOf(found, loaded)
		var c cursor
		for next = max(next, v.first); next <= to && v.contains(next); next++ {
			f, err := c.read(v, next)
			if err != nil {
				return err
			}
			if err := fn(Entry{f.index, f.term, f.kind, f.data}); err != nil {
				return final{err}
			}
		}
		return nil
	})
	if bad := (*CorruptError)(nil); errors.As(err, &bad) {
		return errors.Join(salvage(dir, next, to, fn), err)
	}
	return err
}

// salvage shows what a damaged directory holds before the damage.
func salvage(dir string, from, to uint64, fn func(Entry) error) error {
	found, err := survive(dir)
	if err != nil {
		return nil // that is the damage
	}
	for i, name := range found.live {
		last := uint64(math.MaxUint64) // the tail's end is where it cannot be read any more
		if i+1 < len(found.live) {
			last = found.live[i+1].base - 1
		}
		if whole, err := salvageSegment(dir, name, last, max(from, found.bounds.first), to, fn); err != nil || !whole {
			return err
		}
	}
	return nil
}

// salvageSegment reports whether it came to the segment's last entry.
func salvageSegment(dir string, name segmentName, last, from, to uint64, fn func(Entry) error) (whole bool, err error) {
	s, err := openSegment(osFS{}, dir, name, os.O_RDONLY)
	if err != nil {
		return false, nil
	}
	defer s.file.Close()
	sc := newScanner(s)
	sc.each = func(f frame) error {
		if f.index < from || f.index > to {
			return nil
		}
		if err := fn(Entry{f.index, f.term, f.kind, f.data}); err != nil {
			return final{err}
		}
		return nil
	}
	for sc.open.last < last {
		if err := sc.next(); err != nil {
			stop := final{}
			errors.As(err, &stop)
			return false, stop.error // none at the end, or at the damage
		}
	}
	return true, nil
}

// Verify reads every entry of a directory, changes nothing and reports all damage it finds. The
// directory may be in use. The error is for what kept it from looking.
func Verify(dir string) (Report, error) {
	var report Report
	found, err := survive(dir)
	if err != nil {
		if bad := (*CorruptError)(nil); errors.As(err, &bad) {
			return Report{Problems: []Problem{{bad.Segment, dir, bad}}}, nil
		}
		return Report{}, err
	}
	for i, name := range found.live {
		last := uint64(0) // the tail's own business
		if i+1 < len(found.live) {
			last = found.live[i+1].base - 1
		}
		e, err := settled(dir, name, last)
		if e.segment != nil {
			report.count(e)
		}
		if last == 0 {
			report.tail = e
		}
		if err != nil {
			report.Problems = append(report.Problems, Problem{name.id, name.String(), err})
		}
	}
	if err := report.end(dir, found); err != nil {
		report.Problems = append(report.Problems, Problem{found.bounds.lowest, endFile, err})
	}
	if first := found.bounds.first; first > report.LastIndex && len(report.Problems) == 0 {
		report.Problems = []Problem{{0, firstFile, &CorruptError{Index: first, Field: "last index", Want: first, Got: report.LastIndex}}}
	}
	report.FirstIndex = max(report.FirstIndex, found.bounds.first)
	return report, nil
}

// settled reads one segment whole, again if that fails: a living writer may have gone on to the next segment, or reclaimed this
// one. No extent and no error is that of one that has been reclaimed.
func settled(dir string, name segmentName, last uint64) (e extent, err error) {
	for range inspectAttempts {
		if e, err = readWhole(dir, name, last); err == nil {
			return e, nil
		}
		found, lookErr := survive(dir)
		if lookErr != nil {
			return e, err
		}
		i := slices.Index(found.live, name)
		if i < 0 {
			return extent{}, nil
		}
		if i+1 < len(found.live) {
			last = found.live[i+1].base - 1
		}
	}
	return e, err
}

// readWhole reads one segment; last 0 is for the tail. The extent is what was read, also of a damaged one.
func readWhole(dir string, name segmentName, last uint64) (extent, error) {
	s, err := openSegment(osFS{}, dir, name, os.O_RDONLY)
	if err != nil {
		return extent{}, err
	}
	defer s.file.Close()
	if last == 0 {
		e, _, err := loadTail(s)
		return e, err
	}
	sc := newScanner(s)
	for sc.open.last < last {
		if err := sc.next(); err != nil {
			return sc.open, located(err, s.id, sc.open.end, sc.open.last+1)
		}
	}
	footer, footed, err := readFooter(s)
	if err != nil || !footed {
		return sc.open, err
	}
	return sc.open, footer.describes(sc.open)
}

// end holds what was found against what the log once was; not where the log has gone on since.
func (r *Report) end(dir string, found survey) error {
	now, err := survive(dir)
	if err != nil || len(r.Problems) > 0 || !slices.Equal(now.live, found.live) {
		return err
	}
	return found.mark.holds(found, r.tail)
}

func (r *Report) count(e extent) {
	r.Segments++
	if r.FirstIndex == 0 && e.last >= e.base {
		r.FirstIndex = e.base
	}
	r.Entries += e.last + 1 - e.base
	r.Bytes += e.end
	r.LastIndex = max(r.LastIndex, e.last)
}

// survive surveys a directory that may be changing.
func survive(dir string) (found survey, err error) {
	for range inspectAttempts {
		var f File
		var b bounds
		f, b, err = openBounds(osFS{}, dir, os.O_RDONLY)
		if err != nil {
			return survey{}, err
		}
		found, err = look(osFS{}, dir, b)
		if err = errors.Join(err, f.Close()); err == nil {
			return found, nil
		}
	}
	return survey{}, err
}

// final marks an error that reading again cannot mend.
type final struct{ error }

func (f final) Unwrap() error { return f.error }

// attend opens a directory for reading and runs fn on it, again if that fails: segments may
// have been reclaimed meanwhile.
func attend(dir string, fn func(survey, files) error) error {
	var err error
	for range inspectAttempts {
		err = attendOnce(dir, fn)
		if stop := (final{}); errors.As(err, &stop) {
			return stop.error
		}
		if err == nil {
			return nil
		}
	}
	return err
}

func attendOnce(dir string, fn func(survey, files) error) (err error) {
	found, err := survive(dir)
	if err != nil {
		return err
	}
	loaded, err := load(osFS{}, dir, found, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, loaded.close()) }()
	return fn(found, loaded)
}

func viewOf(found survey, loaded files) *view {
	if loaded.empty() {
		return &view{}
	}
	n := len(loaded.extents) - 1
	v := &view{sealed: loaded.extents[:n], tail: loaded.extents[n]}
	v.first, v.last = max(found.bounds.first, loaded.extents[0].base), v.tail.last
	return v
}

func describe(found survey, loaded files) Layout {
	v := viewOf(found, loaded)
	l := Layout{Info: Info{FirstIndex: v.first, LastIndex: v.last, Segments: len(loaded.extents)}}
	for i, e := range loaded.extents {
		l.Files = append(l.Files, SegmentInfo{
			ID: e.id, First: e.base, Last: e.last, Path: e.path,
			Bytes: e.end, DiskBytes: e.size.Load(), Sealed: i < len(loaded.extents)-1,
		})
		l.Bytes += e.end
		l.DiskBytes += e.size.Load()
	}
	if loaded.torn.dirty {
		l.TornIndex = loaded.torn.index
	}
	return l
}

// addSpares counts the spare files.
func (l *Layout) addSpares(dir string, spares []uint64) error {
	for _, number := range spares {
		f, err := osFS{}.Open(OpOpen, spareFilePath(dir, number), os.O_RDONLY)
		if missing(err) {
			continue // it became a segment
		}
		if err != nil {
			return fmt.Errorf("wal: open spare: %w", err)
		}
		size, err := f.Size()
		if err := errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("wal: size of spare: %w", err)
		}
		l.Spares++
		l.DiskBytes += size
	}
	return nil
}
