package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// asProcess runs the program as a process of its own.
func asProcess(t *testing.T, line string) (status int, out, errOut string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(self, strings.Fields(line)...)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), asProgram+"=1")
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()
}

// L1, as a shell sees it.
func TestExitStatus(t *testing.T) {
	for _, tt := range []struct {
		line        string
		want        int
		out, errOut string
	}{
		{"version", 0, "highlander ", ""},
		{"--help", 0, "Usage:", ""},
		{"status", 1, "", "no node seems to run here"},
		{"config check none.yml", 1, "", "no such file"},
		{"nonsense", 2, "", "unknown command"},
		{"status --nonsense", 2, "", "unknown flag"},
		{"status surplus", 2, "", "surplus argument"},
		{"source pin", 2, "", "is missing"},
	} {
		status, out, errOut := asProcess(t, tt.line)
		if status != tt.want || !strings.Contains(out, tt.out) || !strings.Contains(errOut, tt.errOut) {
			t.Errorf("%q: status %d, %q, %q", tt.line, status, out, errOut)
		}
		if tt.out == "" && out != "" || tt.errOut == "" && errOut != "" {
			t.Errorf("%q: something on the wrong stream: %q, %q", tt.line, out, errOut)
		}
	}
}

// The shortest way to a working node: an empty directory and a URL. The process answers its own commands, and a
// SIGTERM ends it with status 0.
func TestStandaloneProcess(t *testing.T) {
	dir, err := os.MkdirTemp("", "hl") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var log lockedBuffer
	cmd := exec.Command(self, "run", "--storage.path", dir, "--web.listen-address", "127.0.0.1:0", "--cluster.bind-address", "127.0.0.1:0",
		"--remote-write.url", "http://127.0.0.1:1/?a=1,2")
	cmd.Env = append(os.Environ(), asProgram+"=1")
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill() }()
	eventually(t, &log, func() bool {
		status, out, _ := asProcess(t, "destination list --storage.path "+dir)
		return status == 0 && strings.Contains(out, "remote-0")
	})
	if status, out, errOut := asProcess(t, "wal verify --storage.path "+dir); status != 0 {
		t.Errorf("wal verify on a live node: status %d, %s%s", status, out, errOut)
	}
	if status, _, errOut := asProcess(t, "destination pause lts --storage.path "+dir); status != 1 || !strings.Contains(errOut, "remote-0") {
		t.Errorf("a wrong name: status %d, %s", status, errOut)
	}
	if status, _, errOut := asProcess(t, "run --storage.path "+dir+" --remote-write.url http://127.0.0.1:1"); status != 1 {
		t.Errorf("a second node in the same directory: status %d, %s", status, errOut)
	}
	if status, _, errOut := asProcess(t, "cluster recover --storage.path "+dir); status != 1 {
		t.Errorf("recover under a running node: status %d, %s", status, errOut)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-exited:
		if err != nil {
			t.Errorf("after SIGTERM: %v\n%s", err, log.String())
		}
	case <-time.After(time.Minute):
		t.Fatalf("still running after SIGTERM\n%s", log.String())
	}
	if status, out, errOut := asProcess(t, "cluster recover --storage.path "+dir); status != 0 || !strings.Contains(out, "as a cluster of one") {
		t.Errorf("recover: status %d, %s%s", status, out, errOut)
	}
	if status, out, errOut := asProcess(t, "wal verify --storage.path "+dir); status != 0 {
		t.Errorf("wal verify after recover: status %d, %s%s", status, out, errOut)
	}
}

// eventually polls for something that another process does.
func eventually(t *testing.T, log *lockedBuffer, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it did not happen\n%s", log.String())
		}
	}
}

// lockedBuffer is written by one goroutine and read by another.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
