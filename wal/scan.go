package wal

import (
	"encoding/binary"
	"errors"
)

// tornTail says what is behind the last complete group commit of the tail segment.
type tornTail struct {
	// dirty: valid frames of the commit that was torn. They must never be followed by newer ones.
	dirty bool
	index uint64 // first entry of the torn commit
}

// scanner reads a segment from its first frame on and accepts whole group commits.
type scanner struct {
	segment *segment
	window  window
	done    extent // the complete group commits
	open    extent // with the frames of the incomplete one
	again   int64  // offset of the frame that was read twice
	each    func(frame) error
}

func newScanner(s *segment) *scanner {
	e := extent{segment: s, last: s.base - 1, end: frameStart}
	sc := &scanner{segment: s, done: e, open: e}
	sc.window.reset(s.file, s.size.Load())
	sc.window.ahead = windowBytesMax
	return sc
}

// next accepts one frame.
func (s *scanner) next() error {
	f, n, err := s.window.frame(s.segment.seed, s.open.end)
	if err != nil {
		return err
	}
	if want := s.open.last + 1; f.index != want {
		return &frameError{field: "index", want: want, got: f.index}
	}
	if want := s.done.commits + 1; f.commit != want {
		return &frameError{field: "group commit", want: uint64(want), got: uint64(f.commit)}
	}
	if s.each != nil {
		if err := s.each(f); err != nil {
			return err
		}
	}
	s.open.add(f.index, n)
	if f.last {
		s.open.commits++
		s.done = s.open
	}
	return nil
}

// scanTail reads the tail segment up to its last complete group commit. This is the one
// place where a torn tail and corruption are told apart.
func scanTail(s *segment) (extent, tornTail, error) {
	sc := newScanner(s)
	torn, err := sc.tail()
	return sc.done, torn, err
}

func (s *scanner) tail() (tornTail, error) {
	for {
		err := s.next()
		if err == nil {
			continue
		}
		var bad *frameError
		if !errors.As(err, &bad) {
			return tornTail{}, err
		}
		torn := tornTail{dirty: s.open.last != s.done.last, index: s.done.last + 1}
		commit := s.done.commits + 1
		newest, err := s.newestBehind(s.open.end, commit)
		if err != nil {
			return tornTail{}, err
		}
		if newest > commit && s.again != s.open.end {
			// A reader beside a living writer may have read this frame too early.
			s.again = s.open.end
			s.window.reset(s.segment.file, s.window.limit)
			continue
		}
		if newest > commit {
			return tornTail{}, located(bad, s.segment.id, s.open.end, s.open.last+1)
		}
		torn.dirty = torn.dirty || newest == commit
		return torn, nil
	}
}

// newestBehind looks for valid frames at or behind off that belong to the group commit or a
// later one, and returns the first later commit it finds, else the commit itself if it
// finds any of it, else 0.
func (s *scanner) newestBehind(off int64, commit uint32) (newest uint32, err error) {
	for ; off+frameHeaderBytes <= s.window.limit; off += frameAlign {
		b, err := s.window.at(off, frameHeaderBytes)
		if err != nil {
			return 0, err
		}
		if len(b) < frameHeaderBytes {
			break
		}
		if !s.plausible(b, off, commit) {
			continue
		}
		f, _, err := s.window.frame(s.segment.seed, off)
		if bad := (*frameError)(nil); errors.As(err, &bad) {
			continue
		} else if err != nil {
			return 0, err
		}
		newest = max(newest, f.commit)
		if newest > commit {
			return newest, nil
		}
	}
	return newest, nil
}

// plausible spares the search from summing up what cannot be a frame behind the scanned ones.
func (s *scanner) plausible(header []byte, off int64, commit uint32) bool {
	most := uint64(off-s.done.end)/frameHeaderBytes + 1
	index := binary.LittleEndian.Uint64(header[8:])
	if index <= s.done.last || index > s.done.last+most || binary.LittleEndian.Uint32(header[40:]) < commit {
		return false
	}
	length := int64(binary.LittleEndian.Uint32(header[4:])) + int64(binary.LittleEndian.Uint32(header[32:]))
	return off+frameHeaderBytes+length <= s.window.limit
}

// scanSealed reads a segment that has lost its footer: every entry up to last must be there.
func scanSealed(s *segment, last uint64) (extent, error) {
	sc := newScanner(s)
	for sc.open.last < last {
		err := sc.next()
		if err != nil {
			return extent{}, located(err, s.id, sc.open.end, sc.open.last+1)
		}
	}
	return sc.open, nil
}
