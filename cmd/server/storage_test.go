package server

import (
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/highlander-io/highlander/wal"
)

// logOf is a log of so many bytes; of none, one that the disk has no room for.
type logOf int64

func (l *logOf) Info() wal.Info { return wal.Info{Bytes: int64(*l), Scarce: *l < 0} }
func (*logOf) Short(bool)       {}
func (*logOf) Refill()          {}

// disk is a storage over a real directory whose limits a test sets against what the disk really has free.
func disk(t *testing.T, maxBytes, minFreeBytes int64) (s *storage, wal *int64, backlog *uint64) {
	t.Helper()
	wal, backlog = new(int64), new(uint64)
	s = newStorage(t.TempDir(), maxBytes, minFreeBytes, (*logOf)(wal), func() uint64 { return *backlog }, slog.New(slog.DiscardHandler))
	if err := s.Open(time.Unix(1000, 0)); err != nil {
		t.Fatal(err)
	}
	return s, wal, backlog
}

func look(t *testing.T, s *storage, at int64) diskState {
	t.Helper()
	if err := s.look(time.Unix(at, 0)); err != nil {
		t.Fatal(err)
	}
	return s.State()
}

func TestStorageFullByLog(t *testing.T) {
	s, wal, _ := disk(t, 6400, 0)
	steps := []struct {
		bytes int64
		full  bool
	}{{6400, false}, {6401, true}, {6400, true}, {6301, true}, {6300, false}, {6400, false}}
	for i, step := range steps {
		*wal = step.bytes
		if got := look(t, s, int64(1001+i)).full; (got != "") != step.full {
			t.Fatalf("step %d, log of %d bytes: full %q, want full: %v", i, step.bytes, got, step.full)
		}
	}
}

func TestStorageFullByReserve(t *testing.T) {
	s, _, _ := disk(t, 0, math.MaxInt64/2)
	got := look(t, s, 1001)
	if !strings.Contains(got.full, "storage.min_free_bytes") || got.fullIn != 0 {
		t.Fatalf("got %+v, want it to name storage.min_free_bytes and say 0 s", got)
	}
}

// A log that cannot get another segment is full, however many bytes are free, until it has got one.
func TestStorageFullByScarcity(t *testing.T) {
	s, wal, _ := disk(t, 0, 0)
	for i, bytes := range []int64{5, -1, -1, 5} {
		*wal = bytes
		if got := look(t, s, int64(1001+i)).full; strings.Contains(got, "another segment") != (bytes < 0) {
			t.Errorf("look %d: full %q", i, got)
		}
	}
}

func TestStorageFullIn(t *testing.T) {
	s, wal, backlog := disk(t, 1<<40, 0)
	if got := look(t, s, 1001).fullIn; !math.IsInf(got, 1) {
		t.Fatalf("full in %v s though nothing grows", got)
	}
	for i := range int64(600) {
		*backlog += 1 << 20
		*wal += 1 << 20
		look(t, s, 1002+i)
	}
	state := s.State()
	room := math.Min(float64(1<<40-state.walBytes), float64(state.freeBytes))
	if want := room / (1 << 20); math.Abs(state.fullIn-want) > want/100 {
		t.Fatalf("full in %v s at 1 MiB/s, want about %v", state.fullIn, want)
	}
	for i := range int64(3600) { // drained: it must not be said for ever
		*backlog = 0
		look(t, s, 2000+i)
	}
	if got := s.State().fullIn; !math.IsInf(got, 1) {
		t.Fatalf("full in %v s an hour after the backlog was drained", got)
	}
}

func TestSpareFile(t *testing.T) {
	s, _, _ := disk(t, 0, 8<<20)
	path := filepath.Join(s.dir, "spare")
	allocated := func() int64 {
		var stat unix.Stat_t
		if err := unix.Stat(path, &stat); err != nil {
			t.Fatal(err)
		}
		return stat.Blocks * 512
	}
	if got, want := allocated(), s.spareBytes(); got < want {
		t.Fatalf("spare file has %d bytes on disk, want %d", got, want)
	}
	s.tendSpare(&diskState{freeBytes: 0})
	if got := allocated(); got != 0 {
		t.Fatalf("spare file keeps %d bytes of a disk without room", got)
	}
	s.tendSpare(&diskState{freeBytes: s.spareBytes()}) // too little to take it again
	if got := allocated(); got != 0 {
		t.Fatalf("spare file has taken %d bytes of a disk that has hardly any room", got)
	}
	s.tendSpare(&diskState{freeBytes: 5 * s.spareBytes()})
	if got, want := allocated(), s.spareBytes(); got < want {
		t.Fatalf("spare file has %d bytes on disk, want %d again", got, want)
	}
}

func TestStorageDirectoryGone(t *testing.T) {
	s, _, _ := disk(t, 0, 0)
	if err := os.RemoveAll(s.dir); err != nil {
		t.Fatal(err)
	}
	if err := s.look(time.Unix(1001, 0)); err == nil || !strings.Contains(err.Error(), s.dir) {
		t.Fatalf("got %v, want an error that names %s", err, s.dir)
	}
}
