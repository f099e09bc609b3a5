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
	dir, err := os.MkdirTemp("", "highlander-build-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "highlander")
	cmd := exec.Command("go", "build", "-o", path, "./cmd/highlander")
	cmd.Dir = Root()
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", errors.Join(fmt.Errorf("build highlander: %w\n%s", err, out), os.RemoveAll(dir))
	}
	built = dir
	return path, nil
})

var built string // directory made by build, removed by Main

// Binary returns the path of the highlander binary; it is built once per test process, or taken from
// HIGHLANDER_BINARY.
func Binary(t testing.TB) string {
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
	if built != "" {
		_ = os.RemoveAll(built)
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
