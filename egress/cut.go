package egress

import (
	"fmt"
	"math/bits"

	"github.com/cespare/xxhash/v2"

	"github.com/highlander-io/highlander/fsm/wire"
)

const (
	// unbounded is passed where a body of a window is taken apart: its pieces are never larger than it was.
	unbounded = 1 << 30
	// decodedMax bounds what is decoded at once; a window's decoded size is known to be far below.
	decodedMax = 256 << 20
)

// cut is a window's body taken apart: where its series are, and which batch each came from.
type cut struct {
	raw   []byte
	req   wire.Request
	good  []int32  // all series that can be sent
	owner []int32  // series -> index into window.origins; made when asked for
	hash  []uint64 // series -> hash of its labels, whatever their order; made when asked for
}

// takeApart scans the window's body. Series that are invalid (only relabelling can make them so) go into no
// piece; their samples are counted as dropped here and leave w.samples, so that the pieces add up.
func (w *window) takeApart() (*cut, error) {
	if w.cut != nil {
		return w.cut, nil
	}
	c := new(cut)
	if err := c.read(w); err != nil {
		return nil, err
	}
	w.cut = c
	return c, nil
}

// read scans a window's body into c's buffers.
func (c *cut) read(w *window) (err error) {
	if c.raw, err = wire.Decompress(c.raw, w.body, decodedMax); err != nil {
		return err
	}
	c.req.Reset()
	c.req.MaxStored = unbounded
	if err := c.req.Scan(c.raw, w.protocol, wire.Labels{}); err != nil {
		return err
	}
	samples := c.req.Counts.Samples()
	if samples > w.samples {
		return fmt.Errorf("egress: body of entries %d to %d holds %d samples, its headers say %d", w.after+1, w.to, samples, w.samples)
	}
	w.invalid(w.samples - samples)
	c.good, c.owner, c.hash = c.good[:0], nil, nil
	for i := range c.req.Series {
		if c.req.Series[i].Reason == "" {
			c.good = append(c.good, int32(i))
		}
	}
	return nil
}

// owners says which batch each series came from: the batches' headers say how many each brought.
func (c *cut) owners(w *window) []int32 {
	if c.owner != nil {
		return c.owner
	}
	c.owner = make([]int32, len(c.req.Series))
	from, left := -1, 0
	for i := range c.owner {
		for left == 0 && from < len(w.origins)-1 {
			from++
			left = w.origins[from].series
		}
		left--
		c.owner[i] = int32(max(from, 0))
	}
	return c.owner
}

func (c *cut) hashes() []uint64 {
	if c.hash != nil {
		return c.hash
	}
	c.hash = make([]uint64, len(c.req.Series))
	var list []wire.Label
	for _, i := range c.good {
		list = c.req.Labels(int(i), list[:0])
		c.hash[i] = labelsHash(list)
	}
	return c.hash
}

// labelsHash does not depend on the order of the labels. Series with the same hash are kept together.
func labelsHash(list []wire.Label) uint64 {
	var h uint64
	for _, l := range list {
		h += bits.RotateLeft64(xxhash.Sum64String(l.Name), 17)*0x9e3779b97f4a7c15 ^ xxhash.Sum64String(l.Value)
	}
	return h
}

func (c *cut) samples(picks []int32) uint64 {
	var n uint64
	for _, i := range picks {
		n += c.req.Series[i].Counts.Samples()
	}
	return n
}

// groups lists the picks by series, in order of first appearance and each in order of the body. Taking a
// window apart between groups never puts two samples of one series into different pieces.
func (c *cut) groups(picks []int32) [][]int32 {
	at, hash := make(map[uint64]int, len(picks)), c.hashes()
	var out [][]int32
	for _, i := range picks {
		g, ok := at[hash[i]]
		if !ok {
			g = len(out)
			at[hash[i]] = g
			out = append(out, nil)
		}
		out[g] = append(out[g], i)
	}
	return out
}

// byOrigin lists the picks by the batch they came from, in log order.
func (c *cut) byOrigin(w *window, picks []int32) [][]int32 {
	owner := c.owners(w)
	var out [][]int32
	last := int32(-1)
	for _, i := range picks {
		if owner[i] != last {
			last = owner[i]
			out = append(out, nil)
		}
		out[len(out)-1] = append(out[len(out)-1], i)
	}
	return out
}

// bySamples lists the picks in runs of at most limit samples, in order.
func (c *cut) bySamples(picks []int32, limit uint64) [][]int32 {
	var out [][]int32
	var n uint64
	for _, i := range picks {
		s := c.req.Series[i].Counts.Samples()
		if len(out) == 0 || n+s > limit {
			out, n = append(out, nil), 0
		}
		out[len(out)-1] = append(out[len(out)-1], i)
		n += s
	}
	return out
}
