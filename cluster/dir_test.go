package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func openDir(t *testing.T, path, name string, rejoin bool) (*Dir, error) {
	t.Helper()
	d, err := OpenDir(path, name, rejoin)
	if err == nil {
		t.Cleanup(func() { d.Close() })
	}
	return d, err
}

func TestDirectoryKeepsItsIdentity(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "data")
	d, err := openDir(t, path, "n1", false)
	if err != nil {
		t.Fatal(err)
	}
	first := d.Identity()
	if err := errors.Join(d.promise("c", true), d.markHeld("c"), d.Close()); err != nil {
		t.Fatal(err)
	}
	d, err = openDir(t, path, "", false) // the name is kept in the directory
	if err != nil {
		t.Fatal(err)
	}
	got := d.Identity()
	if got.UUID != first.UUID || got.Name != "n1" || got.Cluster != "c" || !got.Held || !got.Alone {
		t.Errorf("identity is %+v, was %+v", got, first)
	}
}

func TestDirectoriesThatAreRefused(t *testing.T) {
	cases := []struct {
		name  string
		node  string
		setUp func(t *testing.T, path string)
		want  []string
	}{
		{"in use", "n1", func(t *testing.T, path string) { _, _ = openDir(t, path, "n1", false) },
			[]string{"is in use by process " + fmt.Sprint(os.Getpid()), lockFile}},
		{"another node's", "n2", closedDir, []string{`belongs to node "n1"`, `not to "n2"`}},
		{"left", "n1", func(t *testing.T, path string) {
			d, _ := OpenDir(path, "n1", false)
			if err := errors.Join(d.markLeft(), d.Close()); err != nil {
				t.Fatal(err)
			}
		}, []string{"has left its cluster", "cluster.rejoin"}},
		{"identity lost", "n1", func(t *testing.T, path string) {
			closedDir(t, path)
			if err := errors.Join(os.Remove(filepath.Join(path, identityFile)), os.WriteFile(filepath.Join(path, stableFile), []byte("x"), 0o600)); err != nil {
				t.Fatal(err)
			}
		}, []string{"but no node.json", "raft.db"}},
		{"identity damaged", "n1", func(t *testing.T, path string) {
			if err := os.WriteFile(filepath.Join(path, identityFile), []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, []string{identityFile}},
		{"a bracket behind the identity", "n1", func(t *testing.T, path string) {
			if err := os.WriteFile(filepath.Join(path, identityFile), []byte(`{"version":1,"name":"n1","uuid":"u"}]`), 0o600); err != nil {
				t.Fatal(err)
			}
		}, []string{identityFile, "something follows"}},
		{"newer version", "n1", func(t *testing.T, path string) {
			if err := os.WriteFile(filepath.Join(path, identityFile), []byte(`{"version":9}`), 0o600); err != nil {
				t.Fatal(err)
			}
		}, []string{"version 9"}},
		{"bad name", "a/b", func(*testing.T, string) {}, []string{`node name "a/b"`}},
		{"name with a newline", "a\nb", func(*testing.T, string) {}, []string{"node name"}},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			path := t.TempDir()
			test.setUp(t, path)
			_, err := openDir(t, path, test.node, false)
			if err == nil {
				t.Fatal("opened")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q lacks %q", err, want)
				}
			}
		})
	}
}

// I2: no damage to the file turns a node that has acknowledged entries into one that has not, nor into another node.
func TestIdentityDamageIsNoticed(t *testing.T) {
	path := t.TempDir()
	d, err := OpenDir(path, "n1", false)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.promise("c", true), d.markHeld("c"), d.markVoter(), d.Close()); err != nil {
		t.Fatal(err)
	}
	want := d.Identity()
	file := filepath.Join(path, identityFile)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	for at := range whole {
		for bit := range 8 {
			flipped := bytes.Clone(whole)
			flipped[at] ^= 1 << bit
			got, err := decodeIdentity(flipped)
			if err == nil && !reflect.DeepEqual(got, want) {
				t.Errorf("bit %d of byte %d: %+v", bit, at, got)
			}
			if err != nil {
				refused++
			}
		}
		if got, err := decodeIdentity(whole[:at]); err == nil && !reflect.DeepEqual(got, want) {
			t.Errorf("cut at %d: %+v", at, got)
		}
	}
	if refused < 4*len(whole) {
		t.Errorf("only %d of %d flips were refused", refused, 8*len(whole))
	}
	if err := os.WriteFile(file, whole[:len(whole)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openDir(t, path, "n1", false); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), file) {
		t.Errorf("error %v", err)
	}
}

// A file of before the checksum is read as it is.
func TestIdentityWithoutChecksum(t *testing.T) {
	path := t.TempDir()
	text := `{"version": 1, "name": "n1", "uuid": "0b7a", "cluster_uuid": "c", "held_entries": true}`
	if err := os.WriteFile(filepath.Join(path, identityFile), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := openDir(t, path, "n1", false)
	if err != nil || !d.Identity().Held {
		t.Errorf("%+v, %v", d, err)
	}
}

func closedDir(t *testing.T, path string) {
	t.Helper()
	d, err := OpenDir(path, "n1", false)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestRejoinGivesANewIdentity(t *testing.T) {
	path := t.TempDir()
	d, err := OpenDir(path, "n1", false)
	if err != nil {
		t.Fatal(err)
	}
	old := d.Identity()
	if err := errors.Join(d.promise("c", false), d.markHeld("c"), d.markLeft(), d.Close()); err != nil {
		t.Fatal(err)
	}
	d, err = openDir(t, path, "n1", true)
	if err != nil {
		t.Fatal(err)
	}
	if got := d.Identity(); got.UUID == old.UUID || got.Held || got.Left || got.Cluster != "" || got.Name != "n1" {
		t.Errorf("identity is %+v", got)
	}
}

// I2: the mark comes with the cluster it was made for, and the promise ends with it.
func TestBinding(t *testing.T) {
	d, err := openDir(t, t.TempDir(), "n1", false)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.promise("a", false), d.promise("b", false)); err != nil {
		t.Errorf("a promise without an entry is not final: %v", err)
	}
	if err := d.markHeld("a"); !errors.Is(err, errMoved) {
		t.Errorf("an entry of the cluster that was left: %v", err)
	}
	if err := d.markHeld("b"); err != nil {
		t.Error(err)
	}
	if err := d.promise("c", false); err == nil || d.Identity().Cluster != "b" {
		t.Errorf("bound to %s: %v", d.Identity().Cluster, err)
	}
}

func TestLostLogIsNoticed(t *testing.T) {
	room := newRoom(t)
	one := room.box("n1").start()
	room.whole(one)
	room.fill("a", 5, 5, one)
	one.stop()
	kept := one.log
	one.log = newMemoryLog()
	one.start()
	err := one.result()
	if err == nil || !strings.Contains(err.Error(), "its log is empty") {
		t.Errorf("Run returned %v", err)
	}
	one.gone()
	one.log = kept
	if err := os.Remove(filepath.Join(one.path, ballotFile)); err != nil {
		t.Fatal(err)
	}
	one.start()
	err = one.result()
	if err == nil || !strings.Contains(err.Error(), "could vote twice") {
		t.Errorf("Run returned %v", err)
	}
}

// What changes the identity is written into blocks that were taken before, so that it needs none of a full disk.
func TestIdentityHasRoomForItsNextChange(t *testing.T) {
	path := t.TempDir()
	d, err := openDir(t, path, "n1", false)
	if err != nil {
		t.Fatal(err)
	}
	stat := func(name string) (s unix.Stat_t) {
		t.Helper()
		if err := unix.Stat(filepath.Join(path, name), &s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	for _, change := range []func() error{func() error { return d.promise("c", true) }, func() error { return d.markHeld("c") }, d.markVoter, d.markAccompanied, d.markLeft} {
		kept := stat(identityFile + temporary)
		if kept.Blocks*512 < identityBytesMax {
			t.Fatalf("%d blocks are kept", kept.Blocks)
		}
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if now := stat(identityFile); now.Ino != kept.Ino || now.Size > identityBytesMax {
			t.Errorf("%+v was written, %+v was kept for it", now, kept)
		}
	}
	want := d.Identity()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if d, err = openDir(t, path, "", true); err != nil {
		t.Fatal(err)
	}
	if got := d.Identity(); got.Name != want.Name || got.UUID == want.UUID {
		t.Errorf("%+v after %+v and a rejoin", got, want)
	}
}

// The name of who holds the lock replaces a longer one whole.
func TestLockNamesItsHolder(t *testing.T) {
	path := t.TempDir()
	file := filepath.Join(path, lockFile)
	if err := os.WriteFile(file, []byte(strings.Repeat("x", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openDir(t, path, "n1", false); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if want := fmt.Sprintf("process %d\n", os.Getpid()); err != nil || string(text) != want {
		t.Errorf("the lock says %q, %v", text, err)
	}
}
