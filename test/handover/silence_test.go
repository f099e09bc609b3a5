package handover

import (
	"syscall"
	"testing"
)

// kinds are the rigs in which the commonest faults are tried.
var kinds = []struct {
	name string
	rigOptions
}{
	{"one node, by labels", rigOptions{nodes: 1}},
	{"three nodes, by URL", rigOptions{nodes: 3, byURL: true}},
}

// The current server ends without a word, the next one with one: each time the other one takes over where the first one
// stopped. The fence of the first change is still open at the second.
func TestSourceEnds(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			r := startRig(t, kind.rigOptions)
			a, b := r.pair(serverOptions{})

			r.act("kill -9", 1)
			a.process.Kill()
			r.restart(a)
			r.takeover(b)
			r.join(a)

			r.act("graceful stop, a→b→a", 1)
			b.stop()
			r.takeover(a)
			r.finish(a)
		})
	}
}

// The current server stops for 20 s and goes on: it comes back as a standby.
func TestSourceFreezes(t *testing.T) {
	r := startRig(t, kinds[1].rigOptions)
	a, b := r.pair(serverOptions{})

	r.act("SIGSTOP for 20 s", 1)
	_ = a.process.Signal(syscall.SIGSTOP)
	until := r.target.scrapes(b.number) + 21
	r.takeover(b)
	r.scraped(b, until)
	_ = a.process.Signal(syscall.SIGCONT)
	r.join(a)
	r.current("b")
	r.finish(b)
}
