package wal

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// Both ways to allocate make a file longer, keep what is in it, and never make it shorter.
func TestAllocate(t *testing.T) {
	const size = 3<<20 + 5
	for name, allocate := range map[string]func(*os.File, int64) error{"allocate": allocate, "fill": fill} {
		f, err := os.Create(filepath.Join(t.TempDir(), name))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString("kept"); err != nil {
			t.Fatal(err)
		}
		for _, ask := range []int64{size, 10} {
			if err := allocate(f, ask); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		got := make([]byte, size+1)
		n, err := f.ReadAt(got, 0)
		if n != size || err != io.EOF || !bytes.Equal(got[:4], []byte("kept")) || len(bytes.Trim(got[4:], "\x00")) != 0 {
			t.Errorf("%s: %d bytes, %v, begins with %q", name, n, err, got[:4])
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
