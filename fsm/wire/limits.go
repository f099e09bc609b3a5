package wire

import "fmt"

// Limits on what one request may make this node remember beside its bytes. A body of empty fields takes two bytes for
// each, and compresses to next to nothing; what is kept about a field takes up to a hundred. Real requests stay far
// below: Prometheus sends some thousand series at once.
const (
	seriesMax     = 1 << 19
	symbolsMax    = 1 << 21
	identitiesMax = 1 << 14
	extraMax      = 1 << 19 // metadata entries and unknown fields
	// bucketsMax is above the number of bytes of an entry, so no histogram that is accepted has as many buckets. Of
	// others the first ones are forgotten while they are read.
	bucketsMax = 1 << 18
	// detailsMax is how many refused series of a request are described one by one.
	detailsMax = 100
)

// LimitError is returned by Scan for a request that has too many of something, however small. The whole body is
// refused.
type LimitError struct {
	What  string
	Limit int
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("the request has more than %d %s; send smaller ones", e.Limit, e.What)
}

func (r *Request) checkLimits() error {
	switch {
	case len(r.Series) > seriesMax:
		return &LimitError{"series", seriesMax}
	case len(r.symbols) > symbolsMax:
		return &LimitError{"symbols", symbolsMax}
	case len(r.Identities) > identitiesMax:
		return &LimitError{"different groups and sources in labels", identitiesMax}
	case len(r.extra) > extraMax:
		return &LimitError{"metadata entries and unknown fields", extraMax}
	}
	return nil
}
