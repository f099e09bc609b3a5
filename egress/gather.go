package egress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/hashicorp/raft"

	"github.com/highlander-io/highlander/fsm"
	"github.com/highlander-io/highlander/fsm/wire"
)

// Entry is one entry of the log. Data is valid until the reader's next Next.
type Entry struct {
	Index uint64
	Type  raft.LogType // LogCommand: Data is one of the FSM's commands
	Data  []byte
}

// ErrReclaimed is what a Reader's Next returns, wrapped, if the log no longer has the entry.
var ErrReclaimed = errors.New("egress: the log does not reach back to the cursor")

// Reader reads the log forwards.
type Reader interface {
	// Next returns the next entry at or below limit, io.EOF if there is none yet; it may be called again.
	Next(limit uint64) (Entry, error)
	Close() error
}

// Log opens readers of this node's log.
type Log interface {
	Reader(from uint64) Reader
}

const (
	// windowStoredMax bounds a window's stored bytes: three undecided windows and one on its way stay within
	// tailMax.
	windowStoredMax = tailMax / 4
	// windowDecodedMax bounds a window's decoded bytes however many lanes there are.
	windowDecodedMax = 16 << 20
	// windowBatchesMax bounds the batches of a window, those included of which nothing is sent.
	windowBatchesMax = 1 << 14
)

// gatherer reads the log ahead of the sender: while one window is in flight the next is merged.
type gatherer struct {
	state  *fsm.FSM
	target *target
	reader Reader
	seal   *sealer
	now    func() time.Time

	// reached is what this leadership may have sent before; leadIndex and leadBytes say how far, from the
	// cursor, a predecessor may have got.
	reached   uint64
	leadIndex uint64
	leadBytes int64

	// next is a batch that was read and did not fit into the last window; its body aliases the reader's.
	next        fsm.Batch
	nextIndex   uint64
	nextSuspect bool
	hasNext     bool

	raw   []byte // of size
	ruler wire.Ruler

	arena  []byte // bodies of the window being filled, copied from the reader
	spans  []span
	at     uint64 // last index read or refused a place
	wanted chan struct{}
	out    chan *window
}

// span is a body inside the arena.
type span struct{ from, to int }

// linger is how long a window with room waits for more after its first batch. It is far below what senders of
// remote write wait themselves (seconds), and saves the endpoint, and us, most of the requests.
const linger = 100 * time.Millisecond

// run hands a window to the sender whenever it wants one and the window is full or has lingered. As long as the
// sender is busy and the window has room, it goes on filling it: a slow endpoint gets large requests, a fast one
// gets small delays.
func (g *gatherer) run(ctx context.Context) error {
	defer func() { _ = g.reader.Close() }()
	w := g.begin()
	lingered := time.NewTimer(linger)
	defer lingered.Stop()
	waiting, ripe := false, false // for lingered, and whether it is over
	for {
		changed := g.state.Changed()
		full, err := g.fill(ctx, w, g.state.Applied())
		if err != nil {
			return err
		}
		wanted := g.wanted
		if !full && !ripe {
			wanted = nil
		}
		if !waiting && w.worth() {
			lingered.Reset(linger)
			waiting = true
		}
		ripens := lingered.C
		if full { // sealed now, it waits for nothing but the sender: another round would fill and seal it again
			if err := g.prepare(w); err != nil {
				return err
			}
			changed, ripens = nil, nil
		}
		select {
		case <-changed:
			continue
		case <-ripens:
			ripe = waiting
			continue
		case <-wanted:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if !full {
			if err := g.prepare(w); err != nil {
				return err
			}
		}
		select {
		case g.out <- w:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		w = g.begin()
		waiting, ripe = false, false
	}
}

func (g *gatherer) begin() *window {
	g.arena, g.spans = g.arena[:0], g.spans[:0]
	return &window{after: g.at, to: g.at}
}

// fill reads entries up to limit into w; true: w is complete and the next entry, if any, waits.
func (g *gatherer) fill(ctx context.Context, w *window, limit uint64) (bool, error) {
	for ctx.Err() == nil {
		if !g.hasNext {
			if w.batches >= windowBatchesMax {
				return true, nil
			}
			if full, err := g.read(w, limit); full || err != nil {
				if errors.Is(err, io.EOF) {
					return false, nil
				}
				return full, err
			}
			continue
		}
		took, err := g.place(w)
		if err != nil {
			return false, err
		}
		if !took {
			return true, nil
		}
		g.hasNext = false
		w.to, g.at = g.nextIndex, g.nextIndex
	}
	return false, context.Cause(ctx)
}

// read takes the next entry. Batches wait in g.next for a place; everything else is passed.
func (g *gatherer) read(w *window, limit uint64) (full bool, err error) {
	e, err := g.reader.Next(limit)
	if err != nil {
		if errors.Is(err, io.EOF) {
			return false, err
		}
		return false, fmt.Errorf("egress: read the log after %d: %w", g.at, err)
	}
	if e.Index != g.at+1 {
		return false, fmt.Errorf("egress: the log goes on at %d, want %d", e.Index, g.at+1)
	}
	if e.Type == raft.LogCommand {
		kind, err := fsm.PeekKind(e.Data)
		if err != nil {
			return false, fmt.Errorf("egress: entry %d: %w", e.Index, err)
		}
		if kind == fsm.KindBatch {
			return false, g.take(w, e)
		}
	}
	w.to, g.at = e.Index, e.Index
	w.passed += int64(len(e.Data))
	return w.passed >= bookkeepingMax, nil
}

// take decodes a batch's header. What Apply refused, and what is too old as a whole, is passed here.
func (g *gatherer) take(w *window, e Entry) error {
	b, err := fsm.DecodeBatch(e.Data)
	if err != nil {
		return fmt.Errorf("egress: entry %d: %w", e.Index, err)
	}
	if _, no := g.state.Refused(e.Index); no {
		w.to, g.at = e.Index, e.Index
		w.batches++
		w.passed += int64(len(e.Data))
		return nil
	}
	g.next, g.nextIndex, g.hasNext = b, e.Index, true
	g.nextSuspect = g.suspect(e.Index, len(b.Body))
	return nil
}

// place puts the waiting batch into w if it fits.
func (g *gatherer) place(w *window) (bool, error) {
	b := &g.next
	if g.tooOld(b.Counts.MaxTime) && b.Counts.Samples() > 0 {
		w.batches++
		w.prepared.batch(b)
		w.prepared.drop(DroppedTooOld, b.Counts.Samples())
		return true, nil
	}
	decoded, err := g.size(b)
	if err != nil {
		return false, fmt.Errorf("egress: entry %d: %w", g.nextIndex, err)
	}
	if len(w.origins) > 0 && !g.fits(w, b, decoded) {
		return false, nil
	}
	if len(w.origins) == 0 {
		w.tenant, w.protocol, w.suspect = b.Group.Tenant, b.Protocol, g.nextSuspect
	}
	g.append(w, b, decoded)
	return true, nil
}

// size is what a batch takes decoded, in the protocol that it is sent in: in 1.0 each series has labels of its own, and a
// small 2.0 body may become a large one.
func (g *gatherer) size(b *fsm.Batch) (int64, error) {
	decoded, err := wire.DecodedLen(b.Body)
	if err != nil || b.Protocol <= g.seal.speaks() {
		return int64(decoded), err
	}
	if g.raw, err = wire.Decompress(g.raw, b.Body, decodedMax); err != nil {
		return 0, err
	}
	written, err := g.ruler.WrittenOut(g.raw)
	return int64(decoded) + written, err
}

// suspect says whether a batch may have been delivered already. What a predecessor had delivered and not yet
// committed is bounded (see tailMax), so only that much from the cursor is suspected.
func (g *gatherer) suspect(index uint64, size int) bool {
	predecessor := index <= g.leadIndex && g.leadBytes > 0
	if predecessor {
		g.leadBytes -= int64(size)
	}
	return predecessor || index <= g.reached
}

// fits says whether the waiting batch may join the window: same tenant, protocol and suspicion, and within
// the bounds.
func (g *gatherer) fits(w *window, b *fsm.Batch, decoded int64) bool {
	q, lanes := &g.target.Queue, int64(g.target.Queue.MaxShards)
	return w.tenant == b.Group.Tenant && w.protocol == b.Protocol && w.suspect == g.nextSuspect &&
		w.samples+b.Counts.Samples() <= uint64(q.MaxSamplesPerSend)*uint64(lanes) &&
		w.decoded+decoded <= min(q.MaxBytesPerSend*lanes, max(windowDecodedMax, q.MaxBytesPerSend)) &&
		w.stored+int64(len(b.Body)) <= windowStoredMax
}

func (g *gatherer) append(w *window, b *fsm.Batch, decoded int64) {
	from := len(g.arena)
	g.arena = append(g.arena, b.Body...)
	g.spans = append(g.spans, span{from, len(g.arena)})
	w.origins = append(w.origins, origin{index: g.nextIndex, group: b.Group, source: b.Source, series: int(b.Counts.Series)})
	w.batches++
	w.prepared.batch(b)
	w.samples += b.Counts.Samples()
	w.stored += int64(len(b.Body))
	w.decoded += decoded
	if b.Counts.Samples() > 0 && (!w.hasTime || b.Counts.MinTime < w.minTime) {
		w.minTime, w.hasTime = b.Counts.MinTime, true
	}
}

func (g *gatherer) tooOld(t int64) bool {
	limit := g.target.Queue.SampleAgeLimit
	return limit > 0 && t < g.now().Add(-limit).UnixMilli()
}

// prepare turns the gathered bodies into what is sent.
func (g *gatherer) prepare(w *window) error {
	list := make([][]byte, len(g.spans))
	for i, s := range g.spans {
		list[i] = g.arena[s.from:s.to]
	}
	if err := g.seal.seal(w, list); err != nil {
		return fmt.Errorf("egress: entries %d to %d: %w", w.after+1, w.to, err)
	}
	return nil
}
