package arch

import (
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/highlander-io/highlander/"

// allowed is the drawing: area → areas that it may import. Every package belongs to one area.
var allowed = map[string][]string{
	"cmd/highlander": {"cmd/server", "config", "wal", "fsm"},
	"cmd/server":     {"config", "cluster", "wal", "fsm", "ingest", "egress"},
	"ingest":         {"fsm"},
	"egress":         {"fsm"},
	"fsm":            {},
	"wal":            {},
	"cluster":        {},
	"config":         {},
	"test":           {"cmd/server", "fsm"},
}

// area is the part of the drawing to which a package belongs; empty for packages of others.
func area(pkg string) string {
	path, ours := strings.CutPrefix(pkg, module)
	if !ours {
		return ""
	}
	for name := range allowed {
		if path == name || strings.HasPrefix(path, name+"/") {
			return name
		}
	}
	return path
}

// violation says what is wrong with an import, "" if nothing is.
func violation(from, to string) string {
	a, b := area(from), area(to)
	if b == "" || a == b {
		return ""
	}
	targets, known := allowed[a]
	if !known {
		return from + " is not in the drawing"
	}
	if !slices.Contains(targets, b) {
		return from + " imports " + to
	}
	return ""
}

// leaks is for the tests of every package, and for nothing else.
const leaks = module + "test/leaks"

func TestImports(t *testing.T) {
	_, file, _, _ := runtime.Caller(0)
	cmd := exec.Command("go", "list", "-f",
		`{{$p := .ImportPath}}{{range .Imports}}{{$p}} {{.}}{{"\n"}}{{end}}{{range .TestImports}}{{$p}} {{.}} test{{"\n"}}{{end}}{{range .XTestImports}}{{$p}} {{.}} test{{"\n"}}{{end}}`,
		"./...")
	cmd.Dir = filepath.Dir(filepath.Dir(filepath.Dir(file)))
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		from, to, forTests := fields[0], fields[1], len(fields) > 2
		seen[area(from)] = true
		if v := violation(from, to); v != "" && !(forTests && to == leaks) {
			t.Error(v)
		}
	}
	for name := range allowed {
		if !seen[name] {
			t.Errorf("no package of %s was looked at", name)
		}
	}
}

func TestViolation(t *testing.T) {
	tests := []struct {
		from, to string
		bad      bool
	}{
		{"cmd/highlander", "cmd/server", false},
		{"cmd/highlander", "egress", true},
		{"cmd/server", "egress", false},
		{"cmd/server", "cmd/highlander", true},
		{"ingest", "fsm/wire", false},
		{"ingest", "egress", true},
		{"ingest", "wal", true},
		{"fsm", "fsm/wire", false},
		{"fsm/wire", "fsm", false},
		{"fsm", "wal", true},
		{"wal", "fsm", true},
		{"cluster", "wal", true},
		{"config", "fsm", true},
		{"test/system", "test/harness", false},
		{"test/system", "cluster", true},
		{"util", "fsm", true},
	}
	for _, tt := range tests {
		if got := violation(module+tt.from, module+tt.to); (got != "") != tt.bad {
			t.Errorf("%s → %s: %q, want a violation: %v", tt.from, tt.to, got, tt.bad)
		}
	}
	if violation(module+"fsm", "net/http") != "" {
		t.Error("packages of others are not part of the drawing")
	}
}
