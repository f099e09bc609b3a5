package egress

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	// ackEvery and ackBytes say when a cursor command is due: the promise on order counts on "8 MiB or 200 ms".
	ackEvery = 200 * time.Millisecond
	// ackSparing is in place of ackEvery where the log has little room: a backlog of any size, drained at any speed, then
	// takes an entry per ackBytes, or per minute.
	ackSparing = time.Minute
	tailMax    = 8 << 20 // stored bytes delivered, or on their way, and not yet committed
	ackBytes   = tailMax / 2
	// flushWithin bounds the last command of a drain that stops.
	flushWithin = time.Second
)

// acker turns finished windows into as few cursor commands as the promise on order allows. add and reserve
// are called by the sender, in log order; run commits. One command is under way at a time.
type acker struct {
	name string
	log  *journal
	now  func() time.Time
	// sparing is Options.Sparing.
	sparing func() bool

	mu       sync.Mutex
	books    tally
	from, to uint64 // the next command moves the cursor from here to there
	ready    int64  // stored bytes that the next command passes
	held     int64  // stored bytes of windows begun and not finished
	// committed is the bytes passed so far; read after run.
	committed int64
	worth     bool // the stretch holds a batch, or so much bookkeeping that it is worth a command
	added     chan struct{}
	freed     chan struct{} // closed and replaced when a commit made room
}

func newAcker(name string, cursor uint64, log *journal, o *Options) *acker {
	return &acker{name: name, log: log, now: o.Now, sparing: o.Sparing, from: cursor, to: cursor,
		added: make(chan struct{}, 1), freed: make(chan struct{})}
}

// reserve waits until n more bytes may be sent without the uncommitted tail growing beyond tailMax. The
// windows that are begun and unfinished are bounded by the sender, so what it waits for always comes.
func (a *acker) reserve(ctx context.Context, n int64) error {
	for {
		a.mu.Lock()
		tail := a.ready + a.held
		freed := a.freed
		if tail == 0 || tail+n <= tailMax || a.ready == 0 {
			a.held += n
			a.mu.Unlock()
			return nil
		}
		a.mu.Unlock()
		a.wake()
		select {
		case <-freed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// add takes a finished window. Windows come in the order of the log, without gaps. A window that breaks this,
// or its books, is an error and not a panic: the next leader would meet the same window, and the one after it.
func (a *acker) add(w *window) error {
	t := w.total()
	if !t.balanced() {
		return fmt.Errorf("egress: BUG: entries %d to %d: %d samples left the backlog, %d are accounted for",
			w.after+1, w.to, t.samples, t.outcomes())
	}
	a.mu.Lock()
	if w.after != a.to {
		a.mu.Unlock()
		return fmt.Errorf("egress: BUG: window starts after %d, acknowledged up to %d", w.after, a.to)
	}
	a.books.add(&t)
	a.to = w.to
	a.held -= w.stored
	a.ready += w.stored
	a.worth = a.worth || w.worth()
	a.mu.Unlock()
	a.wake()
	return nil
}

func (a *acker) wake() {
	select {
	case a.added <- struct{}{}:
	default:
	}
}

// run commits until ctx ends, and then flushes what is finished. A command that is under way when ctx ends is
// waited for, not cut off and proposed again as part of a longer one: if both arrived, the longer would be refused.
func (a *acker) run(ctx context.Context) error {
	grace, cancel := outlive(ctx, flushWithin)
	defer cancel()
	var last time.Time
	for {
		select {
		case <-a.added:
		case <-ctx.Done():
			return a.move(grace)
		}
		every := ackEvery
		if a.sparing() {
			every = ackSparing
		}
		if err := a.linger(ctx, min(every-a.now().Sub(last), every)); err != nil {
			return a.move(grace)
		}
		last = a.now()
		if err := a.move(grace); err != nil {
			return err
		}
	}
}

// outlive returns a context that ends d after ctx does.
func outlive(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	out, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel()
		case <-out.Done():
		}
	})
	return out, func() { stop(); cancel() }
}

// linger waits for d, or until enough bytes are finished to be worth a command of their own.
func (a *acker) linger(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(max(d, 0))
	defer timer.Stop()
	for {
		a.mu.Lock()
		full := a.ready >= ackBytes
		a.mu.Unlock()
		if full {
			return nil
		}
		select {
		case <-timer.C:
			return nil
		case <-a.added:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// move commits everything finished so far as one command, if it is worth one.
func (a *acker) move(ctx context.Context) error {
	a.mu.Lock()
	if !a.worth || a.to == a.from {
		a.mu.Unlock()
		return nil
	}
	to, bytes := a.to, a.ready
	command := a.books.command(a.name, a.from, to, a.now().UnixMilli())
	a.books, a.worth = tally{}, false
	a.mu.Unlock()

	if err := a.log.move(ctx, command); err != nil {
		return err
	}
	a.mu.Lock()
	a.from = to
	a.ready -= bytes
	a.committed += bytes
	close(a.freed)
	a.freed = make(chan struct{})
	a.mu.Unlock()
	return nil
}
