package egress

import "github.com/highlander-io/highlander/fsm"

// Reasons for which samples are dropped: keys of fsm.Cursor.Dropped and values of the label `reason`.
const (
	// DroppedTooOld were older than sample_age_limit when their request was prepared.
	DroppedTooOld = "too_old"
	// DroppedSkipped were passed over by an operator's `destination skip`.
	DroppedSkipped = "skipped"
	// DroppedFull made room under `when_full: drop_oldest`.
	DroppedFull = "full"
	// DroppedRefused were part of a request whose answer said how many it wrote, but not which.
	DroppedRefused = "refused"
	// DroppedInvalid became invalid by relabelling: no endpoint could be asked for a verdict on them.
	DroppedInvalid = "invalid"
)

// tally is the books' side of a stretch of the log: what left the backlog, read from headers, and what became
// of it, counted where it happened. Both sides are filled independently; balanced compares them.
type tally struct {
	entries, samples, bytes uint64

	delivered, redelivered, deadLetter, relabelDropped uint64
	dropped                                            map[string]uint64
}

func (t *tally) batch(b *fsm.Batch) {
	t.entries++
	t.samples += b.Counts.Samples()
	t.bytes += uint64(len(b.Body)) // the backlog is counted in bytes of bodies as stored
}

func (t *tally) drop(reason string, n uint64) {
	if n == 0 {
		return
	}
	if t.dropped == nil {
		t.dropped = map[string]uint64{}
	}
	t.dropped[reason] += n
}

func (t *tally) add(o *tally) {
	t.entries += o.entries
	t.samples += o.samples
	t.bytes += o.bytes
	t.delivered += o.delivered
	t.redelivered += o.redelivered
	t.deadLetter += o.deadLetter
	t.relabelDropped += o.relabelDropped
	for reason, n := range o.dropped {
		t.drop(reason, n)
	}
}

// outcomes is what became of the samples.
func (t *tally) outcomes() uint64 {
	n := t.delivered + t.deadLetter + t.relabelDropped
	for _, d := range t.dropped {
		n += d
	}
	return n
}

func (t *tally) balanced() bool { return t.outcomes() == t.samples }

func (t *tally) command(destination string, from, to uint64, now int64) *fsm.Cursor {
	return &fsm.Cursor{
		Destination: destination, From: from, To: to,
		Entries: t.entries, Samples: t.samples, Bytes: t.bytes,
		Delivered: t.delivered, Redelivered: t.redelivered, DeadLetter: t.deadLetter,
		RelabelDropped: t.relabelDropped, Dropped: t.dropped, Time: now,
	}
}
