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
