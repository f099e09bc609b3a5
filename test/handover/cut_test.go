package handover

import "testing"

// The line to the current server's machine is taken away: its packets go nowhere, and nothing says that it is gone. It can
// neither scrape nor send, and what it sends when the line is back says that its target was down. None of that arrives.
func TestNetworkCut(t *testing.T) {
	ns := newNamespace(t)
	r := startRig(t, rigOptions{nodes: 3, ns: ns})
	_, b := r.pair(serverOptions{ns: ns})

	r.act("network cut", 1)
	ns.cut(t)
	r.turn(b)

	r.act("the line is back", 0)
	ns.join(t)
	r.until("standby a", func(g groupStatus) bool { return g.state("a") == "standby" })
	r.turn(b)
	r.finish(b)
}

// A server that cannot reach the nodes goes on scraping. It comes back as a standby and sends all of that from its
// write-ahead log, then the other one dies: what it sent is kept, and only what is newer than the other one's passes.
func TestReplay(t *testing.T) {
	r := startRig(t, rigOptions{nodes: 1, byURL: true})
	a, b := r.pair(serverOptions{})

	r.act("cut off, goes on scraping", 1)
	a.road.close()
	r.turn(b)
	before := r.covered()

	r.act("comes back and sends its WAL, then the other one dies", 1)
	r.join(a)
	b.process.Kill()
	r.turn(a)
	r.finish(a)
	if after := r.covered(); after <= before {
		t.Errorf("%d samples covered, %d before the replay: nothing of it was held back", after, before)
	}
}

// covered is how many samples of the group were held back so far.
func (r *rig) covered() uint64 {
	r.t.Helper()
	g, err := r.group()
	if err != nil {
		r.t.Fatal(err)
	}
	return g.Samples.Covered
}
