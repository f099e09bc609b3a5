package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/highlander-io/highlander/cmd/server"
	"github.com/highlander-io/highlander/test/leaks"
)

var update = flag.Bool("update", false, "write the golden files anew")

// asProgram makes the test binary behave as the program, for tests of the process itself.
const asProgram = "HIGHLANDER_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	leaks.Main(m)
}

// testNow is when all tests take place.
var testNow = time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)

// testProgram has an environment of its own, no signals, and no node to open.
type testProgram struct {
	*program
	out, errOut bytes.Buffer
	env         map[string]string
}

func newTestProgram() *testProgram {
	t := &testProgram{env: map[string]string{}}
	t.program = &program{
		out:     &t.out,
		errOut:  &t.errOut,
		now:     func() time.Time { return testNow },
		getenv:  func(name string) string { return t.env[name] },
		signals: func() (<-chan os.Signal, func()) { return nil, func() {} },
		exit:    func(int) { panic("BUG: exit in a test that does not expect it") },
		open: func(context.Context, server.Options) (node, error) {
			return nil, errors.New("no node in this test")
		},
		recover: func(context.Context, server.Options) error { return errors.New("no recovery in this test") },
	}
	return t
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
}

// L1 and L2.
func TestUsageErrors(t *testing.T) {
	tests := []struct{ line, want string }{
		{"", `a command is missing: one of run, status, cluster,`},
		{"statsu", `unknown command "statsu"; did you mean status?`},
		{"frobnicate", `unknown command "frobnicate"`},
		{"source", `a command is missing: one of list, promote, pin, unpin, weight, forget, history`},
		{"source lst", `unknown command "lst" of "source"; did you mean list?`},
		{"--output json source lst", `unknown command "lst" of "source"`},
		{"status now", `surplus argument "now"`},
		{"source list prod", `surplus argument "prod"`},
		{"source promote", `argument GROUP is missing`},
		{"source promote prod", `argument SOURCE is missing`},
		{"source promote prod a b", `surplus argument "b"`},
		{"source promote prod --output json", `argument SOURCE is missing`},
		{"source weight prod a", `argument N is missing`},
		{"source weight prod a heavy", `N: expected a whole number of 0 or more, got "heavy"`},
		{"source weight prod a -- -1", `N: expected a whole number of 0 or more, got "-1"`},
		{"source weight prod a -1", `unknown flag --1`},
		{"cluster join", `argument ADDR is missing`},
		{"cluster remove", `argument NAME|UUID is missing`},
		{"cluster transfer-leadership a b", `surplus argument "b"`},
		{"status --outptu json", `unknown flag --outptu; did you mean --output?`},
		{"status -force", `flag --force is not one of "status"`},
		{"status --output", `flag --output needs a value`},
		{"status --output xml", `--output: expected table or json, got "xml"`},
		{"destination skip lts --to soon", `--to: expected a whole number of 0 or more, got "soon"`},
		{"run now", `surplus argument "now"`},
		{"run --storage.max-byte 1GiB", `unknown flag --storage.max-byte; did you mean --storage.max-bytes?`},
		{"run --storage.max-bytes much", `--storage.max-bytes: storage.max_bytes: expected a size such as`},
		{"run --sources.max-lag late", `--sources.max-lag: sources.max_lag: expected a duration such as`},
		{"run --web.enable-lifecycle=maybe", `--web.enable-lifecycle: expected true or false, got "maybe"`},
		{"run --storage.when-full panic", `--storage.when-full: storage.when_full: expected reject or drop_oldest, got "panic"`},
		{"run --remote-write.url lts", `--remote-write.url: remote_write[0].url: expected a URL such as`},
		{"run --log.level loud", `--log.level: expected debug, info, warn or error, got "loud"`},
		{"run --log.format xml", `--log.format: expected logfmt or json, got "xml"`},
		{"config check", `argument FILE is missing`},
		{"config default x", `surplus argument "x"`},
		{"wal dump --from x", `--from: expected a whole number of 0 or more, got "x"`},
		{"tls node ../n1", `NAME: expected the name of a node, got "../n1"`},
		{"tls ca --days 0", `--days: expected 1 to 36500, got 0`},
	}
	for _, tt := range tests {
		t.Run(tt.line, func(t *testing.T) {
			p := newTestProgram()
			if status := p.run(strings.Fields(tt.line)); status != exitUsage {
				t.Errorf("status %d, want %d", status, exitUsage)
			}
			if !strings.Contains(p.errOut.String(), tt.want) {
				t.Errorf("got %q, want %q in it", p.errOut.String(), tt.want)
			}
			if !strings.Contains(p.errOut.String(), "--help\".\n") {
				t.Errorf("%q does not point to the help", p.errOut.String())
			}
			if p.out.Len() > 0 {
				t.Errorf("standard output: %q", p.out.String())
			}
		})
	}
}

func TestUsageErrorOfEnvironment(t *testing.T) {
	p := newTestProgram()
	p.env["HIGHLANDER_STORAGE_MAX_BYTES"] = "much"
	if status := p.run([]string{"run"}); status != exitUsage || !strings.Contains(p.errOut.String(), "HIGHLANDER_STORAGE_MAX_BYTES: storage.max_bytes: expected a size") {
		t.Errorf("status %d, %s", status, p.errOut.String())
	}
}

func TestHelp(t *testing.T) {
	golden(t, "help.golden", helpOf(t, "--help"))
	golden(t, "help_run.golden", helpOf(t, "run --help"))
	golden(t, "help_source_promote.golden", helpOf(t, "source promote -h"))
	for _, same := range [][2]string{
		{"--help", "help"}, {"--help", "-h"}, {"source --help", "help source"}, {"source pin --help", "help source pin"},
		{"source pin --help", "source help pin"}, {"source pin --help", "--help source pin"}, {"source pin -h", "source pin a b c --help"},
	} {
		if a, b := helpOf(t, same[0]), helpOf(t, same[1]); a != b {
			t.Errorf("%q and %q differ", same[0], same[1])
		}
	}
}

func helpOf(t *testing.T, line string) string {
	t.Helper()
	p := newTestProgram()
	if status := p.run(strings.Fields(line)); status != exitDone || p.errOut.Len() > 0 {
		t.Errorf("%q: status %d, %s", line, status, p.errOut.String())
	}
	return p.out.String()
}

// leaves are all commands that do something, by their paths.
func leaves(commands []*cli.Command, prefix string, visit func(path string, c *cli.Command)) {
	for _, c := range commands {
		path := strings.TrimSpace(prefix + " " + c.Name)
		if len(c.Subcommands) > 0 {
			leaves(c.Subcommands, path, visit)
		} else {
			visit(path, c)
		}
	}
}

// The documented commands, each with its arguments.
func TestCommandsAreTheContract(t *testing.T) {
	var got []string
	leaves(newTestProgram().app().Commands, "", func(path string, c *cli.Command) {
		got = append(got, strings.TrimSpace(path+" "+c.ArgsUsage))
	})
	want := `run
status
cluster status
cluster join ADDR
cluster leave
cluster remove NAME|UUID
cluster transfer-leadership [NAME]
cluster recover
source list
source promote GROUP SOURCE
source pin GROUP SOURCE
source unpin GROUP
source weight GROUP SOURCE N
source forget GROUP SOURCE
source history GROUP
destination list
destination pause NAME
destination resume NAME
destination skip NAME
destination forget NAME
dead-letter list
dead-letter show ID
dead-letter replay ID
dead-letter purge
wal info
wal verify
wal dump
config check FILE
config default
tls ca
tls node NAME
version`
	if strings.Join(got, "\n") != want {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
}

// Every command explains itself, has an action, and its flags mean the same everywhere: a flag is read before
// the command is known, so one name must not be a switch here and take a value there.
func TestCommandsAreComplete(t *testing.T) {
	switches := map[string]bool{}
	leaves(newTestProgram().app().Commands, "", func(path string, c *cli.Command) {
		if c.Usage == "" || c.Action == nil {
			t.Errorf("%s: no usage or no action", path)
		}
		for name, f := range flagsOf(c) {
			_, isSwitch := f.(*cli.BoolFlag)
			if before, seen := switches[name]; seen && before != isSwitch {
				t.Errorf("--%s is a switch at one command only", name)
			}
			switches[name] = isSwitch
			usage := f.(cli.DocGenerationFlag).GetUsage()
			if usage == "" || isSwitch == strings.Contains(usage, "`") {
				t.Errorf("%s --%s: usage %q", path, name, usage)
			}
		}
	})
}

func TestArity(t *testing.T) {
	for usage, want := range map[string][2]int{"": {0, 0}, "A": {1, 0}, "A B": {2, 0}, "[A]": {0, 1}, "A [B]": {1, 1}} {
		required, optional := arity(usage)
		if len(required) != want[0] || optional != want[1] {
			t.Errorf("%q: %d and %d, want %v", usage, len(required), optional, want)
		}
	}
}
