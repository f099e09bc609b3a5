package server

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/highlander-io/highlander/config"
)

// Who recovers the last node left is not told that others have its data.
func TestRecoverOfADamagedDirectory(t *testing.T) {
	c := config.Config{}
	c.Storage.Path = t.TempDir()
	c.Cluster.Join = []string{"10.0.0.1:6746", "10.0.0.2:6746"}
	if err := os.WriteFile(filepath.Join(c.Storage.Path, "node.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := Recover(c, slog.New(slog.DiscardHandler))
	if err == nil || strings.Contains(err.Error(), "from the other members") || !strings.Contains(err.Error(), "nobody else has") {
		t.Errorf("error %v", err)
	}
}

// A directory that was mistyped is left as it is.
func TestRecoverOfNothing(t *testing.T) {
	dir := t.TempDir()
	c := config.Default()
	for _, c.Storage.Path = range []string{dir, filepath.Join(dir, "none")} {
		if err := Recover(c, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "no node's data in "+c.Storage.Path) {
			t.Errorf("error %v", err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, error %v", left, err)
	}
}
