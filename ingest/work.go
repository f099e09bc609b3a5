package ingest

import (
	"sync"

	"github.com/zeebo/xxh3"

	"github.com/highlander-io/highlander/fsm"
	"github.com/highlander-io/highlander/fsm/wire"
)

// work is the leader's desk for one request. Desks are reused, with the memory they have grown.
type work struct {
	request *request
	options *Options
	raw     *buffer // the decoded body; nil while it is closed
	scan    wire.Request
	claims  []claim
	orphans rejections        // series that belong to nobody, because they are refused for what names them
	owners  []owner           // of each of scan.Identities
	bySrc   map[*source]int32 // claim of a source; only where there are many
	hash    xxh3.Hasher
	label   []wire.Label
	notes   []keptNote // what the follower it came through is to keep

	second    wire.Request // of a stored body that is covered
	uncovered []byte

	// of standbyLabelled
	state      State
	seen       []sighting
	others     bool // the body holds something that is not of a known standby
	onIdentity func(group, source []byte)
}

// owner says whose the series of an identity are: the claim of that index, or nobody's for a reason.
type owner struct {
	claim          int32
	reason, detail string
}

// claim is one source's share of a request: everything in it, if URL or headers name it.
type claim struct {
	group     *group
	source    *source
	unelected bool
	bytes     int // of the body as received
	whole     bool
	pick      []int32 // its good series, unless whole
	counts    wire.Counts
	rejects   rejections
	metadata  bool // takes along what the request holds besides series

	fence    *handover // of the source's turn, if it is open
	fromKept bool      // kept before, and passed on now
	covered  uint64    // samples that the fence held back
	fenced   uint64    // from kept: of them those that were delivered before the turn, and not in it by a predecessor
	stored   []uint64  // from kept: SeriesHash of what is stored
	scanned  bool      // counts are known to be all there is
	kept     *keptItem // of a standby's

	place   place
	round   int // in which round it was placed, and proposed
	epoch   uint64
	proven  bool // the log itself has said that the source is not current
	doubled bool // accepted before
	parts   []wire.Part
	asCame  bool // the body as it came is its only part
	id      fsm.RequestID
	futures []Future
	failure string // why it is unavailable
}

// place says where a claim stands.
type place uint8

const (
	pending place = iota // to be placed, or proposed
	waived               // accepted without an entry: there is nothing to keep
	stood                // of a standby
	kept                 // accepted
	failed               // unavailable
)

// rejection sums up series that were refused for one reason.
type rejection struct {
	reason  string
	detail  string // of the first one
	series  int
	samples uint64
}

// sighting is an identity found in a body that may be a standby's.
type sighting struct {
	group, source string // as the labels say
	arrival       arrival
	series        int
}

var desks = sync.Pool{New: func() any {
	wk := new(work)
	wk.onIdentity = wk.noteIdentity
	return wk
}}

func newWork(rq *request, o *Options) *work {
	wk := desks.Get().(*work)
	wk.request, wk.options = rq, o
	return wk
}

// seriesPooledMax is the largest request for which a desk is kept as it has grown.
const seriesPooledMax = 32 << 10

func (wk *work) release() {
	if wk.raw != nil {
		wk.raw.release()
	}
	wk.request, wk.options, wk.raw, wk.state = nil, nil, nil, nil
	if cap(wk.scan.Series) > seriesPooledMax {
		wk.scan = wire.Request{}
	}
	wk.scan.Reset()
	for i := range wk.claims {
		wk.claims[i].clear()
	}
	wk.second.Reset()
	if cap(wk.second.Series) > seriesPooledMax {
		wk.second = wire.Request{}
	}
	if cap(wk.uncovered) > uncoveredPooledMax {
		wk.uncovered = nil
	}
	wk.notes = nil
	clear(wk.orphans)
	clear(wk.owners)
	clear(wk.seen)
	clear(wk.bySrc)
	wk.claims, wk.orphans, wk.seen, wk.owners = wk.claims[:0], wk.orphans[:0], wk.seen[:0], wk.owners[:0]
	desks.Put(wk)
}

// clear drops everything but memory.
func (c *claim) clear() {
	clear(c.futures)
	clear(c.rejects)
	clear(c.parts)
	*c = claim{pick: c.pick[:0], stored: c.stored[:0], futures: c.futures[:0], rejects: c.rejects[:0], parts: c.parts[:0]}
}

// rawBytes is the decoded body; nil while it is closed.
func (wk *work) rawBytes() []byte {
	if wk.raw == nil {
		return nil
	}
	return wk.raw.b
}

// add appends an empty claim. Pointers to earlier ones are invalid afterwards.
func (wk *work) add() *claim {
	if len(wk.claims) < cap(wk.claims) {
		wk.claims = wk.claims[:len(wk.claims)+1]
	} else {
		wk.claims = append(wk.claims, claim{})
	}
	return &wk.claims[len(wk.claims)-1]
}

type rejections []rejection

// add notes a refused series.
func (r *rejections) add(reason, detail string, samples uint64) {
	for i := range *r {
		if known := &(*r)[i]; known.reason == reason {
			known.series++
			known.samples += samples
			return
		}
	}
	*r = append(*r, rejection{reason: reason, detail: detail, series: 1, samples: samples})
}

func (wk *work) labels() wire.Labels { return wire.Labels{Pairs: wk.options.Pairs} }
