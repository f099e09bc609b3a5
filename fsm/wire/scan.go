package wire

import (
	"errors"
	"fmt"
	"math"
)

// span is a stretch of the body.
type span struct{ start, end int32 }

func (s span) len() int { return int(s.end - s.start) }

func (r *Request) bytes(s span) []byte { return r.raw[s.start:s.end] }

// Reset forgets the last body and keeps the buffers. MaxStored stays.
func (r *Request) Reset() {
	r.raw = nil
	r.Series, r.Identities = r.Series[:0], r.Identities[:0]
	r.Counts, r.Rejected = Counts{}, Counts{}
	r.Bad, r.Replica, r.badRef, r.WrittenOut = 0, false, "", 0
	r.byIdentity = nil
	r.cuts, r.refs, r.symbols, r.extra = r.cuts[:0], r.refs[:0], r.symbols[:0], r.extra[:0]
	r.hashes, r.columns.known = r.hashes[:0], false
}

// Scan reads a decoded body: which series are in it, what they hold, where they come from, which of them must be
// refused and why. It allocates nothing once the buffers have grown. The error means that the whole body is
// refused; it is for the sender to read.
func (r *Request) Scan(raw []byte, p Protocol, l Labels) error {
	r.Reset()
	if len(raw) > math.MaxInt32-16 {
		return fmt.Errorf("%w: %d bytes", ErrTooLarge, len(raw))
	}
	r.raw, r.Protocol = raw, p
	r.matcher.set(l)
	r.rawMax = rawMax(r.maxStored())
	var err error
	switch p {
	case V1:
		err = r.scanV1()
	case V2:
		err = r.scanV2()
	default:
		err = fmt.Errorf("wire: unknown protocol %d", p)
	}
	return withProtocol(err, p)
}

func (r *Request) maxStored() int {
	if r.MaxStored > 0 {
		return r.MaxStored
	}
	return DefaultMaxStored
}

// snappyOverhead is more than a snappy block of an incompressible body is longer than that body.
const snappyOverhead = 16

// rawMax is the size of a body that fits for certain, however badly it compresses.
func rawMax(stored int) int { return max(stored-snappyOverhead, 1) }

func withProtocol(err error, p Protocol) error {
	if err == nil {
		return nil // before anything is allocated for errors.As
	}
	if d := (*DamageError)(nil); errors.As(err, &d) {
		d.Protocol = p
	}
	return err
}

// add makes room for one more series and returns it cleared.
func (r *Request) add(head, start, end int) *Series {
	n := len(r.Series)
	if n < cap(r.Series) {
		r.Series = r.Series[:n+1]
	} else {
		r.Series = append(r.Series, Series{})
	}
	s := &r.Series[n]
	*s = Series{head: int32(head), start: int32(start), end: int32(end), from: int32(len(r.cuts)), sorted: true}
	s.Counts.Series = 1
	return s
}

// finish gives the series its identity and adds it to the sums.
func (r *Request) finish(s *Series) {
	s.Identity = r.intern(r.named.identity(r.raw))
	id := &r.Identities[s.Identity]
	id.Series++
	if s.Reason != "" {
		r.Bad++
		r.Rejected.add(&s.Counts)
		return
	}
	r.Counts.add(&s.Counts)
	r.Replica = r.Replica || s.Replica
}

// refuse notes the first reason against a series.
func (r *Request) refuse(s *Series, reason, format string, args ...any) {
	if reason == ReasonBadSymbolRef && r.badRef == "" {
		r.badRef = fmt.Sprintf("series %d: ", r.current) + fmt.Sprintf(format, args...)
	}
	if s.Reason != "" {
		return
	}
	s.Reason = reason
	if r.Bad >= detailsMax {
		s.Detail = "one of many series that are refused"
		return
	}
	s.Detail = fmt.Sprintf("series %d: ", r.current) + fmt.Sprintf(format, args...)
}

func damageOther(p, other Protocol) error {
	return fmt.Errorf("the Content-Type says %s, but the body is a %s message; set the sender's protobuf_message and Content-Type to the same version", p, other)
}
