//go:build linux

package faults

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/highlander-io/highlander/test/harness"
	"github.com/highlander-io/highlander/test/history"
)

// operators give orders about group g and look at it, on all nodes, while things break.
type operators struct {
	nodes  []*harness.Node
	calls  history.Calls
	weight uint64 // of the last order; no two set the same
	end    context.CancelFunc
	all    sync.WaitGroup
}

func (n *nemesis) operators() *operators {
	ctx, cancel := context.WithCancel(context.Background())
	o := &operators{nodes: n.cluster.Nodes, end: cancel}
	n.t.Cleanup(o.stop)
	for i, v := range n.cluster.Nodes {
		random := rand.New(rand.NewPCG(n.seed, uint64(i)))
		o.all.Go(func() {
			for pause(ctx, 50+random.IntN(200)) {
				o.look(v)
			}
		})
	}
	if n.kind.orders {
		random := rand.New(rand.NewPCG(n.seed, 0x0bde))
		o.all.Go(func() {
			for pause(ctx, 200+random.IntN(1200)) {
				o.order(random)
			}
		})
	}
	return o
}

func (o *operators) stop() {
	o.end()
	o.all.Wait()
}

func pause(ctx context.Context, milliseconds int) bool {
	timer := time.NewTimer(time.Duration(milliseconds) * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// look reads the status of a node.
func (o *operators) look(v *harness.Node) {
	asked := o.calls.Ask(v.ID, history.Read, "", 0)
	s, err := v.Status()
	if err != nil {
		return
	}
	g, _ := s.Group("g")
	view := history.View{
		Epoch: g.Epoch, Current: g.Current, Pinned: g.PinnedTo, Promoted: g.Promoted, Stale: s.Stale,
		Weights: map[string]uint64{},
	}
	for _, source := range g.Sources {
		view.Weights[source.Name] = source.Weight
	}
	var changes []history.Change
	for _, c := range g.History {
		changes = append(changes, history.Change{Epoch: c.Epoch, From: c.From, To: c.To, Reason: c.Reason})
	}
	asked.Saw(view, changes)
}

// order gives one order to one node. Orders come one after the other and not often: each one without a certain answer
// doubles what may have happened.
func (o *operators) order(random *rand.Rand) {
	v := o.nodes[random.IntN(len(o.nodes))]
	op := []history.Op{history.Promote, history.Promote, history.Pin, history.Unpin, history.Unpin, history.Weight, history.Forget}[random.IntN(7)]
	source := ""
	if op != history.Unpin {
		source = []string{"a", "b"}[random.IntN(2)]
	}
	o.weight++
	o.tell(v, op, source, o.weight)
}

// tell gives one order and records what came of it.
func (o *operators) tell(v *harness.Node, op history.Op, source string, weight uint64) {
	command := map[string]any{"op": op, "group": "g"}
	if source != "" {
		command["source"] = source
	}
	if op == history.Weight {
		command["weight"] = weight
	} else {
		weight = 0
	}
	asked := o.calls.Ask(v.ID, op, source, weight)
	asked.Answered(outcome(admin(v, "/v1/source", command)))
}

func outcome(status int, answer string, err error) history.Outcome {
	switch {
	case err != nil:
		return history.Uncertain
	case status == http.StatusOK:
		return history.Done
	case status == http.StatusConflict && strings.Contains(answer, "is pinned, unpin it first"):
		return history.Overruled
	case status >= 400 && status < 500:
		return history.Refused
	}
	return history.Uncertain
}
