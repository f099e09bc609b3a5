package egress

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/highlander-io/highlander/fsm/wire"
)

const (
	// stopWithin is how long an attempt may go on when an operator's command wants the drain to stop.
	stopWithin = time.Second
	// restartPause is the longest pause before a drain that failed by itself (log, FSM) starts again.
	restartPause = 5 * time.Second
)

// drain brings the log to one destination while this node leads:
//
//	gatherer (next, prepare) ─▶ sender (send, judge) ─▶ acker (acknowledge)
//
// The three run as a session. A session ends when the destination is paused, skipped or reconfigured, and a
// new one starts from the committed cursor.
type drain struct {
	name    string
	options *Options
	journal *journal
	target  *target // nil: the leader's file does not have it
	log     *slog.Logger
	show    *display
	metrics *destinationMetrics

	// limit is the newest protocol version the endpoint takes: a wire.Protocol.
	limit atomic.Uint32
	// reached is the last index that may have been sent under this leadership.
	reached atomic.Uint64
	// A predecessor may have delivered up to leadIndex, but no more than leadBytes from the cursor.
	leadIndex uint64
	leadBytes int64
	pause     backoff // of the sender
	// wasBlocked: what show says is why nothing was sent, which is over when a session begins.
	wasBlocked bool

	poke   chan struct{} // dead letters are to be replayed
	check  chan struct{} // something about the destination changed
	jobs   chan *skip
	finish <-chan struct{} // closed: end after the attempt that is under way
	done   chan struct{}
	cancel context.CancelCauseFunc
}

// stop ends the drain and waits for it.
func (d *drain) stop() {
	d.cancel(errStopped)
	<-d.done
}

// hangUp closes the connections that are kept for the next request.
func (d *drain) hangUp() {
	if d.target != nil {
		d.target.client.close()
	}
}

// inherit takes over what a drain of the same destination had found out.
func (d *drain) inherit(old *drain) {
	d.show = old.show
	d.reached.Store(old.reached.Load())
	d.leadBytes = old.leadBytes
	d.wasBlocked = old.wasBlocked
}

// run drains until ctx ends. It owns all goroutines of the drain, and returns when they have ended.
func (d *drain) run(ctx context.Context) {
	defer close(d.done)
	pause := backoff{low: 100 * time.Millisecond, high: restartPause}
	for ctx.Err() == nil && !d.finished() {
		if d.blocked() {
			d.wasBlocked = true
			d.await(ctx, 0)
			continue
		}
		d.unblock()
		err := d.session(ctx)
		switch {
		case err == nil, errors.Is(err, errStopped), errors.Is(err, errRegather), ctx.Err() != nil:
			pause.reset()
		case d.journal.node.Lease() != nil:
			d.await(ctx, pause.pause(0)) // ctx is about to end
		default:
			d.show.held(err.Error())
			d.await(ctx, pause.pause(0))
		}
	}
}

func (d *drain) finished() bool {
	select {
	case <-d.finish:
		return true
	default:
		return false
	}
}

// blocked says whether nothing may be sent now, and shows why. Nothing is under way when it is asked.
func (d *drain) blocked() bool {
	show := d.obstacle()
	if show != nil {
		show()
	}
	return show != nil
}

// obstacle returns what shows why nothing may be sent now, nil if something may.
func (d *drain) obstacle() (show func()) {
	known, ok := d.journal.state.Destination(d.name)
	switch {
	case !ok:
		return func() {} // forgotten; whoever runs this drain stops it
	case known.Paused:
		return d.show.paused
	case d.target == nil:
		return func() { d.show.held("not in the leader's configuration: put it back there, or forget it") }
	case positional.MatchString(d.name) && known.URL != d.target.public:
		return func() {
			d.show.held(fmt.Sprintf("the name is only a position and belongs to %s, the leader's flags say %s: "+
				"name the destination in the file, or forget %s", known.URL, d.target.public, d.name))
		}
	}
	return nil
}

// unblock shows that nothing stands in the way any more.
func (d *drain) unblock() {
	if d.wasBlocked {
		d.wasBlocked = false
		d.show.up()
	}
}

// await does an operator's jobs until something changes, or for d.
func (d *drain) await(ctx context.Context, pause time.Duration) {
	var timeout <-chan time.Time
	if pause > 0 {
		timer := time.NewTimer(pause)
		defer timer.Stop()
		timeout = timer.C
	}
	for {
		select {
		case job := <-d.jobs:
			job.do(ctx, d)
		case <-d.check:
			return
		case <-timeout:
			return
		case <-d.finish:
			return
		case <-ctx.Done():
			return
		}
	}
}

// session drains from the committed cursor until something ends it.
func (d *drain) session(ctx context.Context) error {
	known, ok := d.journal.state.Destination(d.name)
	if !ok {
		return nil
	}
	sending, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	acking, stopAcks := context.WithCancel(context.WithoutCancel(ctx))
	defer stopAcks()

	soft := make(chan struct{})
	feed := newFeed(d.poke)
	acks := newAcker(d.name, known.Cursor, d.journal, d.options)
	gather := d.gatherer(known.Cursor, feed)
	send := d.sender(feed, soft, acks)

	sent, gathered, acked := make(chan error, 1), make(chan error, 1), make(chan error, 1)
	go func() { sent <- send.run(sending) }()
	go func() { gathered <- gather.run(sending) }()
	go func() { acked <- acks.run(acking) }()

	job, err := d.watch(sending, stop, soft, sent, gathered, acked)
	stop(err)
	<-gathered //nolint:errcheck // it ends with the session, whose error says why
	stopAcks()
	if flushed := <-acked; err == nil || errors.Is(err, errStopped) {
		err = flushed
	}
	d.leadBytes -= acks.committed
	if job != nil {
		job.do(ctx, d)
	}
	return err
}

// watch waits for the sender to end, and makes it end when it should. The other two goroutines' results are
// put back for the caller.
func (d *drain) watch(ctx context.Context, stop context.CancelCauseFunc, soft chan struct{}, sent, gathered, acked chan error) (job *skip, err error) {
	jobs, check, finish := d.jobs, d.check, d.finish
	halt := func(within time.Duration) {
		jobs, check, finish = nil, nil, nil
		close(soft)
		timer := time.AfterFunc(within, func() { stop(errStopped) })
		context.AfterFunc(ctx, func() { timer.Stop() })
	}
	for {
		select {
		case err := <-sent:
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return job, err
		case err := <-gathered:
			gathered <- err
			gathered = nil
			stop(err)
		case err := <-acked:
			acked <- err
			acked = nil
			stop(err)
		case job = <-jobs:
			halt(stopWithin)
		case <-check:
			if d.obstacle() != nil {
				halt(stopWithin)
			}
		case <-finish:
			halt(d.target.RemoteTimeout)
		}
	}
}

func (d *drain) gatherer(cursor uint64, f *feed) *gatherer {
	return &gatherer{
		state: d.journal.state, target: d.target, reader: d.options.Log.Reader(cursor + 1), now: d.options.Now,
		seal:      &sealer{target: d.target, limit: &d.limit, rules: newRelabeller(d.target.relabel), now: d.options.Now},
		reached:   d.reached.Load(),
		leadIndex: d.leadIndex, leadBytes: d.leadBytes,
		at: cursor, wanted: f.wanted, out: f.out,
	}
}

func (d *drain) sender(f *feed, soft chan struct{}, acks *acker) *sender {
	return &sender{
		target: d.target, state: d.journal.state, journal: d.journal, acks: acks, show: d.show, metrics: d.metrics,
		log: d.log, now: d.options.Now, limit: &d.limit, letters: d.options.DeadLetterMaxBytes, feed: f, soft: soft,
		pause: &d.pause, reached: &d.reached,
	}
}

func newDrain(name string, t *target, o *Options, j *journal, m *metrics, leadIndex uint64, finish <-chan struct{}) *drain {
	log := o.Logger.With("destination", name)
	d := &drain{
		name: name, options: o, journal: j, target: t, log: log, show: newDisplay(log, o.Now), metrics: m.of(name),
		leadIndex: leadIndex, leadBytes: tailMax, finish: finish,
		poke: make(chan struct{}, 1), check: make(chan struct{}, 1), jobs: make(chan *skip), done: make(chan struct{}),
	}
	limit := wire.V2
	if t != nil {
		limit = t.Protocol
		d.pause = backoff{low: t.Queue.MinBackoff, high: t.Queue.MaxBackoff}
	}
	d.limit.Store(uint32(limit))
	return d
}

// notify sets a flag channel of capacity one.
func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
