package egress

import (
	"fmt"
	"slices"

	"github.com/highlander-io/highlander/fsm/wire"
)

// piece is one request's worth of a window: all of it, or some of its series. Pieces of one lane are sent in
// order; pieces of different lanes hold different series.
type piece struct {
	w         *window
	whole     bool
	picks     []int32 // series of the window's cut, if not whole
	meta      bool    // carries the request's metadata
	lane      int
	samples   uint64        // of the picks
	body      []byte        // as sent, once encoded
	protocol  wire.Protocol // of body
	uncertain bool          // an earlier attempt may have been stored
	done      *result       // decided while the endpoint was probed
}

func wholePiece(w *window) *piece {
	return &piece{w: w, whole: true, meta: true, body: w.body, protocol: w.protocol}
}

// some makes a piece of the same window out of some of p's series. What is uncertain about p is about its parts.
func (p *piece) some(c *cut, picks []int32, meta bool) *piece {
	return &piece{w: p.w, picks: picks, meta: meta, lane: p.lane, samples: c.samples(picks), uncertain: p.uncertain}
}

// count is p's samples. Those of a whole window shrink when invalid series are found in it.
func (p *piece) count() uint64 {
	if p.whole {
		return p.w.samples
	}
	return p.samples
}

// series lists what p holds.
func (p *piece) series(c *cut) []int32 {
	if p.whole {
		return c.good
	}
	return p.picks
}

// encode makes the body in a protocol that is not newer than limit.
func (p *piece) encode(limit wire.Protocol) error {
	want := min(p.w.protocol, limit)
	if p.body != nil && p.protocol == want {
		return nil
	}
	body, err := p.original()
	if err != nil {
		return err
	}
	p.body, p.protocol = body, p.w.protocol
	if want == p.protocol {
		return nil
	}
	raw, err := wire.Decompress(nil, body, decodedMax)
	if err != nil {
		return err
	}
	old, err := wire.ToV1(nil, raw)
	if err != nil {
		return err
	}
	p.body, p.protocol = wire.Compress(nil, old), wire.V1
	return nil
}

// original is the body in the window's own protocol.
func (p *piece) original() ([]byte, error) {
	if p.whole {
		return p.w.body, nil
	}
	c, err := p.w.takeApart()
	if err != nil {
		return nil, err
	}
	picks := p.picks
	if picks == nil {
		picks = []int32{} // nil would mean all
	}
	parts, err := c.req.Parts(picks, false, p.meta, unbounded)
	if err != nil {
		return nil, err
	}
	switch len(parts) {
	case 0:
		return emptyBody(p.w.protocol), nil
	case 1:
		return parts[0].Body, nil
	}
	return nil, fmt.Errorf("egress: a piece of entries %d to %d became %d bodies", p.w.after+1, p.w.to, len(parts))
}

// emptyBody is a valid request without series: what is sent to ask whether an endpoint takes anything at all.
func emptyBody(p wire.Protocol) []byte {
	if p == wire.V2 {
		return wire.Compress(nil, []byte{0x22, 0x00}) // symbols: [""]
	}
	return wire.Compress(nil, []byte{})
}

// halves takes p apart between series; nil if it holds only one. The metadata goes with the first half, and
// in the end alone.
func (p *piece) halves() ([]*piece, error) {
	c, err := p.w.takeApart()
	if err != nil {
		return nil, err
	}
	picks := p.series(c)
	groups := c.groups(picks)
	if len(groups) > 1 {
		mid := len(groups) / 2
		return []*piece{p.some(c, joined(groups[:mid]), p.meta), p.some(c, joined(groups[mid:]), false)}, nil
	}
	if p.meta && len(picks) > 0 && c.req.Counts.Metadata > 0 {
		return []*piece{p.some(c, picks, false), p.some(c, nil, true)}, nil
	}
	return nil, nil
}

// records takes p apart in the order of its samples; nil if there is one record only. Its parts must be sent
// one after the other.
func (p *piece) records() ([]*piece, error) {
	c, err := p.w.takeApart()
	if err != nil {
		return nil, err
	}
	picks := p.series(c)
	if len(picks) < 2 {
		return nil, nil
	}
	mid := len(picks) / 2
	return []*piece{p.some(c, picks[:mid], p.meta), p.some(c, picks[mid:], false)}, nil
}

// carve takes what was decided by itself out of the other pieces of a window.
func (w *window) carve(c *cut, decided *piece) {
	gone := make(map[int32]bool, len(decided.picks))
	for _, i := range decided.picks {
		gone[i] = true
	}
	pieces := []*piece{decided}
	for _, p := range w.pieces {
		left := slices.DeleteFunc(slices.Clone(p.series(c)), func(i int32) bool { return gone[i] })
		if len(left) == 0 && !p.meta {
			continue
		}
		rest := p.some(c, left, p.meta)
		rest.done = p.done
		pieces = append(pieces, rest)
	}
	w.pieces = pieces
}

// joined puts groups back into the order of the body.
func joined(groups [][]int32) []int32 {
	out := slices.Concat(groups...)
	slices.Sort(out)
	return out
}
