package cluster

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"
)

// The files of a data directory that this package owns. The log's own directory belongs to package wal.
const (
	lockFile     = "lock"
	identityFile = "node.json"
	ballotFile   = "vote"
	stableFile   = "raft.db" // term and vote, before ballotFile
	snapshotsDir = "snapshots"
	logDir       = "wal"
)

const identityVersion = 1

// identityBytesMax is more than an identity takes, unless its join list is very long.
const identityBytesMax = 4096

// temporary ends the name of what is going to replace a file.
const temporary = ".tmp"

// ErrLeft is the reason why a directory whose node left its cluster is not opened again without rejoin.
var ErrLeft = errors.New("this node has left its cluster")

// errMoved means that a node has promised itself to another cluster before it held an entry of this one.
var errMoved = errors.New("this node no longer belongs to cluster")

// Identity is what a data directory knows about its node. The UUID is made with the directory and names what
// is on this disk: a machine whose disk was lost comes back under another UUID, so nobody mistakes its empty
// log for the one that its predecessor had promised to keep.
type Identity struct {
	Version int    `json:"version"`
	Name    string `json:"name"`
	UUID    string `json:"uuid"`
	// Cluster is the UUID of the cluster that this node belongs to, or, while Held is false, has promised
	// itself to. It is empty in a new directory.
	Cluster string `json:"cluster_uuid,omitempty"`
	// Held says that this node has acknowledged at least one entry. From then on an empty log is a lost log.
	Held bool `json:"held_entries,omitempty"`
	// Voter says that this node has had a vote: when its cluster does not know it, it was removed.
	Voter bool `json:"voter,omitempty"`
	// Alone says that this node started a cluster by itself and never had company.
	Alone bool `json:"alone,omitempty"`
	// Left says that the node left or was removed; Join lists where a node that was reset while it ran is
	// going to join.
	Left bool     `json:"left,omitempty"`
	Join []string `json:"join,omitempty"`
}

// identityRecord is the file: what it says decides whether the log beside it counts and who may be voted for, so
// a flipped bit must not pass for an answer. Files of before the checksum have none.
type identityRecord struct {
	Identity
	Checksum string `json:"checksum,omitempty"`
}

// sum is over the meaning and not over the text, which a person may have indented.
func (id Identity) sum() (string, error) {
	text, err := json.Marshal(id)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%08x", crc32.Checksum(text, castagnoli)), nil
}

func encodeIdentity(id Identity) ([]byte, error) {
	sum, err := id.sum()
	if err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(identityRecord{id, sum}, "", "  ")
	return append(text, '\n'), err
}

// decodeIdentity refuses what it does not know: a key that is not one of these was one of these once.
func decodeIdentity(text []byte) (Identity, error) {
	var record identityRecord
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&record); err != nil {
		var head struct{ Version int }
		if json.Unmarshal(text, &head) == nil && head.Version > identityVersion {
			return Identity{}, fmt.Errorf("version %d; this build reads version %d", head.Version, identityVersion)
		}
		return Identity{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	id := record.Identity
	want, err := id.sum()
	switch {
	case err != nil:
		return Identity{}, err
	case record.Checksum != "" && record.Checksum != want:
		return Identity{}, fmt.Errorf("%w: checksum is %s, want %s", ErrDamaged, record.Checksum, want)
	case id.Version != identityVersion:
		return Identity{}, fmt.Errorf("version %d; this build reads version %d", id.Version, identityVersion)
	case id.Name == "" || id.UUID == "":
		return Identity{}, fmt.Errorf("%w: it lacks the node's name or UUID", ErrDamaged)
	case follows(decoder):
		return Identity{}, fmt.Errorf("%w: something follows the identity", ErrDamaged)
	}
	return id, nil
}

// follows says whether anything but white space comes behind what was decoded. More would overlook a bracket.
func follows(decoder *json.Decoder) bool {
	_, err := decoder.Token()
	return !errors.Is(err, io.EOF)
}

// Dir is an open, locked data directory. Its methods are safe for concurrent use.
type Dir struct {
	path string
	lock *os.File

	mu sync.Mutex
	id Identity
}

var nodeName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

func checkName(name string) error {
	if nodeName.MatchString(name) {
		return nil
	}
	return fmt.Errorf("node name %q: want 1 to 63 letters, digits, dots, dashes or underscores, beginning with a letter or digit", name)
}

// OpenDir makes the directory if there is none, locks it and reads or makes its identity. An empty name means
// the one kept in the directory, or the host name for a new one. With rejoin, a directory whose node has left
// gets a new identity; Open then empties it.
func OpenDir(path, name string, rejoin bool) (*Dir, error) {
	if err := os.MkdirAll(path, 0o750); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	lock, err := lockDir(path)
	if err != nil {
		return nil, err
	}
	d := &Dir{path: path, lock: lock}
	if err := d.load(name, rejoin); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return d, nil
}

// HasNode says whether a directory holds a node's data, or what is left of it.
func HasNode(path string) bool {
	d := Dir{path: path}
	return slices.ContainsFunc([]string{identityFile, ballotFile, stableFile, snapshotsDir, logDir}, func(name string) bool {
		return filled(d.file(name))
	})
}

func lockDir(path string) (*os.File, error) {
	file := filepath.Join(path, lockFile)
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		holder := "another process"
		if text, readErr := os.ReadFile(file); readErr == nil && len(text) > 0 {
			holder = strings.TrimSpace(string(text))
		}
		return nil, errors.Join(fmt.Errorf("data directory %s is in use by %s (lock %s)", path, holder, file), f.Close())
	}
	// In place, and shortened last: on a full disk, what is given back is gone. Nothing depends on the text.
	holder := fmt.Sprintf("process %d\n", os.Getpid())
	_, err = f.WriteAt([]byte(holder), 0)
	if err == nil {
		err = f.Truncate(int64(len(holder)))
	}
	if err != nil && !noSpace(err) {
		return nil, errors.Join(fmt.Errorf("data directory: %w", err), f.Close())
	}
	return f, nil
}

func noSpace(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

func (d *Dir) load(name string, rejoin bool) error {
	text, err := os.ReadFile(d.file(identityFile))
	if errors.Is(err, os.ErrNotExist) {
		return d.create(name)
	}
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	if d.id, err = decodeIdentity(text); err != nil {
		return fmt.Errorf("%s: %w", d.file(identityFile), err)
	}
	d.reserve()
	switch id := d.id; {
	case name != "" && name != id.Name:
		return fmt.Errorf("data directory %s belongs to node %q (uuid %s), not to %q: use another directory or that node's name", d.path, id.Name, id.UUID, name)
	case id.Left && !rejoin:
		return fmt.Errorf("data directory %s: %w; start with cluster.rejoin to empty it and join again", d.path, ErrLeft)
	case id.Left:
		return d.Reset(nil)
	}
	return nil
}

// create makes an identity for a new directory. A directory that has a log but no identity is refused: which
// cluster the log belongs to, and whether its entries were acknowledged, cannot be known.
func (d *Dir) create(name string) error {
	for _, leftover := range []string{ballotFile, stableFile, snapshotsDir, logDir} {
		if filled(d.file(leftover)) {
			return fmt.Errorf("%w: data directory %s has %s but no %s: the identity of its node is lost", ErrDamaged, d.path, leftover, identityFile)
		}
	}
	if name == "" {
		host, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("node name: %w", err)
		}
		name = host
	}
	if err := checkName(name); err != nil {
		return err
	}
	return d.change(func(id *Identity) error {
		*id = Identity{Version: identityVersion, Name: name, UUID: uuid.NewString()}
		return nil
	})
}

// filled reports whether path is a file, or a directory that is not empty.
func filled(path string) bool {
	info, err := os.Stat(path)
	if err != nil {
		return false
	}
	if !info.IsDir() {
		return true
	}
	entries, err := os.ReadDir(path)
	return err != nil || len(entries) > 0
}

func (d *Dir) file(name string) string { return filepath.Join(d.path, name) }

// Path is the directory's path as given to OpenDir.
func (d *Dir) Path() string { return d.path }

// Identity returns what the directory knows now.
func (d *Dir) Identity() Identity {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.id
}

// Close unlocks the directory.
func (d *Dir) Close() error { return d.lock.Close() }

// change edits the identity and has it on disk before anybody sees it.
func (d *Dir) change(edit func(*Identity) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	next := d.id
	if err := edit(&next); err != nil {
		return err
	}
	text, err := encodeIdentity(next)
	if err != nil {
		return err
	}
	if err := writeFileSync(d.file(identityFile), text); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	d.id = next
	d.reserve()
	return nil
}

// reserve keeps a block for the next change, in the file that will become the identity then: a full disk must not stop
// it. Where there is no space for that either, so be it.
func (d *Dir) reserve() {
	f, err := os.OpenFile(d.file(identityFile)+temporary, os.O_WRONLY|os.O_CREATE, 0o640)
	if err != nil {
		return
	}
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, identityBytesMax), 0); err == nil {
		_ = f.Sync() // delayed, the blocks would not be there yet
	}
}

// promise binds a node that has never acknowledged an entry to a cluster. Whoever has acknowledged one cannot
// be bound again: that is what keeps two clusters from being made of the same nodes.
func (d *Dir) promise(cluster string, alone bool) error {
	return d.change(func(id *Identity) error {
		if id.Held {
			return fmt.Errorf("node %s belongs to cluster %s and holds entries of it", id.Name, id.Cluster)
		}
		id.Cluster, id.Alone = cluster, alone
		return nil
	})
}

// markHeld is called after the first entry or snapshot is on disk and before it is acknowledged.
func (d *Dir) markHeld(cluster string) error {
	if id := d.Identity(); id.Held && id.Cluster == cluster {
		return nil
	}
	return d.change(func(id *Identity) error {
		if id.Cluster != cluster {
			return fmt.Errorf("%w %s", errMoved, cluster)
		}
		id.Held, id.Join = true, nil
		return nil
	})
}

func (d *Dir) markAccompanied() error {
	return d.change(func(id *Identity) error { id.Alone = false; return nil })
}

func (d *Dir) markVoter() error {
	return d.change(func(id *Identity) error { id.Voter = true; return nil })
}

func (d *Dir) markLeft() error {
	return d.change(func(id *Identity) error { id.Left = true; return nil })
}

// recovered binds the directory to a new cluster although it holds entries of the old one.
func (d *Dir) recovered(cluster string) error {
	return d.change(func(id *Identity) error {
		id.Cluster, id.Alone = cluster, false
		return nil
	})
}

// Reset gives the directory a new identity under its old name, as if its disk were new. What is left of the
// log is removed when the node next starts, because it has not acknowledged anything under the new identity.
func (d *Dir) Reset(join []string) error {
	return d.change(func(id *Identity) error {
		*id = Identity{Version: identityVersion, Name: id.Name, UUID: uuid.NewString(), Join: join}
		return nil
	})
}

// writeFileSync replaces a file so that after a crash it has either its old or its new content.
func writeFileSync(path string, data []byte) error {
	tmp := path + temporary
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE, 0o640) // what is there already has blocks: see reserve
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	if err == nil {
		err = f.Truncate(int64(len(data)))
	}
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
