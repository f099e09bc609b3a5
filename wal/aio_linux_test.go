package wal

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAsynchronousSync(t *testing.T) {
	a := asynchronous()
	if a == nil {
		t.Skip("the kernel offers no asynchronous I/O here; files are synced the plain way")
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	for range 4 { // one takes the asynchronous way at a time, the others the plain one
		wait.Go(func() {
			for range 50 {
				if _, err := f.WriteAt([]byte("x"), 0); err != nil {
					t.Error(err)
				}
				if err := datasync(f); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := datasync(f); err == nil {
		t.Fatal("a closed file was synced")
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if err := datasync(w); !errors.Is(err, unix.EINVAL) {
		t.Fatalf("a pipe was synced: %v, want what fdatasync says of one, %v", err, unix.EINVAL)
	}
	// The flusher is as good as before.
	g, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.sync(g); err != nil {
		t.Fatal(err)
	}
}
