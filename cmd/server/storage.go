package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/highlander-io/highlander/wal"
)

const (
	// storageInterval is how often the disk is looked at. At 100 MB/s it leaves 10 MB between two looks,
	// far less than any sensible reserve.
	storageInterval = 100 * time.Millisecond
	// refillInterval is how often a log that could not get a segment tries again.
	refillInterval = time.Second
	// spareBytesMax bounds the ballast file that is given back when the disk has nothing left.
	spareBytesMax = 16 << 20
)

// diskState is one look at the disk.
type diskState struct {
	freeBytes int64
	walBytes  int64
	scarce    bool    // the log could not get another segment
	full      string  // empty, or the limit that is reached, for people
	fullIn    float64 // seconds until a limit is reached at the present growth; +Inf if the backlog does not grow
}

// storage watches the disk that holds the log: it says when writes must be refused, and keeps a spare file
// whose space is given back when nothing else is left, so that cursor entries, votes and snapshots go on.
type storage struct {
	dir           string
	maxBytes      int64
	minFreeBytes  int64
	log           segments
	backlogBytes  func() uint64
	refilled      time.Time // when the log was last asked to get a spare
	logger        *slog.Logger
	state         atomic.Pointer[diskState]
	growth        growth
	spareReleased bool
}

// segments is what storage needs of the log.
type segments interface {
	Info() wal.Info
	Short(bool) // told when the disk has become full, and when it has room again
	Refill()
}

func newStorage(dir string, maxBytes, minFreeBytes int64, log segments, backlogBytes func() uint64, logger *slog.Logger) *storage {
	return &storage{dir: dir, maxBytes: maxBytes, minFreeBytes: minFreeBytes, log: log, backlogBytes: backlogBytes, logger: logger}
}

// Open makes the spare file and takes the first look.
func (s *storage) Open(now time.Time) error {
	if err := s.fillSpare(); err != nil && !errors.Is(err, unix.ENOSPC) {
		return err
	}
	return s.look(now)
}

// Run looks at the disk until ctx ends.
func (s *storage) Run(ctx context.Context) error {
	for now := range ticks(ctx, storageInterval) {
		if err := s.look(now); err != nil {
			return err
		}
	}
	return nil
}

// State returns the last look.
func (s *storage) State() diskState { return *s.state.Load() }

func (s *storage) look(now time.Time) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(s.dir, &fs); err != nil {
		return fmt.Errorf("storage: statfs %s: %w", s.dir, err)
	}
	info := s.log.Info()
	next := &diskState{freeBytes: int64(fs.Bavail) * fs.Bsize, walBytes: info.Bytes, scarce: info.Scarce}
	previous := s.state.Load()
	wasFull := previous != nil && previous.full != ""
	next.full = s.limit(next, wasFull)
	next.fullIn = s.fullIn(next, now)
	s.state.Store(next)
	s.tendSpare(next)
	if next.scarce && now.Sub(s.refilled) >= refillInterval {
		s.refilled = now
		s.log.Refill()
	}
	if (next.full != "") != wasFull {
		s.log.Short(!wasFull)
		if wasFull {
			s.logger.Info("storage has room again", "free_bytes", next.freeBytes, "wal_bytes", next.walBytes)
		} else {
			s.logger.Warn("storage is full", "reason", next.full, "free_bytes", next.freeBytes, "wal_bytes", next.walBytes)
		}
	}
	return nil
}

// limit names the limit that is reached. Once full, a little more room than the limit is wanted before
// writes go on, else they would flap at the edge.
func (s *storage) limit(now *diskState, wasFull bool) string {
	slackFree, slackMax := int64(0), int64(0)
	if wasFull {
		slackFree, slackMax = s.minFreeBytes/16, s.maxBytes/64
	}
	if s.maxBytes > 0 && now.walBytes > s.maxBytes-slackMax {
		return fmt.Sprintf("the log holds %d bytes, storage.max_bytes is %d", now.walBytes, s.maxBytes)
	}
	if now.freeBytes < s.minFreeBytes+slackFree {
		return fmt.Sprintf("%d bytes are free on the disk, storage.min_free_bytes is %d", now.freeBytes, s.minFreeBytes)
	}
	if now.scarce { // a quota, or no inode is left; or the reserve is smaller than a segment
		return fmt.Sprintf("the disk has no room for another segment of the log, though %d bytes are free", now.freeBytes)
	}
	return ""
}

// fullIn divides the room left by the growth of the backlog. The log itself is no measure: it grows and
// shrinks by whole segments while nothing is wrong.
func (s *storage) fullIn(state *diskState, now time.Time) float64 {
	s.growth.note(s.backlogBytes(), now)
	if state.full != "" {
		return 0
	}
	room := state.freeBytes - s.minFreeBytes
	if s.maxBytes > 0 {
		room = min(room, s.maxBytes-state.walBytes)
	}
	return s.growth.secondsUntil(room)
}

// tendSpare gives the spare file's space back when the disk has nothing left, and takes it again when there
// is room.
func (s *storage) tendSpare(now *diskState) {
	size := s.spareBytes()
	switch {
	case !s.spareReleased && now.freeBytes < size/4:
		if err := os.Truncate(s.sparePath(), 0); err != nil {
			s.logger.Error("cannot release the spare file", "err", err)
			return
		}
		s.spareReleased = true
		s.logger.Warn("disk has no room left, spare file released", "free_bytes", now.freeBytes, "spare_bytes", size)
	case s.spareReleased && now.freeBytes > 4*size:
		if err := s.fillSpare(); err == nil {
			s.logger.Info("spare file taken again", "spare_bytes", size)
		}
	}
}

func (s *storage) sparePath() string { return filepath.Join(s.dir, "spare") }

// spareBytes stays well below the reserve: with a reserve of a few MiB the spare must not eat it up.
func (s *storage) spareBytes() int64 { return min(spareBytesMax, max(s.minFreeBytes/4, 1<<20)) }

func (s *storage) fillSpare() (err error) {
	file, err := os.OpenFile(s.sparePath(), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("storage: open spare file: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := unix.Fallocate(int(file.Fd()), 0, 0, s.spareBytes()); err != nil {
		s.spareReleased = true
		return errors.Join(fmt.Errorf("storage: allocate %d bytes for the spare file: %w", s.spareBytes(), err), file.Truncate(0))
	}
	s.spareReleased = false
	return nil
}
