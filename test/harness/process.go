package harness

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Process is one started program. Its output goes to a file, the end of which is shown when the test fails.
type Process struct {
	Name string
	cmd  *exec.Cmd
	log  string
	done chan struct{}
	err  error // of Wait; read after done
}

// Start starts a program and ends it, by its id, when the test is over.
func Start(t testing.TB, name string, path string, args ...string) *Process {
	t.Helper()
	return StartEnv(t, name, nil, path, args...)
}

// StartEnv is Start with additions to the environment.
func StartEnv(t testing.TB, name string, env []string, path string, args ...string) *Process {
	t.Helper()
	p := &Process{Name: name, log: filepath.Join(logDir(t), name+".log"), done: make(chan struct{})}
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	p.cmd = exec.Command(path, args...)
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	// A test binary that is killed takes its processes with it.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	onStarter()(func() { started <- p.cmd.Start() })
	if err := <-started; err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(p.Kill)
	return p
}

// onStarter runs a function on the one thread that starts processes. The kernel ends a child with its parent's thread, not with
// its parent, and threads of Go end: those of goroutines that were locked to them.
var onStarter = sync.OnceValue(func() func(func()) {
	work := make(chan func())
	go starter(work)
	return func(f func()) { work <- f }
})

func starter(work <-chan func()) {
	runtime.LockOSThread()
	for f := range work {
		f()
	}
}

var logDirs sync.Map // testing.TB → directory of its processes' output

func logDir(t testing.TB) string {
	if dir, ok := logDirs.Load(t); ok {
		return dir.(string)
	}
	dir := t.TempDir()
	logDirs.Store(t, dir)
	t.Cleanup(func() {
		logDirs.Delete(t)
		if t.Failed() {
			showLogs(t, dir)
		}
	})
	return dir
}

// logTailBytes is how much of each process's output a failed test shows.
const logTailBytes = 6000

func showLogs(t testing.TB, dir string) {
	files, _ := filepath.Glob(filepath.Join(dir, "*.log"))
	keep := os.Getenv("HIGHLANDER_TEST_LOGS")
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil || len(data) == 0 {
			continue
		}
		if keep != "" {
			_ = os.WriteFile(filepath.Join(keep, filepath.Base(file)), data, 0o644)
		}
		if len(data) > logTailBytes {
			data = data[len(data)-logTailBytes:]
			data = data[bytes.IndexByte(data, '\n')+1:]
		}
		t.Logf("--- end of %s ---\n%s", filepath.Base(file), data)
	}
}

// PID is the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Signal sends a signal to the process.
func (p *Process) Signal(sig syscall.Signal) error { return p.cmd.Process.Signal(sig) }

// Kill ends the process with SIGKILL, also a stopped one, and waits until it is gone.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Running says whether the process has not ended yet.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Exit waits for the process to end and returns its exit status; -1 if a signal ended it.
func (p *Process) Exit(patience time.Duration) (int, error) {
	select {
	case <-p.done:
	case <-time.After(patience):
		return 0, fmt.Errorf("%s still runs after %v", p.Name, patience)
	}
	var failed *exec.ExitError
	if p.err != nil && !errors.As(p.err, &failed) {
		return 0, p.err
	}
	return p.cmd.ProcessState.ExitCode(), nil
}

// Output is everything the process has written so far.
func (p *Process) Output() string {
	data, _ := os.ReadFile(p.log)
	return string(data)
}
