package egress

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/highlander-io/highlander/fsm"
)

const (
	// lookEvery is how often the leader compares the FSM's destinations with its file.
	lookEvery = 250 * time.Millisecond
	// registerWithin bounds one proposal of a registration.
	registerWithin = 5 * time.Second
)

// errNotDraining answers jobs for a drain on a node that has none.
var errNotDraining = errors.New("egress: this node does not drain the destination: ask the leader")

// Options are egress' surroundings. State, Log and Node are required.
type Options struct {
	State      *fsm.FSM
	Log        Log
	Node       Node
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Version    string // for the User-Agent
	// DeadLetterMaxBytes bounds all dead letters together; zero means 16 MiB.
	DeadLetterMaxBytes int64
	// Sparing says that the log has little room: cursors then move as bytes are delivered, hardly as time passes; nil: never.
	Sparing func() bool
	Now     func() time.Time
}

// Egress drains the log into the configured destinations while its node leads.
type Egress struct {
	options   Options
	journal   *journal
	metrics   *metrics
	log       *slog.Logger
	userAgent string
	changed   chan struct{} // capacity 1: look now

	mu       sync.Mutex
	targets  map[string]*target
	drains   map[string]*drain // only while leading
	problems map[string]string // destinations that could not be registered, and why
	ages     map[string]age
	leading  bool
	finish   chan struct{}
}

// New returns an Egress without destinations. It does no I/O.
func New(o Options) *Egress {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.DeadLetterMaxBytes <= 0 {
		o.DeadLetterMaxBytes = 16 << 20
	}
	if o.Sparing == nil {
		o.Sparing = func() bool { return false }
	}
	if o.Version == "" {
		o.Version = "unknown"
	}
	o.Logger = o.Logger.With("component", "egress")
	return &Egress{
		options: o, journal: &journal{node: o.Node, state: o.State}, metrics: newMetrics(o.Registerer), log: o.Logger,
		userAgent: "highlander/" + o.Version, changed: make(chan struct{}, 1),
		targets: map[string]*target{}, drains: map[string]*drain{}, problems: map[string]string{}, ages: map[string]age{},
		finish: make(chan struct{}),
	}
}

// Reload replaces the configured destinations. If one of them is wrong, nothing changes. Destinations that are
// configured as before are not disturbed. New ones are registered by the leader, which may take a moment.
func (e *Egress) Reload(list []Destination) error {
	targets := make(map[string]*target, len(list))
	var errs []error
	for _, d := range list {
		t, err := newTarget(d, e.userAgent)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if _, twice := targets[t.Name]; twice {
			errs = append(errs, fmt.Errorf("egress: two destinations are named %q", t.Name))
		}
		t.client.now = e.options.Now
		targets[t.Name] = t
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	e.mu.Lock()
	for name, t := range targets {
		if old := e.targets[name]; old != nil && reflect.DeepEqual(old.Destination, t.Destination) {
			targets[name] = old
		}
	}
	e.targets = targets
	clear(e.problems)
	e.mu.Unlock()
	notify(e.changed)
	return nil
}

// Lead drains until ctx ends. It returns when every goroutine it started has ended, which takes at most
// about a second however an endpoint behaves: requests in flight are cancelled.
func (e *Egress) Lead(ctx context.Context) error {
	e.begin()
	defer e.end()
	leadIndex := e.options.State.Applied()
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		e.look(ctx, leadIndex)
		select {
		case <-ticker.C:
		case <-e.changed:
		case <-ctx.Done():
			return nil
		}
	}
}

func (e *Egress) begin() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.leading {
		panic("BUG: egress leads twice")
	}
	e.leading, e.finish = true, make(chan struct{})
	clear(e.problems)
}

// end waits for the drains; their context has ended.
func (e *Egress) end() {
	e.mu.Lock()
	drains := slices.Collect(maps.Values(e.drains))
	e.mu.Unlock()
	for _, d := range drains {
		d.stop()
		d.hangUp()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	clear(e.drains)
	e.leading = false
}

// Quiesce ends draining in an orderly way before a shutdown: nothing new is sent, what is in flight may
// finish until ctx ends, and what is finished is committed. Lead goes on, idle, until its context ends.
func (e *Egress) Quiesce(ctx context.Context) error {
	e.mu.Lock()
	if !e.leading {
		e.mu.Unlock()
		return nil
	}
	select {
	case <-e.finish:
	default:
		close(e.finish)
	}
	drains := slices.Collect(maps.Values(e.drains))
	e.mu.Unlock()
	for _, d := range drains {
		select {
		case <-d.done:
		case <-ctx.Done():
			return fmt.Errorf("egress: destination %q still has a request in flight: %w", d.name, ctx.Err())
		}
	}
	return nil
}

// look makes the drains and the FSM's destinations follow the file.
func (e *Egress) look(ctx context.Context, leadIndex uint64) {
	if e.quiescing() {
		return
	}
	e.mu.Lock()
	targets := maps.Clone(e.targets)
	e.mu.Unlock()
	e.register(ctx, targets)
	known := map[string]bool{}
	for _, dest := range e.options.State.Destinations() {
		known[dest.Name] = true
		d := e.ensure(ctx, dest.Name, targets[dest.Name], leadIndex)
		e.tell(d, &dest)
	}
	e.mu.Lock()
	var gone []*drain
	for name, d := range e.drains {
		if !known[name] {
			gone = append(gone, d)
			delete(e.drains, name)
			delete(e.ages, name)
		}
	}
	e.mu.Unlock()
	for _, d := range gone {
		d.stop()
		d.hangUp()
		e.metrics.forget(d.name)
	}
}

func (e *Egress) quiescing() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	select {
	case <-e.finish:
		return true
	default:
		return false
	}
}

// register writes new destinations and new URLs into the log. A name that is only a position keeps its URL:
// its drain is held instead.
func (e *Egress) register(ctx context.Context, targets map[string]*target) {
	for _, name := range slices.Sorted(maps.Keys(targets)) {
		t := targets[name]
		dest, ok := e.options.State.Destination(name)
		if ok && (dest.URL == t.public || positional.MatchString(name)) {
			continue
		}
		bounded, cancel := context.WithTimeout(ctx, registerWithin)
		err := e.journal.commit(bounded, &fsm.DestinationOp{
			Op: "register", Name: name, URL: t.public, Time: e.options.Now().UnixMilli()})
		cancel()
		if ctx.Err() != nil {
			return
		}
		e.registered(name, t, ok, err)
	}
}

// Registering says whether the file has a destination that is not in the log, and that this node has not failed to register
// since it leads.
func (e *Egress) Registering() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for name := range e.targets {
		if _, known := e.options.State.Destination(name); !known && e.problems[name] == "" {
			return true
		}
	}
	return false
}

func (e *Egress) registered(name string, t *target, known bool, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err == nil {
		delete(e.problems, name)
		if known {
			e.log.Info("destination has a new url", "destination", name, "url", t.public)
		} else {
			e.log.Info("destination registered", "destination", name, "url", t.public)
		}
		return
	}
	if e.problems[name] == "" {
		e.log.Error("destination cannot be registered", "destination", name, "err", err)
	}
	e.problems[name] = err.Error()
}

// ensure returns the destination's drain, started with the file's present wish.
func (e *Egress) ensure(ctx context.Context, name string, t *target, leadIndex uint64) *drain {
	e.mu.Lock()
	old := e.drains[name]
	e.mu.Unlock()
	if old != nil && old.target == t {
		return old
	}
	d := newDrain(name, t, &e.options, e.journal, e.metrics, leadIndex, e.finish)
	if old != nil {
		old.stop()
		old.hangUp()
		d.inherit(old)
	}
	running, cancel := context.WithCancelCause(ctx)
	d.cancel = cancel
	e.mu.Lock()
	e.drains[name] = d
	e.mu.Unlock()
	go d.run(running)
	return d
}

// tell has a drain look at what the FSM says about its destination.
func (e *Egress) tell(d *drain, dest *fsm.Destination) {
	notify(d.check)
	if dest.Backlog.Samples > 0 && len(e.options.State.Replaying(dest.Name)) > 0 {
		notify(d.poke)
	}
}

// Skip passes the destination's backlog up to an index (zero: all of it) and counts it as dropped{skipped}.
// It works on the leader only.
func (e *Egress) Skip(ctx context.Context, name string, to uint64) error {
	dest, ok := e.options.State.Destination(name)
	if !ok {
		return e.unknown(name)
	}
	applied := e.options.State.Applied()
	if to == 0 {
		to = applied
	}
	if to > applied {
		return fmt.Errorf("egress: cannot skip to %d: the log ends at %d", to, applied)
	}
	if to < dest.Cursor {
		return fmt.Errorf("egress: cannot skip to %d: destination %q is at %d already", to, name, dest.Cursor)
	}
	return e.pass(ctx, name, &skip{to: to, reason: DroppedSkipped, done: make(chan error, 1)})
}

// DropOldest drops the oldest batches of a destination's backlog until it is smaller by the given bytes of
// bodies, or empty, and counts them as dropped{full}. It works on the leader only.
func (e *Egress) DropOldest(ctx context.Context, name string, bytes uint64) error {
	if _, ok := e.options.State.Destination(name); !ok {
		return e.unknown(name)
	}
	return e.pass(ctx, name, &skip{
		to: e.options.State.Applied(), bytes: int64(max(bytes, 1)), reason: DroppedFull, done: make(chan error, 1)})
}

// pass has a destination's drain do a job.
func (e *Egress) pass(ctx context.Context, name string, job *skip) error {
	e.mu.Lock()
	d := e.drains[name]
	e.mu.Unlock()
	if d == nil {
		return errNotDraining
	}
	select {
	case d.jobs <- job:
	case <-d.done:
		return errNotDraining
	case <-ctx.Done():
		return ctx.Err()
	}
	return <-job.done // the drain answers every job it takes, and soon after its context ends
}

// Configured says whether this node's file has the destination, so that forgetting it would only have it
// registered anew, without its backlog. One that is held because its name is a position and its URL another
// one's does not count.
func (e *Egress) Configured(name string) bool {
	e.mu.Lock()
	t := e.targets[name]
	e.mu.Unlock()
	if t == nil {
		return false
	}
	dest, ok := e.options.State.Destination(name)
	return !ok || dest.URL == t.public || !positional.MatchString(name)
}

func (e *Egress) unknown(name string) error {
	var names []string
	for _, d := range e.options.State.Destinations() {
		names = append(names, d.Name)
	}
	return fmt.Errorf("egress: no destination %q; there are: %s", name, strings.Join(names, ", "))
}
