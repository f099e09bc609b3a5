package cluster

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
)

func writeSnapshot(t *testing.T, files *snapshotFiles, index uint64, state string) raft.SnapshotMeta {
	t.Helper()
	w, err := files.create(raft.SnapshotMeta{
		Version: 1, Index: index, Term: 3, ConfigurationIndex: 2,
		Configuration: raft.Configuration{Servers: []raft.Server{{ID: "n1/u", Address: "u.c@h:1"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, state); err != nil {
		t.Fatal(err)
	}
	if err := w.commit(); err != nil {
		t.Fatal(err)
	}
	return w.meta
}

func TestSnapshotsSurviveAReopen(t *testing.T) {
	dir := t.TempDir()
	files, err := openSnapshots(dir)
	if err != nil {
		t.Fatal(err)
	}
	state := strings.Repeat("state ", 10000)
	written := writeSnapshot(t, files, 12, state)
	again := writeSnapshot(t, files, 12, state)
	if written.ID == again.ID {
		t.Error("two snapshots share a name")
	}
	if err := os.WriteFile(filepath.Join(dir, "half"+snapshotTmp), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	reopened, err := openSnapshots(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := indicesOf(reopened.list()); len(got) != 2 {
		t.Fatalf("reopened: %v", got)
	}
	meta, r, err := reopened.open(written.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err != nil || string(got) != state || meta.Size != int64(len(state)) || meta.Term != 3 || len(meta.Configuration.Servers) != 1 {
		t.Errorf("%d bytes, meta %+v, %v", len(got), meta, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*"+snapshotTmp)); len(left) > 0 {
		t.Errorf("leftovers: %v", left)
	}
}

// Every byte of a snapshot is covered: any flipped one is noticed when it is opened.
func TestSnapshotDamageIsNoticed(t *testing.T) {
	dir := t.TempDir()
	files, err := openSnapshots(dir)
	if err != nil {
		t.Fatal(err)
	}
	meta := writeSnapshot(t, files, 12, "the state of the machine")
	path := files.path(meta.ID)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	try := func(damaged []byte) error {
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		_, r, err := files.open(meta.ID)
		if err == nil {
			r.Close()
		}
		return err
	}
	for i := range whole {
		damaged := bytes.Clone(whole)
		damaged[i] ^= 0x10
		if try(damaged) == nil {
			t.Errorf("byte %d of %d: not noticed", i, len(whole))
		}
		found, err := openSnapshots(dir)
		if err != nil || len(found.list()) != 0 || len(found.bad) != 1 || found.bad[0].Index != meta.Index || found.bad[0].Term != meta.Term {
			t.Errorf("byte %d of %d: %v, bad %+v", i, len(whole), err, found.bad)
		}
		if try(whole[:i]) == nil {
			t.Errorf("cut at %d of %d: not noticed", i, len(whole))
		}
	}
	if err := try(whole); err != nil {
		t.Error(err)
	}
}

// A snapshot goes by the name in it: under another one it would be the other file that is sent, or removed.
func TestSnapshotUnderAnotherName(t *testing.T) {
	dir := t.TempDir()
	files, err := openSnapshots(dir)
	if err != nil {
		t.Fatal(err)
	}
	meta := writeSnapshot(t, files, 12, "x")
	if err := os.Rename(files.path(meta.ID), files.path("00000000000000000013-3-0")); err != nil {
		t.Fatal(err)
	}
	if _, err := openSnapshots(dir); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), meta.ID) {
		t.Errorf("error %v", err)
	}
}

func TestUnknownSnapshotVersionStopsTheNode(t *testing.T) {
	dir := t.TempDir()
	files, err := openSnapshots(dir)
	if err != nil {
		t.Fatal(err)
	}
	path := files.path(writeSnapshot(t, files, 12, "x").ID)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(snapshotMagic)] = 9
	binary.BigEndian.PutUint32(data[len(data)-4:], crc32.Checksum(data[:len(data)-4], castagnoli))
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openSnapshots(dir); err == nil || !strings.Contains(err.Error(), "version 9") {
		t.Errorf("error %v", err)
	}
}
