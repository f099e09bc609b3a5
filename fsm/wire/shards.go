package wire

import (
	"math/bits"

	"github.com/zeebo/xxh3"
)

// Shards distributes the good series over n lanes by a hash of their labels: a series is in the same lane in every
// request, whatever the protocol and the order of its labels. The result is valid until the next call.
func (r *Request) Shards(n int) [][]int32 {
	for len(r.lanes) < n {
		r.lanes = append(r.lanes, nil)
	}
	lanes := r.lanes[:n]
	for i := range lanes {
		lanes[i] = lanes[i][:0]
	}
	for i := range r.Series {
		if s := &r.Series[i]; s.Reason == "" {
			lane, _ := bits.Mul64(r.Hash(i), uint64(n))
			lanes[lane] = append(lanes[lane], int32(i))
		}
	}
	return lanes
}

// Hash returns a hash of the labels of series i. It adds up the hashes of labels, so that their order does not matter,
// and stirs the sum.
func (r *Request) Hash(i int) uint64 {
	var sum uint64
	r.readLabels(&r.Series[i])
	for _, l := range r.labels {
		sum += xxh3.HashSeed(r.bytes(l.value), xxh3.Hash(r.bytes(l.name)))
	}
	sum ^= sum >> 32
	return sum * 0x9e3779b97f4a7c15
}
