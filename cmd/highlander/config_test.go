package main

import (
	"path/filepath"
	"testing"

	"github.com/highlander-io/highlander/config"
)

func TestConfigCommands(t *testing.T) {
	dir := t.TempDir()
	p := newTestProgram()
	if status := p.run([]string{"config", "default"}); status != exitDone || p.out.String() != config.DefaultFile() {
		t.Errorf("config default: status %d", status)
	}
	fine := write(t, filepath.Join(dir, "fine.yml"), p.out.String())
	warned := write(t, filepath.Join(dir, "warned.yml"), "remote_write: [{name: a, url: http://x, sigv4: {}}]\n")
	unknown := write(t, filepath.Join(dir, "unknown.yml"), "node:\n  nam: x\n")
	invalid := write(t, filepath.Join(dir, "invalid.yml"), "\nstorage: {when_full: x}\nsources: {unidentified: y}\n")
	none := filepath.Join(dir, "none.yml")
	for _, tt := range []struct {
		file, out, errOut string
		status            int
	}{
		{fine, fine + ": ok\n", "", exitDone},
		{warned, warned + ": ok\n", "warning: " + warned + ":1: keys that have no effect in highlander are ignored: remote_write[0].sigv4 (line 1)\n", exitDone},
		{unknown, "", "highlander: " + unknown + ":2: unknown key \"node.nam\"; valid are id\n", exitFailed},
		{invalid, "", "highlander: " + invalid + ":2: storage.when_full: expected reject or drop_oldest, got \"x\"\n" +
			"highlander: " + invalid + ":3: sources.unidentified: expected elect or pass or reject, got \"y\"\n", exitFailed},
		{none, "", "highlander: configuration file: open " + none + ": no such file or directory\n", exitFailed},
	} {
		p := newTestProgram()
		if status := p.run([]string{"config", "check", tt.file}); status != tt.status || p.out.String() != tt.out || p.errOut.String() != tt.errOut {
			t.Errorf("%s: status %d, %q, %q", tt.file, status, p.out.String(), p.errOut.String())
		}
	}
}
