package handover

import (
	"fmt"
	"testing"
)

// The line to the current server's machine is taken away: its packets go nowhere, and nothing says that it is gone. It can
// neither scrape nor send, and what it sends when the line is back says that its target was down. None of that arrives.
func TestNetworkCut(t *testing.T) {
	ns := newNamespace(t)
	r := startRig(t, rigOptions{nodes: 3, ns: ns})
	a, b := r.pair(serverOptions{ns: ns})

	r.act("network cut", 1)
	ns.cut(t)
	r.takeover(b)

	r.act("the line is back", 0)
	ns.join(t)
	r.join(a)
	r.current("b")
	r.finish(b)
}

// A server that cannot reach the nodes goes on scraping. It comes back as a standby and sends all of that from its
// write-ahead log, then the other one dies: what it sent is kept, and only what is newer than the other one's passes.
func TestReplay(t *testing.T) {
	r := startRig(t, rigOptions{nodes: 1, byURL: true})
	a, b := r.pair(serverOptions{})

	r.act("cut off, goes on scraping", 1)
	a.road.close()
	r.takeover(b)
	var before uint64
	r.until("the books", func(g groupStatus) bool {
		before = g.Samples.Covered
		return true
	})

	r.act("comes back and sends its WAL, then the other one dies", 1)
	r.join(a)
	b.process.Kill()
	r.takeover(a)
	r.finish(a)
	r.until(fmt.Sprintf("more than %d samples covered: some of the replay is held back", before),
		func(g groupStatus) bool { return g.Samples.Covered > before })
}
