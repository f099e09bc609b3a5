package cluster

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// An emptied store of an earlier build is no store of a node that has held entries: bolt would make a new one of it.
func TestEmptiedStoreIsNotAdopted(t *testing.T) {
	room := newRoom(t)
	one := room.box("n1").start()
	room.whole(one)
	room.fill("a", 5, 5, one)
	one.stop()
	if err := errors.Join(os.Remove(filepath.Join(one.path, ballotFile)), os.WriteFile(filepath.Join(one.path, stableFile), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	one.start()
	if err := one.result(); !errors.Is(err, ErrDamaged) {
		t.Errorf("term and vote are lost: %v", err)
	}
}
