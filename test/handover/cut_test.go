package handover

import (
	"fmt"
	"strings"
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

	r.act("comes back and sends its WAL, then the other one dies", 1)
	r.join(a)
	b.process.Kill()
	r.takeover(a)
	r.finish(a)
	held := r.replayed(a, b)
	r.until(fmt.Sprintf("%d samples of the replay held back", held), func(g groupStatus) bool {
		return held > 0 && g.History[len(g.History)-1].Fenced >= held
	})
}

// replayed is how many samples of counters a server has scraped during the turn of another one.
func (r *rig) replayed(s, current *server) (n uint64) {
	r.t.Helper()
	own := s.witness(r.t).series
	turns := map[string]*[2]int64{}
	for _, sample := range r.log.History().Received {
		if !strings.HasPrefix(sample.Series, counterPrefix) || scraper(sample.Value) != current.number {
			continue
		}
		turn := turns[sample.Series]
		if turn == nil {
			turn = &[2]int64{sample.Time, sample.Time}
			turns[sample.Series] = turn
		}
		turn[0], turn[1] = min(turn[0], sample.Time), max(turn[1], sample.Time)
	}
	for series, turn := range turns {
		for _, at := range own[series].times {
			if at >= turn[0] && at <= turn[1] {
				n++
			}
		}
	}
	return n
}
