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
	owner []int32  // series -> index into window.origins
	hash  []uint64 // series -> hash of its labels, whatever their order
	good  []int32  // all series that can be sent
}

// takeApart scans the window's body. Series that are invalid (only relabelling can make them so) go into no
// piece; their samples are counted as dropped here and leave w.samples, so that the pieces add up.
func (w *window) takeApart() (*cut, error) {
	if w.cut != nil {
		return w.cut, nil
	}
	raw, err := wire.Decompress(nil, w.body, decodedMax)
	if err != nil {
		return nil, err
	}
	c := &cut{raw: raw}
	c.req.MaxStored = unbounded
	if err := c.req.Scan(raw, w.protocol, wire.Labels{}); err != nil {
		return nil, err
	}
	if got := c.req.Counts.Samples(); got > w.samples {
		return nil, fmt.Errorf("egress: body of entries %d to %d holds %d samples, its headers say %d", w.after+1, w.to, got, w.samples)
	}
	w.prepared.drop(DroppedInvalid, w.samples-c.req.Counts.Samples())
	w.samples = c.req.Counts.Samples()
	c.index(w)
	w.cut = c
	return c, nil
}

func (c *cut) index(w *window) {
	n := len(c.req.Series)
	c.owner, c.hash = make([]int32, n), make([]uint64, n)
	var list []wire.Label
	from, left := 0, 0
	if len(w.origins) > 0 {
		left = w.origins[0].series
	}
	for i := range n {
		for left == 0 && from < len(w.origins)-1 {
			from++
			left = w.origins[from].series
		}
		left--
		c.owner[i] = int32(from)
		if c.req.Series[i].Reason != "" {
			continue
		}
		list = c.req.Labels(i, list[:0])
		c.hash[i] = labelsHash(list)
		c.good = append(c.good, int32(i))
	}
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
	at := make(map[uint64]int, len(picks))
	var out [][]int32
	for _, i := range picks {
		g, ok := at[c.hash[i]]
		if !ok {
			g = len(out)
			at[c.hash[i]] = g
			out = append(out, nil)
		}
		out[g] = append(out[g], i)
	}
	return out
}

// byOrigin lists the picks by the batch they came from, in log order.
func (c *cut) byOrigin(picks []int32) [][]int32 {
	var out [][]int32
	last := int32(-1)
	for _, i := range picks {
		if c.owner[i] != last {
			last = c.owner[i]
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
