package egress

import (
	"sync"

	"github.com/highlander-io/highlander/fsm"
	"github.com/highlander-io/highlander/fsm/wire"
)

// origin is one batch inside a window: what a dead letter has to name.
type origin struct {
	index  uint64
	group  fsm.GroupID
	source string
	series int // series of this batch in the window's body
}

// window is a stretch of the log, (after, to], whose batches go out together. The gatherer fills it, the
// sender decides it; it is never shared.
type window struct {
	after, to uint64
	tenant    string
	protocol  wire.Protocol // of the body
	body      []byte        // pooled; all batches merged, as stored (snappy)
	origins   []origin
	samples   uint64 // in body
	stored    int64  // stored bytes of the batches, before anything was changed
	decoded   int64
	minTime   int64 // oldest sample in body, for sample_age_limit
	hasTime   bool
	batches   int   // batches in the stretch, refused and dropped ones included
	passed    int64 // bytes of bookkeeping in the stretch
	suspect   bool  // a predecessor may have delivered it already

	prepared tally // what the headers say, and what was dropped while preparing
	sent     tally // what became of body

	pieces   []*piece // what body is sent as: in order within a lane
	cut      *cut     // body, scanned; made when something has to be taken apart
	refusals []refusedPiece
	given    []refusedPiece // refused and not taken apart, because nothing at all seemed to be accepted
	accepted bool           // the endpoint took something of it, now or before
	probes   int
	replay   bool // a dead letter, not a stretch of the log

	asked, emptyRefused bool // an empty request was tried meanwhile, and refused as well
}

// worth says whether a cursor command may be written for this stretch alone. Bookkeeping entries, cursor
// commands among them, are not worth one, or cursor commands would chase each other for ever; unless there is
// so much of it that the log should be let go.
func (w *window) worth() bool { return w.batches > 0 || w.passed >= bookkeepingMax }

// bookkeepingMax is the bytes of bookkeeping that are passed for free.
const bookkeepingMax = 4 << 20

func (w *window) total() tally {
	t := tally{}
	t.add(&w.prepared)
	t.add(&w.sent)
	return t
}

// reset forgets what sending came to, to send everything again.
func (w *window) reset() {
	w.sent, w.refusals, w.given, w.accepted, w.probes = tally{}, nil, nil, false, 0
	w.asked, w.emptyRefused = false, false
}

// slim lets go of what can be made again, while the window waits undecided.
func (w *window) slim() {
	w.cut = nil
	for _, it := range w.refusals {
		if !it.piece.whole {
			it.piece.body = nil
		}
	}
}

// took counts samples that the endpoint has. That it took something without samples proves nothing.
func (w *window) took(n uint64) {
	w.sent.delivered += n
	w.accepted = w.accepted || n > 0
}

// tookBefore counts samples that the endpoint had already: it refused them as repeated or out of order.
func (w *window) tookBefore(n uint64) {
	w.sent.redelivered += n
	w.took(n)
}

var bodies = sync.Pool{New: func() any { return new([]byte) }}

func getBody() []byte { return (*bodies.Get().(*[]byte))[:0] }

// putBody gives a buffer back. Large ones are left to the collector, so that one large request does not stay
// in memory for ever.
func putBody(b []byte) {
	if cap(b) == 0 || cap(b) > 4<<20 {
		return
	}
	bodies.Put(&b)
}
