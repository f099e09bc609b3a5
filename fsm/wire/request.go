package wire

// Pair names the two labels by which a series says where it comes from: its group and, within it, the
// replica that sent it. A pair matches a series that has the replica label with a value.
type Pair struct{ Group, Replica string }

// Labels says which labels name a series' group and source. Of several pairs that match, the first counts; the
// replica labels of all pairs are removed.
type Labels struct{ Pairs []Pair }

// Label is one label of a series.
type Label struct{ Name, Value string }

// Sample is one sample of a series as a person wants to see it. Value is the sum of a histogram.
type Sample struct {
	Time      int64 // Unix milliseconds
	Value     float64
	Histogram bool
}

// Reasons for which a single series is refused. They are values of the label `reason` of metrics.
const (
	ReasonMissingName    = "missing_name"     // no __name__
	ReasonEmptyName      = "empty_name"       // __name__ without a value
	ReasonDuplicateLabel = "duplicate_label"  // one label name twice
	ReasonEmptyLabelName = "empty_label_name" // a label without a name
	ReasonInvalidUTF8    = "invalid_utf8"     // in a label name or value
	ReasonBadSymbolRef   = "bad_symbol_ref"   // odd number of references, or one beyond the symbols
	ReasonBadHistogram   = "bad_histogram"    // buckets, spans and count contradict each other
	ReasonLabelsTooLong  = "labels_too_long"  // labels alone exceed an entry
	ReasonSampleTooLong  = "sample_too_long"  // labels and one histogram, exemplar or metadata exceed an entry
)

// Request is what Scan found in a decoded body. It holds positions in that body, so the body must stay as it is
// while the Request is used. A Request is meant to be reused: its buffers grow to the size of the requests
// that pass through it and then no longer. It is not safe for use by several goroutines.
type Request struct {
	Protocol Protocol
	Series   []Series
	// Counts are of the good series only, with the request's metadata.
	Counts Counts
	// Rejected counts what the refused series held.
	Rejected Counts
	// Bad is the number of refused series.
	Bad int
	// Replica is true if at least one good series has a replica label that must go.
	Replica bool
	// Identities lists the distinct identities of all series in order of first appearance; Series.Identity points
	// into it. A request without series has none.
	Identities []Identity
	// WrittenOut is what labels, exemplars and metadata of a 2.0 body take when each symbol is written where it is referred to, as
	// 1.0 does. In a small body many series may refer to one long symbol.
	WrittenOut int64
	// MaxStored is the size of a stored body that Parts will be asked for, set before Scan; zero means
	// DefaultMaxStored. Series whose smallest piece cannot fit are refused by Scan.
	MaxStored int

	raw        []byte
	rawMax     int
	current    int    // the series that is being read
	badRef     string // the first reference that leads nowhere, whatever its series is refused for
	matcher    matcher
	named      named
	byIdentity map[identityKey]int32 // only where there are many
	cuts       []span                // replica labels of 1.0 series, in order
	refs       []uint32              // label references of 2.0 series, in order
	symbols    []symbol              // 2.0
	extra      []extra
	scratch    nativeHistogram
	labels     []labelSpan // of one series
	exemplar   []uint32    // references of one exemplar
	remap      []uint32    // 2.0: symbol to new symbol while a part is written
	writer     writerV2
	units      []unit
	elements   []element
	out        []byte // a part before compression
	stored     []byte // and after
	lanes      [][]int32
	other      matcher    // of SeriesHash and Cover, if they are asked with other labels than Scan was
	hashes     []uint64   // 2.0: of symbols, zero if not yet known
	columns    columns    // 1.0: hashes of names
	covers     []coverage // by series
}

// symbol is one string of a 2.0 request.
type symbol struct {
	span
	prefix  uint64
	watched *watched // a label name that identifies
	invalid bool     // not UTF-8
}

// extra is a field of the request that is not a series.
type extra struct {
	span
	metadata bool
}

// WrittenOutMax bounds, for a part of a 2.0 body of more than one series, what Request.WrittenOut is of it.
const WrittenOutMax = 8 << 20

// DefaultMaxStored leaves room for a batch's header in an entry of 256 KiB.
const DefaultMaxStored = 248 << 10

// Identity is a group and source named by the labels of series. Both empty: the labels name nothing. Group empty
// alone: a replica label without its group label.
type Identity struct {
	Group, Source string
	Series        int // how many series, good or bad, have it
}

// Series is one series of a request. Its group and source are those of Identities[Identity].
type Series struct {
	Counts   Counts
	Reason   string // "" = good, else a Reason constant
	Detail   string // for people, only with a Reason
	Identity int32  // index into Request.Identities
	Replica  bool   // has a replica label to remove

	sorted   bool // labels in order, none twice
	metadata bool // 2.0: has metadata
	// Where it is in the body: the field's tag, its content.
	head, start, end int32
	// 1.0: its replica labels in Request.cuts; 2.0: its label references in Request.refs.
	from, n int32
}

// Part is a stored body: a snappy block, with what it holds.
type Part struct {
	Body   []byte
	Counts Counts
}
