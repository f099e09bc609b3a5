package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
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
