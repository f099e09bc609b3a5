package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"
)

// Errors that callers branch on.
var (
	// ErrNotLeader means that this node does not lead; what was proposed has certainly not been committed.
	ErrNotLeader = errors.New("this node is not the leader")
	// ErrUncertain means that what was proposed may or may not be committed, now or later.
	ErrUncertain = errors.New("outcome unknown")
	// ErrNoRoom means that this node could not store what it was to append as leader, for lack of space.
	ErrNoRoom = errors.New("no room in the log")
	// ErrLeadershipLost is the cause with which a leader's context ends.
	ErrLeadershipLost = errors.New("leadership lost")
	// ErrRemoved is returned by Run when the cluster has removed this node.
	ErrRemoved = errors.New("this node was removed from its cluster")
	// ErrStopped is the cause with which everything ends in an orderly shutdown.
	ErrStopped = errors.New("this node is shutting down")
	// ErrRefused marks requests that the cluster answered and turned down: asking again will not help.
	ErrRefused = errors.New("refused")
	// ErrUnknownNode marks requests that name no member; the text lists the members.
	ErrUnknownNode = errors.New("no such node")
)

// Info is what a node tells the others about itself beyond Raft. The server fills it.
type Info struct {
	Version      string          `json:"version,omitempty"`
	FeatureLevel uint64          `json:"feature_level,omitempty"`
	ConfigHash   string          `json:"config_hash,omitempty"`
	FreeBytes    int64           `json:"free_bytes,omitempty"`
	WALBytes     int64           `json:"wal_bytes,omitempty"`
	Full         bool            `json:"full,omitempty"`
	Extra        json.RawMessage `json:"extra,omitempty"`
}

// Options configure a node. Dir, Log, FSM and BindAddress are required.
type Options struct {
	Dir              *Dir
	BindAddress      string   // host:port
	AdvertiseAddress string   // host:port or host; default: the bound address
	Join             []string // host:port of every node, this one included
	TLS              TLSFiles
	Insecure         bool // allow a bind that strangers can reach without TLS

	Log   raft.LogStore
	FSM   raft.FSM
	Floor func() uint64 // lowest index that anyone still needs; nil keeps everything
	// HoldsBatches reports whether the state machine or the log holds anything worth keeping; such a node is
	// not reset by Join.
	HoldsBatches func() bool
	// Room says why a leader's entries cannot be stored for lack of space; nil takes all. They are turned away
	// until there is room, and this node stays a follower meanwhile.
	Room func(entries []*raft.Log) error
	// Afford says why this node, leading, must not append entries of its own: for lack of space, or since what is left
	// is kept for others. Raft then steps down. A change of members must always be afforded while MayLead says nothing;
	// nil affords all.
	Afford func(entries []*raft.Log) error
	// MayLead says why this node must not ask for votes nor change the members: it has no room for what a leader
	// writes. nil: always.
	MayLead       func() error
	SnapshotBytes int64 // applied bytes between two snapshots; default 128 MiB

	Handler http.Handler // requests of other members over the cluster port; PeerOf tells who asks
	Info    func() Info

	Logger           *slog.Logger
	Registerer       prometheus.Registerer
	HeartbeatTimeout time.Duration // default 700 ms
	ElectionTimeout  time.Duration // default 700 ms
	LeaseTimeout     time.Duration // default 350 ms
	StallTimeout     time.Duration // a write that takes longer ends the process; default 5 s
	// Fatal is called once when this node must not go on: its log failed or hangs. The node has fallen silent
	// by then, and Run returns the same error.
	Fatal func(error)

	seams seams
}

// seams let tests in this package reach between the parts.
type seams struct {
	dialNet       func(ctx context.Context, address string) (net.Conn, error)
	wrapListener  func(net.Listener) net.Listener
	wrapTransport func(raft.Transport) raft.Transport
	examine       func(greeting, Identity) string // instead of the one in handshake.go
	oneAddress    bool                            // a node is dialled where the configuration says, nowhere else
	stockStores   bool                            // raft's own rules for snapshots and compaction
	trailing      uint64                          // instead of trailingLogs
	pollInterval  time.Duration
}

const (
	trailingLogs         = 128
	defaultSnapshotBytes = 128 << 20
	defaultHeartbeat     = 700 * time.Millisecond
	defaultLease         = 350 * time.Millisecond
	defaultStall         = 5 * time.Second
	defaultPoll          = time.Second
)

// Node is one member of a cluster, or on its way to become one.
type Node struct {
	opts     Options
	dir      *Dir
	logger   *slog.Logger
	metrics  *metrics
	port     *port
	client   *http.Transport
	server   *http.Server
	pristine []byte // the state machine's state before the first entry
	watch    *watchdog
	confirm  confirmer
	view     view
	quiet    *quieter

	current atomic.Pointer[instance]
	stir    chan struct{} // wakes whoever waits for a change of identity or members

	proposing sync.RWMutex // held for reading while Raft takes a proposal
	stopping  atomic.Bool
	leaving   atomic.Bool

	changes chan struct{} // holds one token: one change of members at a time on the leader

	mu       sync.Mutex
	state    runState
	end      context.CancelCauseFunc
	done     chan struct{}
	failure  error
	founding *founding
	resolved []string // UUIDs that answered at the join list, when all did
	waiting  string   // why this node is not a member yet
	foreign  foreignDial
	used     bool // the state machine has seen entries
}

type runState int

const (
	stateOpen runState = iota
	stateRunning
	stateClosed
)

// Open binds the cluster port and begins to answer hellos. Raft starts in Run.
func Open(ctx context.Context, opts Options) (*Node, error) {
	if err := opts.complete(); err != nil {
		return nil, err
	}
	pristine, err := saveState(opts.FSM)
	if err != nil {
		return nil, fmt.Errorf("cluster: state machine: %w", err)
	}
	n := &Node{
		opts: opts, dir: opts.Dir, pristine: pristine,
		logger:  opts.Logger.With("component", "cluster"),
		watch:   newWatchdog(opts.StallTimeout),
		quiet:   newQuieter(loudInterval),
		stir:    make(chan struct{}, 1),
		changes: make(chan struct{}, 1),
		done:    make(chan struct{}),
	}
	n.metrics = newMetrics(opts.Registerer, n)
	if err := n.listen(ctx); err != nil {
		return nil, err
	}
	n.client = n.newClient()
	n.server = n.newServer()
	n.port.wait.Go(n.port.serve)
	n.port.wait.Go(func() { _ = n.server.Serve(n.port.http) }) // ends with the port
	return n, nil
}

func (o *Options) complete() error {
	if o.Dir == nil || o.Log == nil || o.FSM == nil {
		return errors.New("cluster: Dir, Log and FSM are required")
	}
	setDefault(&o.SnapshotBytes, defaultSnapshotBytes)
	setDefault(&o.HeartbeatTimeout, defaultHeartbeat)
	setDefault(&o.ElectionTimeout, o.HeartbeatTimeout)
	setDefault(&o.LeaseTimeout, min(defaultLease, o.HeartbeatTimeout))
	setDefault(&o.StallTimeout, defaultStall)
	setDefault(&o.seams.trailing, trailingLogs)
	setDefault(&o.seams.pollInterval, defaultPoll)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Floor == nil {
		o.Floor = func() uint64 { return 0 }
	}
	if o.Room == nil {
		o.Room = func([]*raft.Log) error { return nil }
	}
	if o.Afford == nil {
		o.Afford = func([]*raft.Log) error { return nil }
	}
	if o.MayLead == nil {
		o.MayLead = func() error { return nil }
	}
	if o.HoldsBatches == nil {
		o.HoldsBatches = func() bool { return true }
	}
	if o.Info == nil {
		o.Info = func() Info { return Info{} }
	}
	if o.Handler == nil {
		o.Handler = http.NotFoundHandler()
	}
	if o.seams.dialNet == nil {
		o.seams.dialNet = dialTCP
	}
	for _, address := range o.Join {
		if err := checkAddress("cluster.join", address); err != nil {
			return err
		}
	}
	return o.TLS.check()
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func dialTCP(ctx context.Context, address string) (net.Conn, error) {
	dialer := net.Dialer{KeepAlive: 15 * time.Second}
	return dialer.DialContext(ctx, "tcp", address)
}

func (n *Node) listen(ctx context.Context) error {
	host, _, err := net.SplitHostPort(n.opts.BindAddress)
	if err != nil {
		return fmt.Errorf("cluster.bind_address %q: want host:port: %w", n.opts.BindAddress, err)
	}
	if !loopback(host) && !n.opts.TLS.enabled() && !n.opts.Insecure {
		return fmt.Errorf("cluster.bind_address %q can be reached from other machines: configure cluster.tls, or set cluster.insecure if the network is trusted", n.opts.BindAddress)
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", n.opts.BindAddress)
	if err != nil {
		return fmt.Errorf("cluster port: %w", err)
	}
	advertise, err := advertised(n.opts.AdvertiseAddress, listener.Addr().String())
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	if n.opts.seams.wrapListener != nil {
		listener = n.opts.seams.wrapListener(listener)
	}
	n.port = &port{
		listener: listener, files: n.opts.TLS, advertise: advertise, join: n.opts.Join,
		logger: n.logger, metrics: n.metrics,
		identity: n.dir.Identity, report: n.report, onRefused: n.noteForeign,
		dialNet: n.opts.seams.dialNet, examine: examine,
		http: newInbox(listener.Addr()), pending: newConnSet(), book: make(map[string]addresses),
	}
	if n.opts.seams.examine != nil {
		n.port.examine = n.opts.seams.examine
	}
	if n.opts.seams.oneAddress {
		n.port.join = nil
	}
	return nil
}

// advertised completes what the operator gave with what was bound: a missing port, or everything.
func advertised(given, bound string) (string, error) {
	if given == "" {
		return bound, checkAddress("cluster.bind_address", bound)
	}
	host, port, err := net.SplitHostPort(given)
	if err != nil {
		host, port = given, ""
	}
	if port == "" || port == "0" {
		_, port, _ = net.SplitHostPort(bound)
	}
	address := net.JoinHostPort(host, port)
	return address, checkAddress("cluster.advertise_address", address)
}

// Run takes part in the cluster until ctx ends, Shutdown is called, the node leaves or is removed, or it must
// not go on. While this node leads, lead runs: its context ends, with the cause, when leadership is lost, and
// Run waits for it. Run may be called once. It returns nil when it was told to stop, ErrLeft after Leave,
// ErrRemoved when the cluster has removed this node, else what made it stop.
func (n *Node) Run(ctx context.Context, lead func(context.Context)) error {
	ctx, end, err := n.begin(ctx)
	if errors.Is(err, ErrStopped) {
		return nil // Shutdown was faster
	}
	if err != nil {
		return err
	}
	defer close(n.done)
	var tasks sync.WaitGroup
	tasks.Go(func() { n.watch.run(ctx, n.fatal) })
	tasks.Go(func() { n.observe(ctx) })
	err = n.live(ctx, lead)
	end(err)
	tasks.Wait()
	n.close()
	return n.verdict(err)
}

func (n *Node) begin(parent context.Context) (context.Context, context.CancelCauseFunc, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.state == stateClosed && n.stopping.Load() {
		return nil, nil, ErrStopped
	}
	if n.state != stateOpen {
		return nil, nil, errors.New("cluster: Run was called before, or the node is closed")
	}
	n.state = stateRunning
	ctx, end := context.WithCancelCause(parent)
	n.end = end
	return ctx, end, nil
}

// live runs one Raft instance after the other: there is more than one only while the node has not held an
// entry, or when it is reset to join another cluster.
func (n *Node) live(ctx context.Context, lead func(context.Context)) error {
	for {
		err := n.settle(ctx)
		if err == nil && ctx.Err() == nil {
			err = n.runInstance(ctx, lead)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil && !errors.Is(err, errAgain) {
			return err
		}
	}
}

// settle returns when the node knows which cluster it belongs to, be it only by promise.
func (n *Node) settle(ctx context.Context) error {
	if n.dir.Identity().Cluster != "" {
		return nil
	}
	if err := n.form(ctx); err != nil && !errors.Is(err, errAgain) {
		return err
	}
	return nil
}

func (n *Node) verdict(err error) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.state = stateClosed
	switch {
	case n.failure != nil:
		return n.failure
	case errors.Is(err, ErrStopped), errors.Is(err, context.Canceled):
		return nil
	}
	return err
}

// fatal silences the node, so that it neither acknowledges nor refuses anything any more, and ends it.
func (n *Node) fatal(err error) {
	if inst := n.current.Load(); inst != nil {
		inst.layer.Close()
	}
	n.mu.Lock()
	first := n.failure == nil
	if first {
		n.failure = err
	}
	end := n.end
	n.mu.Unlock()
	if !first {
		return
	}
	n.logger.Error("this node stops: it can no longer trust its disk", "err", err)
	if n.opts.Fatal != nil {
		n.opts.Fatal(err)
	}
	if end != nil {
		end(err)
	}
}

func (n *Node) close() {
	n.server.Close()
	n.port.close()
	n.client.CloseIdleConnections()
}

// Shutdown hands leadership over if this node leads and somebody can take it, then ends Run and waits for it.
// It returns when ctx ends at the latest.
func (n *Node) Shutdown(ctx context.Context) error {
	n.mu.Lock()
	state, end := n.state, n.end
	if state == stateOpen {
		n.stopping.Store(true)
		n.state = stateClosed
	}
	n.mu.Unlock()
	switch state {
	case stateOpen:
		n.close()
		return nil
	case stateClosed:
		return nil
	}
	if n.IsLeader() && len(n.voters()) > 1 {
		if err := n.handOver(ctx); err != nil {
			n.logger.Warn("leadership was not handed over", "err", err)
		}
	}
	n.stopping.Store(true)
	end(ErrStopped)
	select {
	case <-n.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// UUID is the identity of this node's disk.
func (n *Node) UUID() string { return n.dir.Identity().UUID }

// Name is the node's name.
func (n *Node) Name() string { return n.dir.Identity().Name }

// Address is what other nodes dial.
func (n *Node) Address() string { return n.port.advertise }

// ClusterUUID names the cluster that this node belongs to; empty while it belongs to none.
func (n *Node) ClusterUUID() string { return n.dir.Identity().Cluster }

// Stats are this node's Raft figures.
type Stats struct {
	Role         string // leader, follower, candidate
	Term         uint64
	LastIndex    uint64
	CommitIndex  uint64
	AppliedIndex uint64
	BaseIndex    uint64 // of the snapshot below which the log is given back
	Snapshots    int
}

// Stats returns zeros and "candidate" while the node is not a member of anything.
func (n *Node) Stats() Stats {
	inst := n.current.Load()
	if inst == nil {
		return Stats{Role: "candidate"}
	}
	base, _ := inst.retention.base()
	s := Stats{
		Term: inst.raft.CurrentTerm(), LastIndex: inst.raft.LastIndex(), CommitIndex: inst.raft.CommitIndex(),
		AppliedIndex: inst.raft.AppliedIndex(), BaseIndex: base.Index, Snapshots: len(inst.retention.files.list()),
	}
	switch _, leader := inst.raft.LeaderWithID(); {
	case n.IsLeader():
		s.Role = "leader"
	case leader != "" && inst.raft.State() == raft.Follower:
		s.Role = "follower"
	default:
		s.Role = "candidate"
	}
	return s
}

// IsLeader reports whether this node leads and its state machine has everything that was committed before.
func (n *Node) IsLeader() bool { return n.leadership() != nil }

func (n *Node) leadership() *leadership {
	inst := n.current.Load()
	if inst == nil || inst.raft.State() != raft.Leader {
		return nil
	}
	return inst.leading.Load()
}

// Ready reports why this node cannot serve yet: no leader is known, or it has not caught up with it.
func (n *Node) Ready() error {
	if n.IsLeader() {
		return nil
	}
	inst := n.current.Load()
	if inst == nil || !n.dir.Identity().Held {
		n.mu.Lock()
		defer n.mu.Unlock()
		return fmt.Errorf("not a member of a cluster yet: %s", n.waiting)
	}
	if _, leader := inst.raft.LeaderWithID(); leader == "" || inst.raft.State() == raft.Leader {
		return errors.New("no leader is known")
	}
	if since := time.Since(inst.raft.LastContact()); since > 3*n.opts.HeartbeatTimeout {
		return fmt.Errorf("no contact with the leader for %s", since.Round(time.Millisecond))
	}
	applied, want := inst.raft.AppliedIndex(), n.view.leaderCommit()
	if want == 0 || applied < want {
		return fmt.Errorf("catching up with the leader: applied index %d, want %d", applied, want)
	}
	return nil
}

func (n *Node) snapshotDir() string { return filepath.Join(n.dir.Path(), snapshotsDir) }
func (n *Node) stablePath() string  { return filepath.Join(n.dir.Path(), ballotFile) }
