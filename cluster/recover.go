package cluster

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/google/uuid"
	"github.com/hashicorp/raft"
)

// RecoverOptions say where the recovered node will be reached.
type RecoverOptions struct {
	AdvertiseAddress string
	Logger           *slog.Logger
}

// Recover makes the last node left of a lost majority a cluster of one, with a new cluster UUID and every
// entry that it holds: entries that were not committed before are by this. It runs on a stopped node. The old
// members, should they return, are refused, and can join again when they are empty.
//
// Raft's own RecoverCluster ends by deleting the log, which is the buffer here. Instead one configuration
// entry is appended, in a new term, that names this node alone; nothing else is touched, and whoever replays
// the log, also a joiner who begins at an older snapshot, comes to the same configuration. The cluster's UUID
// changes first: a crash between the steps leaves a node that no old member talks to, and Recover can be run
// again.
func Recover(dir *Dir, log raft.LogStore, opts RecoverOptions) error {
	own := dir.Identity()
	if !own.Held {
		return errors.New("recover: this node has never held an entry; there is nothing to recover")
	}
	if err := checkAddress("cluster.advertise_address", opts.AdvertiseAddress); err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	last, term, err := logEnd(dir, log, opts.Logger)
	if err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	cluster := uuid.NewString()
	if err := dir.recovered(cluster); err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	term, err = renewTerm(dir.Path(), cluster, term)
	if err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	address := target{UUID: own.UUID, Cluster: cluster, HostPort: opts.AdvertiseAddress}.address()
	servers := []raft.Server{{Suffrage: raft.Voter, ID: serverID(own.Name, own.UUID), Address: address}}
	entry := &raft.Log{
		Index: last + 1, Term: term, Type: raft.LogConfiguration,
		Data: raft.EncodeConfiguration(raft.Configuration{Servers: servers}),
	}
	if err := log.StoreLogs([]*raft.Log{entry}); err != nil {
		return fmt.Errorf("recover: append index %d: %w", entry.Index, err)
	}
	return nil
}

// logEnd finds the last entry that this node holds, and puts right what a crash has left of the log.
func logEnd(dir *Dir, log raft.LogStore, logger *slog.Logger) (last, term uint64, err error) {
	files, err := openSnapshots(filepath.Join(dir.Path(), snapshotsDir))
	if err != nil {
		return 0, 0, err
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	r := &retention{log: log, files: files, dir: dir, logger: logger}
	if err := r.reconcile(); err != nil {
		return 0, 0, err
	}
	if last, err = log.LastIndex(); err != nil {
		return 0, 0, err
	}
	if newest, ok := files.newest(); ok && newest.Index >= last {
		return newest.Index, newest.Term, nil
	}
	var entry raft.Log
	if err := log.GetLog(last, &entry); err != nil {
		return 0, 0, fmt.Errorf("read log index %d: %w", last, err)
	}
	return last, entry.Term, nil
}

// renewTerm begins a term later than every one that this node has seen, and hands the store to the cluster.
func renewTerm(dir, cluster string, term uint64) (uint64, error) {
	if err := adoptBallot(dir); err != nil {
		return 0, fmt.Errorf("term and vote: %w", err)
	}
	path := filepath.Join(dir, ballotFile)
	store, _, err := openBallot(path)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, ErrDamaged) {
		// Nobody of the old cluster is talked to any more: what was voted there binds nobody.
		if err := createBallot(path, nil); err != nil {
			return 0, fmt.Errorf("term and vote: %w", err)
		}
		store, _, err = openBallot(path)
	}
	if err != nil {
		return 0, fmt.Errorf("term and vote: %w", err)
	}
	current, err := store.GetUint64(currentTermKey)
	if err == nil || errors.Is(err, errNoValue) {
		term = max(term, current) + 1
		err = errors.Join(store.SetUint64(currentTermKey, term), store.Set(clusterKey, []byte(cluster)))
	}
	if err := errors.Join(err, store.Close()); err != nil {
		return 0, fmt.Errorf("term and vote: %w", err)
	}
	return term, nil
}
