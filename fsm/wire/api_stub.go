package wire

import "errors"

// ErrTooLarge is returned (wrapped) by DecodedLen's users when a body declares more than the limit.
var ErrTooLarge = errors.New("wire: body too large")

// ErrUncuttable is returned (wrapped) by Parts when a single sample with its labels does not fit.
var ErrUncuttable = errors.New("wire: one sample exceeds the limit")

var errStub = errors.New("wire: not there yet")

// DecodedLen returns the decoded length that a snappy block declares.
func DecodedLen(body []byte) (int, error) { return 0, errStub }

// Decompress decodes a snappy block into dst's memory if that is large enough.
func Decompress(dst, body []byte, max int) ([]byte, error) { return nil, errStub }

// Compress encodes raw as a snappy block into dst's memory if that is large enough.
func Compress(dst, raw []byte) []byte { return nil }

// Reset forgets the last body and keeps the buffers.
func (r *Request) Reset() {}

// Scan reads a decoded body.
func (r *Request) Scan(raw []byte, p Protocol, l Labels) error { return errStub }

// ScanIdentity calls fn with each series' group and source.
func ScanIdentity(raw []byte, p Protocol, l Labels, fn func(group, source []byte)) error {
	return errStub
}

// Newest looks for the newest timestamp and counts.
func Newest(raw []byte, p Protocol) (newest int64, counts Counts, err error) {
	return 0, Counts{}, errStub
}

// Parts cuts the picked series (nil: all good ones) into stored bodies.
func (r *Request) Parts(pick []int32, strip, withMetadata bool, maxStored int) ([]Part, error) {
	return nil, errStub
}

// Labels appends the labels of series i to dst; they alias the body.
func (r *Request) Labels(i int, dst []Label) []Label { return dst }

// Samples appends the samples of series i to dst, floats first.
func (r *Request) Samples(i int, dst []Sample) []Sample { return dst }

// Shards distributes the good series over n lanes by a hash of their labels.
func (r *Request) Shards(n int) [][]int32 { return nil }

// Relabel rewrites the labels of all good series; the result is a decoded body in dst's memory.
func (r *Request) Relabel(dst []byte, fn func([]Label) ([]Label, bool)) (raw []byte, dropped uint64, err error) {
	return nil, 0, errStub
}

// MergeV1 joins stored 1.0 bodies without decoding them, in dst's memory.
func MergeV1(dst []byte, bodies ...[]byte) ([]byte, error) { return nil, errStub }

// MergeV2 joins stored 2.0 bodies, in dst's memory.
func MergeV2(dst []byte, bodies ...[]byte) ([]byte, error) { return nil, errStub }

// ToV1 converts a decoded 2.0 body into a decoded 1.0 body, in dst's memory.
func ToV1(dst, rawV2 []byte) ([]byte, error) { return nil, errStub }
