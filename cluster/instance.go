package cluster

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

var (
	errAgain   = errors.New("identity changed") // settle and start another instance
	clusterKey = []byte("highlander.cluster")   // in the stable store: whose term and vote these are
	// Raft's own names.
	currentTermKey  = []byte("CurrentTerm")
	lastVoteTermKey = []byte("LastVoteTerm")
	lastVoteCandKey = []byte("LastVoteCand")
	stopTimeout     = 3 * time.Second
)

// instance is one life of Raft under one identity.
type instance struct {
	node      *Node
	own       Identity
	raft      *raft.Raft
	started   chan struct{} // closed when raft is set
	retention *retention
	machine   *machine
	layer     *layer
	intake    *intake
	stable    *ballot
	notify    chan bool
	leading   atomic.Pointer[leadership]
	cancel    context.CancelCauseFunc
}

func (n *Node) runInstance(ctx context.Context, lead func(context.Context)) error {
	inst, err := n.startInstance(n.dir.Identity())
	if err != nil {
		return err
	}
	ctx, inst.cancel = context.WithCancelCause(ctx)
	n.current.Store(inst)
	n.port.setLayer(inst.layer)
	var tasks sync.WaitGroup
	tasks.Go(func() { inst.watchLeadership(ctx, lead) })
	tasks.Go(func() { inst.retain(ctx) })
	tasks.Go(func() {
		if err := n.form(ctx); err != nil {
			inst.cancel(err)
		}
	})
	<-ctx.Done()
	tasks.Wait()
	inst.stop()
	return context.Cause(ctx)
}

// startInstance brings Raft up. A node that has never held an entry starts from nothing, whatever a former
// attempt left on its disk.
func (n *Node) startInstance(own Identity) (*instance, error) {
	inst := &instance{node: n, own: own, notify: make(chan bool, 64), started: make(chan struct{}), layer: newLayer(n.port, own)}
	err := n.openStores(inst)
	if err == nil {
		err = inst.startRaft()
	}
	if err == nil {
		err = inst.found()
	}
	if err != nil {
		inst.stop()
		return nil, fmt.Errorf("cluster: start: %w", err)
	}
	return inst, nil
}

func (n *Node) openStores(inst *instance) error {
	files, err := openSnapshots(n.snapshotDir())
	if err != nil {
		return err
	}
	inst.retention = &retention{
		log: n.opts.Log, files: files, dir: n.dir, cluster: inst.own.Cluster, floor: n.opts.Floor,
		trailing: n.opts.seams.trailing, logger: n.logger, watch: n.watch, stock: n.opts.seams.stockStores,
		leads: inst.stores, afford: n.opts.Afford,
		fatal: func(err error) {
			inst.layer.Close()
			n.fatal(err)
		},
	}
	if inst.own.Held {
		inst.retention.held.Store(true)
		err = inst.retention.reconcile()
	} else {
		err = inst.retention.wipe()
	}
	if err != nil {
		return err
	}
	inst.stable, err = n.openStable(inst.own)
	if err != nil {
		return err
	}
	inst.machine = newMachine(n.opts.FSM, n.opts.SnapshotBytes)
	if n.used {
		err = restoreState(n.opts.FSM, n.pristine)
	}
	n.used = true
	return err
}

// stores reports whether what Raft is storing are a leader's own entries: a follower never leads while it stores.
func (i *instance) stores() bool {
	<-i.started // Raft may be faster than its constructor returns
	return i.raft.State() == raft.Leader
}

// openStable opens the store of term and vote and makes sure that they are of this node's cluster.
func (n *Node) openStable(own Identity) (*ballot, error) {
	path := n.stablePath()
	if err := adoptBallot(n.dir.Path()); err != nil {
		return nil, fmt.Errorf("term and vote: %w", err)
	}
	store, mended, err := openBallot(path)
	switch {
	case errors.Is(err, os.ErrNotExist) && own.Held:
		return nil, fmt.Errorf("%w: %s is missing: this node could vote twice in one term", ErrDamaged, path)
	case errors.Is(err, os.ErrNotExist):
		if err := createBallot(path, map[string][]byte{string(clusterKey): []byte(own.Cluster)}); err != nil {
			return nil, err
		}
		return n.openStable(own)
	case err != nil:
		return nil, err
	case mended:
		n.logger.Warn("one copy of term and vote was damaged or half written; the other has been taken", "file", path)
	}
	kept, err := store.Get(clusterKey)
	switch {
	case errors.Is(err, errNoValue) && own.Held:
		err = fmt.Errorf("%w: %s lacks the cluster's UUID: what was voted is lost", ErrDamaged, path)
	case errors.Is(err, errNoValue):
		err = store.Set(clusterKey, []byte(own.Cluster))
	case err == nil && string(kept) != own.Cluster && own.Held:
		err = fmt.Errorf("%s belongs to cluster %s, the directory to %s; if a recover was interrupted, run it again", path, kept, own.Cluster)
	case err == nil && string(kept) != own.Cluster:
		if err := errors.Join(store.Close(), os.Remove(path)); err != nil {
			return nil, err
		}
		return n.openStable(own)
	}
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return store, nil
}

func openBolt(path string) (*raftboltdb.BoltStore, error) {
	store, err := raftboltdb.New(raftboltdb.Options{Path: path, BoltOptions: &bbolt.Options{Timeout: time.Second}})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return store, nil
}

// transport is raft's own, with one addition: NewRaft sets the heartbeat handler when it has restored and
// just before it starts, which is the moment from which only peers ask for snapshots.
type transport struct {
	*raft.NetworkTransport
	retention *retention
	intake    *intake
	mayLead   func() error
}

// RequestPreVote implements raft.WithPreVote. A node that could not store what a leader must write does not ask: it
// would win, step down, and win again. It follows and votes as ever.
func (t *transport) RequestPreVote(id raft.ServerID, address raft.ServerAddress, request *raft.RequestPreVoteRequest, answer *raft.RequestPreVoteResponse) error {
	if err := t.mayLead(); err != nil {
		return err
	}
	return t.NetworkTransport.RequestPreVote(id, address, request, answer)
}

// RequestVote implements raft.Transport; a leader that hands over makes a node ask for votes at once.
func (t *transport) RequestVote(id raft.ServerID, address raft.ServerAddress, request *raft.RequestVoteRequest, answer *raft.RequestVoteResponse) error {
	if err := t.mayLead(); err != nil {
		return err
	}
	return t.NetworkTransport.RequestVote(id, address, request, answer)
}

// Consumer implements raft.Transport.
func (t *transport) Consumer() <-chan raft.RPC { return t.intake.out }

// SetHeartbeatHandler implements raft.Transport.
func (t *transport) SetHeartbeatHandler(handle func(raft.RPC)) {
	t.retention.serving.Store(true)
	t.NetworkTransport.SetHeartbeatHandler(handle)
}

func (i *instance) startRaft() error {
	opts := i.node.opts
	logger := newRaftLogger(opts.Logger)
	network := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: i.layer, Logger: logger, MaxPool: 4, MaxRPCsInFlight: 2, Timeout: 3 * time.Second,
	})
	room := func(entries []*raft.Log) error {
		i.node.watch.begin() // making room writes
		defer i.node.watch.end()
		return opts.Room(entries)
	}
	i.intake = newIntake(network.Consumer(), room, i.node.noRoom)
	go i.intake.run()
	var trans raft.Transport = &transport{NetworkTransport: network, retention: i.retention, intake: i.intake, mayLead: i.node.mayLead}
	if opts.seams.wrapTransport != nil {
		trans = opts.seams.wrapTransport(trans)
	}
	config := raft.DefaultConfig()
	config.LocalID = serverID(i.own.Name, i.own.UUID)
	config.Logger = logger
	config.NotifyCh = i.notify
	config.HeartbeatTimeout = opts.HeartbeatTimeout
	config.ElectionTimeout = opts.ElectionTimeout
	config.LeaderLeaseTimeout = opts.LeaseTimeout
	config.CommitTimeout = min(50*time.Millisecond, opts.HeartbeatTimeout/4)
	config.MaxAppendEntries = 64
	config.BatchApplyCh = true
	config.TrailingLogs = opts.seams.trailing
	config.SnapshotInterval = time.Hour
	config.SnapshotThreshold = math.MaxUint64 // by bytes, in retain
	config.NoLegacyTelemetry = true
	config.ShutdownOnRemove = true
	stable := &failStop{store: i.stable, watch: i.node.watch, fatal: i.retention.fatal}
	var err error
	i.raft, err = raft.NewRaft(config, i.machine, i.retention, stable, i.retention, trans)
	if err != nil {
		trans.(raft.WithClose).Close()
		return err
	}
	close(i.started)
	return nil
}

// failStop ends the node when its term or vote cannot be written.
type failStop struct {
	store *ballot
	watch *watchdog
	fatal func(error)
}

// Set implements raft.StableStore.
func (f *failStop) Set(key, value []byte) error {
	return f.write(func() error { return f.store.Set(key, value) })
}

// SetUint64 implements raft.StableStore.
func (f *failStop) SetUint64(key []byte, value uint64) error {
	return f.write(func() error { return f.store.SetUint64(key, value) })
}

func (f *failStop) write(write func() error) error {
	f.watch.begin()
	defer f.watch.end()
	err := write()
	if err != nil {
		err = fmt.Errorf("cluster: term and vote: %w", err)
		f.fatal(err)
	}
	return err
}

// Get implements raft.StableStore.
func (f *failStop) Get(key []byte) ([]byte, error) { return f.store.Get(key) }

// GetUint64 implements raft.StableStore.
func (f *failStop) GetUint64(key []byte) (uint64, error) { return f.store.GetUint64(key) }

// retain takes snapshots by bytes applied and gives back what is below the base.
func (i *instance) retain(ctx context.Context) {
	tick := time.NewTicker(i.node.opts.seams.pollInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-i.machine.due:
			i.snapshot(ctx)
		case <-tick.C:
			if i.machine.unsaved.Load() >= i.machine.dueMin {
				i.snapshot(ctx) // the last attempt failed
			}
		}
		if err := i.retention.reclaim(); err != nil {
			i.node.logger.Warn("cannot give back disk space", "err", err)
		}
	}
}

func (i *instance) snapshot(ctx context.Context) {
	before := i.machine.unsaved.Load()
	err := await(ctx, i.raft.Snapshot())
	switch {
	case err == nil:
		i.machine.unsaved.Add(-before)
		i.node.metrics.snapshots.WithLabelValues("taken").Inc()
	case ctx.Err() == nil:
		i.node.metrics.snapshots.WithLabelValues("failed").Inc()
		i.node.complain("snapshot failed", err)
	}
}

// stop ends Raft and everything that belongs to this life of it. A part that was never started is nil.
func (i *instance) stop() {
	i.node.port.setLayer(nil)
	i.node.current.CompareAndSwap(i, nil)
	if i.intake != nil {
		defer i.intake.close()
	}
	if i.raft != nil {
		i.drain()
		stopped := i.raft.Shutdown()
		i.layer.Close()
		if err := await(timeout(stopTimeout), stopped); err != nil {
			i.node.logger.Warn("raft did not stop", "err", err)
			return // it may still use the store
		}
	}
	i.layer.Close()
	if i.stable != nil {
		if err := i.stable.Close(); err != nil {
			i.node.logger.Warn("cannot close the store of term and vote", "err", err)
		}
	}
}

// drain waits until Raft has taken every proposal out of its queue: those still in it when Raft stops would
// never be answered.
func (i *instance) drain() {
	i.node.proposing.Lock()
	defer i.node.proposing.Unlock()
	if i.raft.State() == raft.Leader {
		_ = await(timeout(300*time.Millisecond), i.raft.Barrier(100*time.Millisecond))
	}
}

func timeout(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	context.AfterFunc(ctx, cancel)
	return ctx
}

// await waits for a future that has no way to give up.
func await(ctx context.Context, future raft.Future) error {
	done := make(chan error, 1)
	go func() { done <- future.Error() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
