package cluster

import (
	"errors"
	"fmt"
)

// ErrDamaged means that a file says something that nobody wrote to it, or is gone. The node must not take part with
// what is left: its directory is moved away, and it joins anew with an empty one.
var ErrDamaged = errors.New("damaged data directory")

// setAside does without the damaged snapshots if the log goes past them: then they were only a shorter way to what an
// older one and the log say. One that the log does not reach was received in its place, and cannot be missed.
func (r *retention) setAside(first, last uint64) error {
	for _, meta := range r.files.bad {
		path := r.files.path(meta.ID)
		stale, err := r.contradicts(meta, first, last)
		if err != nil {
			return err
		}
		if stale {
			return fmt.Errorf("%w: snapshot %s: wrong checksum, and the log from index %d to %d cannot replace it", ErrDamaged, path, first, last)
		}
		if newest, ok := r.files.newest(); first > 1 && (!ok || newest.Index+1 < first) {
			return fmt.Errorf("%w: snapshot %s: wrong checksum, and no other one comes before index %d, where the log begins", ErrDamaged, path, first)
		}
		r.logger.Warn("setting a damaged snapshot aside, the log has what it had", "file", path, "index", meta.Index)
		if err := r.files.setAside(meta); err != nil {
			return err
		}
	}
	return nil
}
