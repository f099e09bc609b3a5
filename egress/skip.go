package egress

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/hashicorp/raft"

	"github.com/highlander-io/highlander/fsm"
)

const (
	// skipBytesMax and skipEntriesMax bound what one cursor command skips, so that a long skip survives a
	// change of leader.
	skipBytesMax   = 64 << 20
	skipEntriesMax = 1 << 16
)

// skip passes a stretch of the log without sending it. Its samples are counted from the headers.
type skip struct {
	to     uint64 // last index to pass; the destination's own is never passed beyond the applied index
	bytes  int64  // stop when this much has left the backlog; zero: no bound
	reason string
	done   chan error // capacity 1
}

// do runs between sessions, so nothing else moves the cursor.
func (j *skip) do(ctx context.Context, d *drain) {
	samples, err := j.pass(ctx, d)
	if samples > 0 {
		d.log.Warn("backlog dropped", "reason", j.reason, "samples", samples, "index", j.to)
	}
	j.done <- err
}

// pass moves the cursor in steps, each with what its stretch of the log held.
func (j *skip) pass(ctx context.Context, d *drain) (samples uint64, err error) {
	known, ok := d.journal.state.Destination(d.name)
	if !ok {
		return 0, fmt.Errorf("egress: no destination %q", d.name)
	}
	to := min(j.to, d.journal.state.Applied())
	reader := d.options.Log.Reader(known.Cursor + 1)
	defer func() { _ = reader.Close() }()
	cursor, left := known.Cursor, j.bytes
	for at := cursor; at < to; {
		books, end, err := headers(ctx, d.journal.state, reader, at, to, left)
		if err != nil {
			return samples, err
		}
		if end == at {
			return samples, nil
		}
		at = end
		if books.entries == 0 && books.passed == 0 {
			continue // bookkeeping alone is not worth a command
		}
		books.drop(j.reason, books.samples)
		if err := d.journal.move(ctx, books.command(d.name, cursor, at, d.options.Now().UnixMilli())); err != nil {
			return samples, err
		}
		cursor, samples = at, samples+books.samples
		if left -= int64(books.bytes); j.bytes > 0 && left <= 0 {
			break
		}
	}
	return samples, nil
}

// stretch is what headers finds.
type stretch struct {
	tally
	passed int // batches that Apply had refused
}

// headers adds up the accepted batches after from, up to to or a bound. at is the last index read.
func headers(ctx context.Context, state *fsm.FSM, r Reader, from, to uint64, bytes int64) (books stretch, at uint64, err error) {
	at = from
	for at < to && books.bytes < skipBytesMax && at-from < skipEntriesMax && (bytes == 0 || int64(books.bytes) < bytes) {
		if ctx.Err() != nil {
			return books, at, context.Cause(ctx)
		}
		e, err := r.Next(to)
		if errors.Is(err, io.EOF) {
			return books, at, nil
		}
		if err != nil {
			return books, at, fmt.Errorf("egress: read the log after %d: %w", at, err)
		}
		at = e.Index
		if e.Type != raft.LogCommand {
			continue
		}
		kind, err := fsm.PeekKind(e.Data)
		if err != nil || kind != fsm.KindBatch {
			continue // Apply has judged this entry; it is in no destination's books
		}
		if _, no := state.Refused(e.Index); no {
			books.passed++
			continue
		}
		b, err := fsm.DecodeBatch(e.Data)
		if err != nil {
			return books, at, fmt.Errorf("egress: entry %d: %w", e.Index, err)
		}
		books.batch(&b)
	}
	return books, at, nil
}
