package egress

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/highlander-io/highlander/fsm"
	"github.com/highlander-io/highlander/fsm/wire"
)

// TestRandomTrouble drains through an endpoint and a Raft that fail at random, with changes of leader, and checks in
// the end that every sample is stored or in a dead letter (E1, E2), in order (E3), and that the books say so.
func TestRandomTrouble(t *testing.T) {
	rounds := 4
	if testing.Short() {
		rounds = 2
	}
	for seed := range rounds {
		for _, lanes := range []int{1, 3} {
			t.Run(fmt.Sprintf("seed %d, lanes %d", seed, lanes), func(t *testing.T) { trouble(t, uint64(seed), lanes) })
		}
	}
}

func trouble(t *testing.T, seed uint64, lanes int) {
	r, own := rand.New(rand.NewPCG(seed, 1)), rand.New(rand.NewPCG(seed, 2)) // the LTS's and the test's
	c := newCluster(t)
	l := newLTS(t, nil)
	calm := false
	rollsBack := seed%2 == 0
	verdict := func(w *write) answer {
		for _, p := range w.samples {
			if p.series == "bad_00001" && p.t%3 == 0 {
				return answer{status: 400, body: "label value too long"}
			}
		}
		if rollsBack {
			return l.prometheus(w)
		}
		return ok
	}
	l.program(func(w *write) answer { // called with the LTS's lock
		n := 100
		if !calm {
			n = r.IntN(24)
		}
		switch n {
		case 0:
			return answer{status: 503}
		case 1: // stored, if it would be, and the answer is lost
			return answer{status: 504, store: verdict(w).status == ok.status}
		case 2:
			return answer{status: 429}
		case 3:
			return answer{cut: true, store: verdict(w).status == ok.status}
		case 4:
			return answer{cut: true}
		case 5:
			return answer{status: 401}
		case 6:
			if len(w.samples) > 20 {
				return answer{status: 413}
			}
		}
		return verdict(w)
	})
	c.register("lts", l.URL+"/api/v1/write")
	d := to("lts", l)
	d.Queue.MaxShards, d.Queue.MaxSamplesPerSend = lanes, 50+own.IntN(500)
	list := append(names("m", 15), names("bad", 2)...)
	var at int64
	for range 6 {
		uncertain := rand.New(rand.NewPCG(seed, 7))
		hook := func(kind fsm.Kind) (bool, error) {
			if kind != fsm.KindCursor {
				return true, nil
			}
			switch uncertain.IntN(4) {
			case 0:
				return false, errors.New("not committed")
			case 1:
				return true, errors.New("nobody knows")
			}
			return true, nil
		}
		c.propose.Store(&hook)
		stop := c.lead(c.egress(d))
		for range 15 {
			at++
			c.batch("", at, list...)
			c.barrier()
		}
		before := c.destination("lts").Cursor
		n := l.requests()
		eventually(t, "some progress", func() bool { return c.destination("lts").Cursor > before || l.requests() > n+40 })
		c.deposed.Store(own.IntN(2) == 0) // a leader that fell, or one that is asked to stop
		stop()
		c.deposed.Store(false)
		c.propose.Store(nil)
		if d := c.destination("lts"); !d.Balanced() {
			t.Fatalf("books: %+v", d)
		}
	}
	l.mu.Lock()
	calm = true
	l.mu.Unlock()
	c.lead(c.egress(d))
	c.batch("", at+1, "end")
	got := c.drained(t, "lts")
	l.accounted(t, c, got)
}

// accounted checks that the LTS and the dead letters together hold everything that was accepted.
func (l *lts) accounted(t *testing.T, c *cluster, d fsm.Destination) {
	t.Helper()
	dead := map[point]bool{}
	for _, info := range c.state.DeadLetters() {
		letter, _ := c.state.DeadLetter(info.ID)
		w, err := parse(map[string][]string{"Content-Encoding": {"snappy"}, "Content-Type": {contentTypeV1}, headerVersion: {"0.1.0"}}, letter.Body)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range w.samples {
			dead[p] = true
		}
	}
	if d.Delivered+d.DeadLetter != d.Accepted || len(d.Dropped) != 0 {
		t.Errorf("books: %+v", d)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.disorder != 0 {
		t.Errorf("%d samples stored after newer ones of their series", l.disorder)
	}
	lost, falsely := 0, 0
	for _, p := range c.accepted() {
		switch {
		case !l.stored[p] && !dead[p]:
			lost++
			if testing.Verbose() {
				t.Logf("lost: %v, newest stored %d", p, l.last[p.series])
			}
		case l.stored[p] && dead[p]:
			falsely++
		}
	}
	if lost > 0 || falsely > 0 {
		t.Errorf("%d samples are neither stored nor dead letters, %d are both", lost, falsely)
	}
}

// accepted lists every sample in the log.
func (c *cluster) accepted() []point {
	var list []point
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.entries {
		if kind, err := fsm.PeekKind(c.entries[i].Data); err != nil || kind != fsm.KindBatch {
			continue
		}
		b, err := fsm.DecodeBatch(c.entries[i].Data)
		if err != nil || b.Protocol != wire.V1 {
			continue
		}
		w, err := parse(map[string][]string{"Content-Encoding": {"snappy"}, "Content-Type": {contentTypeV1}, headerVersion: {"0.1.0"}}, b.Body)
		if err != nil {
			continue
		}
		list = append(list, w.samples...)
	}
	return list
}
