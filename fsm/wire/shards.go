package wire

import "math/bits"

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
