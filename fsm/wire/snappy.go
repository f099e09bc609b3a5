package wire

import (
	"bytes"
	"errors"
	"fmt"
	"math"

	"github.com/golang/snappy"
	"github.com/klauspost/compress/s2"
)

// ErrTooLarge is returned, wrapped, for a body that declares more than the limit. Nothing was allocated.
var ErrTooLarge = errors.New("wire: decoded body too large")

// framed begins every stream in the framing format of snappy: the chunk type and length of its identifier.
// Remote write uses the block format. No block whose content is a protobuf message begins like this.
var framed = []byte{0xff, 0x06, 0x00, 0x00}

// perByteMax is more than one byte of a block can expand to: its longest copy is 64 bytes for 3.
const perByteMax = 22

// DecodedLen returns the length that a snappy block declares, having checked that it can be true.
func DecodedLen(body []byte) (int, error) {
	if bytes.HasPrefix(body, framed) {
		return 0, errors.New("body is in snappy's framing format; remote write needs the block format, without stream identifier and chunks")
	}
	n, next := varint(body, 0)
	switch {
	case next < 0:
		return 0, errors.New("body is not a snappy block: no decoded length in front" + otherFormat(body))
	case n > 1<<32-1:
		return 0, errors.New("body is not a snappy block: its declared length exceeds 32 bits" + otherFormat(body))
	case n > uint64(len(body)-next)*perByteMax:
		return 0, fmt.Errorf("body is not a snappy block, or cut off: it declares %d bytes, but %d bytes cannot expand to that%s", n, len(body)-next, otherFormat(body))
	}
	return int(n), nil
}

// Decompress decodes a snappy block into dst's memory if that is large enough. A body that declares more than
// limit bytes is refused, with ErrTooLarge, before anything is allocated.
func Decompress(dst, body []byte, limit int) ([]byte, error) {
	n, err := DecodedLen(body)
	if err != nil {
		return nil, err
	}
	if n > limit {
		return nil, fmt.Errorf("%w: it declares %d bytes, the limit is %d", ErrTooLarge, n, limit)
	}
	raw, err := snappy.Decode(dst[:cap(dst)], body)
	if err != nil {
		return nil, fmt.Errorf("body is not a valid snappy block%s: %w", otherFormat(body), err)
	}
	return raw, nil
}

// checkBlock refuses what a snappy block cannot hold; its length has 32 bits.
func checkBlock(n int) error {
	if n > math.MaxUint32-snappyOverhead {
		return fmt.Errorf("%w: %d bytes do not fit a snappy block", ErrTooLarge, n)
	}
	return nil
}

// Compress encodes raw, of at most 4 GiB, as a snappy block into dst's memory if that is large enough.
func Compress(dst, raw []byte) []byte { return s2.EncodeSnappy(dst[:cap(dst)], raw) }

func otherFormat(body []byte) string {
	switch {
	case bytes.HasPrefix(body, []byte{0x1f, 0x8b}):
		return " (it looks like gzip)"
	case bytes.HasPrefix(body, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return " (it looks like zstd)"
	}
	return ""
}
