package server

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/highlander-io/highlander/cluster"
	"github.com/highlander-io/highlander/config"
	"github.com/highlander-io/highlander/wal"
)

// Recover makes the node in a stopped node's data directory a cluster of one with a new cluster UUID and every
// batch it holds. It is for the last node left of a lost majority; the members that are gone are refused
// should they come back.
func Recover(c config.Config, logger *slog.Logger) (err error) {
	if !cluster.HasNode(c.Storage.Path) { // a directory that was mistyped must not become a node's
		return fmt.Errorf("recover: there is no node's data in %s (--storage.path says which data directory is meant)", c.Storage.Path)
	}
	alone := c
	alone.Cluster.Join = nil // there is nobody left to get anything from
	defer func() { err = explainDamage(err, &alone) }()
	dir, err := cluster.OpenDir(c.Storage.Path, c.Node.ID, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	log, err := wal.Open(wal.Options{
		Dir: filepath.Join(c.Storage.Path, "wal"), Held: dir.Identity().Held, SegmentBytes: segmentBytes(c.Storage), Logger: logger,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	return cluster.Recover(dir, log, cluster.RecoverOptions{
		AdvertiseAddress: cmp.Or(c.Cluster.AdvertiseAddress, c.Cluster.BindAddress), Logger: logger,
	})
}

// explainDamage says what to do about a data directory that is damaged where a crash cannot have damaged it.
func explainDamage(err error, c *config.Config) error {
	var corrupt *wal.CorruptError
	if !errors.As(err, &corrupt) && !errors.Is(err, cluster.ErrDamaged) {
		return err
	}
	dir := c.Storage.Path
	if len(c.Cluster.Join) > 0 {
		return fmt.Errorf("%w; this node must not go on with it: move %s away and start again with the same configuration, and it gets its "+
			"data from the other members", err, dir)
	}
	return fmt.Errorf("%w; this node must not go on with it: move %s away and start again; nobody else has what it held and had not "+
		"delivered, but for what its sources still send; look at it with `highlander wal verify --storage.path %s` and `highlander wal dump`; "+
		"a member of a cluster starts with cluster.join and gets its data from the others", err, dir, dir)
}
