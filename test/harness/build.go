package harness

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
)

// Root is the directory of the repository.
func Root() string {
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		panic("BUG: no caller")
	}
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

var build = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("HIGHLANDER_BINARY"); path != "" {
		return filepath.Abs(path)
	}
	return compile("highlander")
})

var buildSeams = sync.OnceValues(func() (string, error) { return compile("highlander-seams", "-tags", "seams") })

func compile(name string, flags ...string) (string, error) {
	dir, err := os.MkdirTemp("", "highlander-build-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, name)
	cmd := exec.Command("go", append(append([]string{"build", "-o", path}, flags...), "./cmd/highlander")...)
	cmd.Dir = Root()
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", errors.Join(fmt.Errorf("build %s: %w\n%s", name, err, out), os.RemoveAll(dir))
	}
	built = append(built, dir)
	return path, nil
}

var built []string // directories made by compile, removed by Main

// Binary returns the path of the highlander binary; it is built once per test process, or taken from
// HIGHLANDER_BINARY.
func Binary(t testing.TB) string {
	t.Helper()
	return must(t, build)
}

// SeamsBinary returns the path of a binary that is built for tests: cmd/server/seams.go says what its environment can
// change in it.
func SeamsBinary(t testing.TB) string {
	t.Helper()
	return must(t, buildSeams)
}

func must(t testing.TB, build func() (string, error)) string {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Main runs the tests of a package that uses Binary and removes what was built.
func Main(m *testing.M) int {
	code := m.Run()
	for _, dir := range built {
		_ = os.RemoveAll(dir)
	}
	return code
}

// Debian returns the path of a program of a Debian package. A missing one fails the test: `make deps` installs
// what is needed, and a scenario that is passed over in silence would prove nothing.
func Debian(t testing.TB, program, pkg string) string {
	t.Helper()
	for _, dir := range []string{"", "/usr/sbin/", "/usr/local/bin/"} {
		if path, err := exec.LookPath(dir + program); err == nil {
			return path
		}
	}
	t.Fatalf("%s is not installed: run `make deps` as root, or apt-get install %s", program, pkg)
	return ""
}
