package handover

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/highlander-io/highlander/test/harness"
)

// namespace is a network namespace that one pair of virtual interfaces connects with this machine's.
type namespace struct {
	name            string
	link            string // this machine's end
	outside, inside string // addresses
}

// newNamespace makes one and removes it at the end of the test. Where the kernel does not permit it the test is skipped, and
// says so: no other way of cutting a server off takes its packets without an answer.
func newNamespace(t testing.TB) *namespace {
	t.Helper()
	id := os.Getpid() % 16000
	block, offset := id/64, id%64*4 // 198.18.0.0/15 is for tests of networks (RFC 2544)
	ns := &namespace{
		name: fmt.Sprintf("highlander-%d", os.Getpid()), link: fmt.Sprintf("hl%do", id),
		outside: fmt.Sprintf("198.19.%d.%d", block, offset+1), inside: fmt.Sprintf("198.19.%d.%d", block, offset+2),
	}
	if out, err := ns.ip("netns", "add", ns.name); err != nil {
		t.Skipf("SKIPPED, NOT TESTED: a network namespace is not permitted here: %v: %s", err, out)
	}
	t.Cleanup(func() { _, _ = ns.ip("netns", "del", ns.name) }) // takes the interfaces along
	peer := fmt.Sprintf("hl%di", id)
	for _, args := range [][]string{
		{"link", "add", ns.link, "type", "veth", "peer", "name", peer, "netns", ns.name},
		{"addr", "add", ns.outside + "/30", "dev", ns.link},
		{"link", "set", ns.link, "up"},
		{"-n", ns.name, "addr", "add", ns.inside + "/30", "dev", peer},
		{"-n", ns.name, "link", "set", peer, "up"},
		{"-n", ns.name, "link", "set", "lo", "up"},
	} {
		if out, err := ns.ip(args...); err != nil {
			t.Skipf("SKIPPED, NOT TESTED: ip %v is not permitted here: %v: %s", args, err, out)
		}
	}
	return ns
}

func (ns *namespace) ip(args ...string) (string, error) {
	out, err := exec.Command("ip", args...).CombinedOutput()
	return string(out), err
}

// exec is the command line that runs another one inside, under the same process id.
func (ns *namespace) exec(t testing.TB) []string {
	return []string{harness.Debian(t, "ip", "iproute2"), "netns", "exec", ns.name}
}

// cut and join take the line away and bring it back.
func (ns *namespace) cut(t testing.TB)  { ns.set(t, "down") }
func (ns *namespace) join(t testing.TB) { ns.set(t, "up") }

func (ns *namespace) set(t testing.TB, state string) {
	t.Helper()
	if out, err := ns.ip("link", "set", ns.link, state); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}
