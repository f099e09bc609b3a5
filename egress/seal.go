package egress

import (
	"sync/atomic"
	"time"

	"github.com/highlander-io/highlander/fsm/wire"
)

// sealer turns the bodies of a window into what is sent. In the common case (nothing to relabel, nothing too
// old, a protocol that the endpoint speaks, one lane) bodies are joined and never decoded.
type sealer struct {
	target *target
	// limit is the newest protocol version the endpoint takes; the sender lowers it when it finds out.
	limit *atomic.Uint32
	rules *relabeller // nil: none
	now   func() time.Time

	raw, out []byte
	req      wire.Request
	cut      cut // of windows that become several requests
}

func (s *sealer) seal(w *window, list [][]byte) error {
	if len(list) == 0 {
		return nil
	}
	var err error
	if s.opens(w) {
		err = s.rewrite(w, list)
	} else {
		err = s.join(w, list)
	}
	if err != nil || len(w.body) == 0 {
		return err
	}
	return s.plan(w)
}

// cutoff is the age limit as a timestamp; zero: none.
func (s *sealer) cutoff() int64 {
	if s.target.Queue.SampleAgeLimit <= 0 {
		return 0
	}
	return s.now().Add(-s.target.Queue.SampleAgeLimit).UnixMilli()
}

// opens says whether bodies must be decoded.
func (s *sealer) opens(w *window) bool {
	return s.rules != nil || w.protocol > s.speaks() || (w.hasTime && w.minTime < s.cutoff())
}

func (s *sealer) speaks() wire.Protocol { return wire.Protocol(s.limit.Load()) }

func (s *sealer) join(w *window, list [][]byte) (err error) {
	switch {
	case len(list) == 1:
		w.body = append(getBody(), list[0]...)
	case w.protocol == wire.V1:
		w.body, err = wire.MergeV1(getBody(), list...)
	default:
		w.body, err = wire.MergeV2(getBody(), list...)
	}
	return err
}

// rewrite decodes every body, drops what is too old, relabels and converts, and joins the results.
func (s *sealer) rewrite(w *window, list [][]byte) error {
	to, cutoff := min(w.protocol, s.speaks()), s.cutoff()
	var joined []byte
	var stored [][]byte
	kept := w.origins[:0]
	for i, body := range list {
		o := w.origins[i]
		raw, err := wire.Decompress(s.raw, body, decodedMax)
		if err != nil {
			return err
		}
		s.raw = raw
		if raw, err = s.rewriteOne(w, raw, to, cutoff); err != nil {
			return err
		}
		_, counts, err := wire.Newest(raw, to)
		if err != nil {
			return err
		}
		if counts.Series == 0 && counts.Metadata == 0 {
			continue
		}
		o.series = int(counts.Series)
		kept = append(kept, o)
		if to == wire.V1 {
			joined = append(joined, raw...) // concatenated messages are one message
		} else {
			stored = append(stored, wire.Compress(nil, raw))
		}
	}
	w.origins, w.protocol, w.minTime = kept, to, max(w.minTime, cutoff)
	if len(kept) == 0 {
		return nil
	}
	if to == wire.V1 {
		w.body = wire.Compress(getBody(), joined)
		return nil
	}
	return s.join(w, stored)
}

// rewriteOne applies the three changes to one decoded body of w's protocol.
func (s *sealer) rewriteOne(w *window, raw []byte, to wire.Protocol, cutoff int64) (_ []byte, err error) {
	if cutoff > 0 {
		if raw, err = s.dropOld(w, raw, cutoff); err != nil {
			return nil, err
		}
	}
	if s.rules != nil {
		if raw, err = s.relabel(w, raw); err != nil {
			return nil, err
		}
	}
	if to != w.protocol {
		return wire.ToV1(nil, raw)
	}
	return raw, nil
}

// scan reads a decoded body; the samples of series that are invalid are dropped and counted with it.
func (s *sealer) scan(w *window, raw []byte) error {
	s.req.Reset()
	s.req.MaxStored = unbounded
	return s.req.Scan(raw, w.protocol, wire.Labels{})
}

// dropOld leaves out the series whose newest sample is older than cutoff.
func (s *sealer) dropOld(w *window, raw []byte, cutoff int64) ([]byte, error) {
	if err := s.scan(w, raw); err != nil {
		return nil, err
	}
	picks := make([]int32, 0, len(s.req.Series))
	var old uint64
	for i := range s.req.Series {
		series := &s.req.Series[i]
		n := series.Counts.Samples()
		switch {
		case series.Reason != "":
			w.invalid(n)
		case n > 0 && series.Counts.MaxTime < cutoff:
			old += n
		default:
			picks = append(picks, int32(i))
		}
	}
	if old == 0 && s.req.Bad == 0 {
		return raw, nil
	}
	w.prepared.drop(DroppedTooOld, old)
	w.samples -= old
	parts, err := s.req.Parts(picks, false, true, unbounded)
	if err != nil || len(parts) == 0 {
		return nil, err
	}
	return wire.Decompress(nil, parts[0].Body, decodedMax)
}

func (s *sealer) relabel(w *window, raw []byte) ([]byte, error) {
	if len(raw) == 0 {
		return raw, nil
	}
	if err := s.scan(w, raw); err != nil {
		return nil, err
	}
	w.invalid(s.req.Rejected.Samples())
	out, dropped, err := s.req.Relabel(s.out[:0], s.rules.apply)
	if err != nil {
		return nil, err
	}
	s.out = out
	w.prepared.relabelDropped += dropped
	w.samples -= dropped
	return out, nil
}

// invalid drops samples that no valid series holds.
func (w *window) invalid(n uint64) {
	w.prepared.drop(DroppedInvalid, n)
	w.samples -= n
}

// plan decides which requests the window becomes: one, or one for each lane, none above max_samples_per_send.
func (s *sealer) plan(w *window) error {
	lanes, limit := s.target.Queue.MaxShards, uint64(s.target.Queue.MaxSamplesPerSend)
	if lanes <= 1 && w.samples <= limit {
		w.pieces = []*piece{wholePiece(w)}
		return nil
	}
	c := &s.cut
	if err := c.read(w); err != nil {
		return err
	}
	w.cut = c // lent: if a piece has to be taken apart later, the window gets its own
	defer func() { w.cut = nil }()
	whole := wholePiece(w)
	shards := [][]int32{c.good}
	if lanes > 1 {
		shards = c.req.Shards(lanes)
	}
	meta := true
	for lane, picks := range shards {
		for _, run := range c.bySamples(picks, limit) {
			p := whole.some(c, run, meta)
			p.lane, meta = lane, false
			if err := p.encode(s.speaks()); err != nil {
				return err
			}
			w.pieces = append(w.pieces, p)
		}
	}
	if meta { // nothing but metadata
		w.pieces = []*piece{whole}
	}
	return nil
}
