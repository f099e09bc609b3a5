//go:build linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/highlander-io/highlander/test/harness"
	"github.com/highlander-io/highlander/test/history"
)

// faults are what the nemesis picks from, several at a time. What they broke, mend mends.
var faults = []struct {
	name string
	do   func(*nemesis, *harness.Node)
}{
	{"kill", (*nemesis).kill},
	{"stop", func(_ *nemesis, v *harness.Node) { v.Pause() }},
	{"isolate", func(n *nemesis, v *harness.Node) { n.wire.Split(v.ID) }},
	{"isolate with a", func(n *nemesis, v *harness.Node) { n.wire.Split(v.ID, "a") }},
	{"isolate with b and LTS", func(n *nemesis, v *harness.Node) { n.wire.Split(v.ID, "b", "lts") }},
	{"deaf", func(n *nemesis, v *harness.Node) {
		n.direct(n.wire.rest([]string{v.ID}), []string{v.ID}, Link{Cut: true})
	}},
	{"mute", func(n *nemesis, v *harness.Node) {
		n.direct([]string{v.ID}, n.wire.rest([]string{v.ID}), Link{Cut: true})
	}},
	{"one link", func(n *nemesis, v *harness.Node) { n.wire.Each([]string{v.ID}, []string{n.pick().ID}, Link{Cut: true}) }},
	{"loss", func(n *nemesis, v *harness.Node) { n.wire.Each([]string{v.ID}, n.wire.rest(nil), Link{Loss: 0.3}) }},
	{"delay", func(n *nemesis, v *harness.Node) {
		n.wire.Each([]string{v.ID}, n.wire.rest(nil), Link{Delay: 100 * time.Millisecond, Jitter: 200 * time.Millisecond})
	}},
	{"a away", func(n *nemesis, _ *harness.Node) { n.wire.Split("a") }},
	{"b away", func(n *nemesis, _ *harness.Node) { n.wire.Split("b") }},
	{"kill all", func(n *nemesis, _ *harness.Node) {
		for _, v := range n.cluster.Nodes {
			n.kill(v)
		}
	}},
	{"transfer leadership", func(n *nemesis, v *harness.Node) {
		to := []string{"", "n1", "n2", "n3"}[n.rand.IntN(4)]
		go func() { _, _, _ = admin(v, "/v1/cluster/transfer-leadership", map[string]string{"node": to}) }()
	}},
	{"LTS down", func(n *nemesis, _ *harness.Node) { n.lts.Down() }},
	{"LTS hangs", func(n *nemesis, _ *harness.Node) { n.lts.Hang() }},
	{"LTS refuses", func(n *nemesis, _ *harness.Node) {
		status := []int{429, 500, 503, 401, 404}[n.rand.IntN(5)]
		n.lts.Refuse(func(*harness.Received) *harness.Reply { return &harness.Reply{Status: status} })
	}},
	{"LTS dies after committing", func(n *nemesis, _ *harness.Node) {
		n.lts.Refuse(func(*harness.Received) *harness.Reply {
			return &harness.Reply{Status: http.StatusOK, Commit: true, Drop: true}
		})
	}},
}

// alone are faults that happen while nothing else is broken, and that end with everybody back.
var alone = []struct {
	name string
	do   func(*nemesis)
}{
	{"wipe", func(n *nemesis) { n.replace(func(*harness.Node) {}) }},
	{"remove and rejoin", func(n *nemesis) {
		n.replace(func(v *harness.Node) {
			_, _, _ = admin(n.others(v)[0], "/v1/cluster/remove", map[string]string{"node": v.ID})
		})
	}},
	{"leave and rejoin", (*nemesis).leave},
	{"a silent", func(n *nemesis) { n.silence("a") }},
	{"b silent", func(n *nemesis) { n.silence("b") }},
	{"leader dies in a handover", (*nemesis).interrupt},
}

// adminPatience is how long a client waits for a command: a node that is stopped answers late.
const adminPatience = 5 * time.Second

func admin(v *harness.Node, path string, command any) (status int, answer string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), adminPatience)
	defer cancel()
	return v.Admin(ctx, path, command)
}

// direct sets one direction only.
func (n *nemesis) direct(from, to []string, link Link) {
	for _, a := range from {
		for _, b := range to {
			if a != b {
				n.wire.Set(a, b, link)
			}
		}
	}
}

// kill is kill -9, or a stop where the node's memory is still needed.
func (n *nemesis) kill(v *harness.Node) {
	if !n.spare(v) {
		v.Kill()
		return
	}
	v.Pause()
	n.trace = append(n.trace, fmt.Sprintf("%v stopped and not killed: %s", time.Since(n.began).Round(time.Millisecond), v.ID))
}

// replace kills a node, gives it an empty disk, and waits until it has its place again. The others may be told that it is gone.
func (n *nemesis) replace(gone func(*harness.Node)) {
	n.whole()
	v := n.victim()
	if n.spare(v) {
		return
	}
	v.Kill()
	gone(v)
	n.last(0, 1000)
	v.Wipe()
	v.Start()
	if n.rand.IntN(2) == 0 {
		n.wire.Split([]string{"a", "b"}[n.rand.IntN(2)])
	}
	n.whole()
}

// leave lets a node leave, and come back with its disk.
func (n *nemesis) leave() {
	n.whole()
	v := n.victim()
	if n.spare(v) {
		return
	}
	harness.Eventually(n.t, v.ID+" to leave", func() error { // it is refused when another one does not answer in time
		if !v.Process.Running() {
			return nil
		}
		status, answer, err := admin(v, "/v1/cluster/leave", struct{}{})
		return fmt.Errorf("%d %s, %v", status, answer, err)
	})
	if code, err := v.Process.Exit(harness.Patience); err != nil || code != 0 {
		n.t.Fatalf("node %s was to leave and ended with status %d, %v", v.ID, code, err)
	}
	n.last(0, 1000)
	v.Args = []string{"--cluster.rejoin"}
	v.Start()
	v.Args = nil
	n.whole()
}

// whole waits until all nodes are ready and vote.
func (n *nemesis) whole() {
	n.t.Helper()
	n.cluster.WaitReady().Voters(len(n.cluster.Nodes))
}

// silence cuts a source off for longer than failover_timeout.
func (n *nemesis) silence(source string) {
	n.wire.Split(source)
	n.last(2500, 5000)
}

// interrupt has the current source replaced, where it may be, and kills the leader as soon as the change is seen, or a moment later.
func (n *nemesis) interrupt() {
	leader := n.leads()
	if leader == nil || n.spare(leader) {
		return
	}
	before, err := group(leader)
	if err != nil {
		return
	}
	switch {
	case !n.kind.orders:
	case n.rand.IntN(2) == 0:
		n.wire.Split(before.Current) // silence
		n.changes(leader, before.Epoch)
	default:
		to := map[string]string{"a": "b", "b": "a"}[before.Current]
		go n.people.tell(leader, history.Promote, to, 0)
		n.changes(leader, before.Epoch)
	}
	leader.Kill()
	n.last(100, 2000)
}

// changes waits until a node shows a later epoch, and a moment longer; not for ever, as a pin may stand against it.
func (n *nemesis) changes(v *harness.Node, epoch uint64) {
	for until := time.Now().Add(5 * time.Second); time.Now().Before(until); {
		if g, err := group(v); err == nil && g.Epoch > epoch {
			break
		}
	}
	n.last(0, 100)
}

// soon is a node's status, if it answers at once: a stopped one must not hold the nemesis up.
func soon(v *harness.Node) (harness.Status, error) {
	var s harness.Status
	answer := make(chan error, 1)
	go func() {
		var err error
		s, err = v.Status()
		answer <- err
	}()
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case err := <-answer:
		return s, err
	case <-timer.C:
		return harness.Status{}, fmt.Errorf("node %s does not answer", v.ID)
	}
}

func group(v *harness.Node) (harness.Group, error) {
	s, err := soon(v)
	if err != nil {
		return harness.Group{}, err
	}
	g, ok := s.Group("g")
	if !ok {
		return g, fmt.Errorf("node %s knows no group g", v.ID)
	}
	return g, nil
}

// memory is about what is kept for a handover. It is in the memory of two nodes, so one may lose it; before another one
// does, everything that is kept must have been replaced by what came after the first was back.
type memory struct {
	lost       *harness.Node
	shared     bool      // what is kept is on two nodes again
	back       time.Time // when that was seen to be back, with what was kept then, and what had gone
	kept, gone int64
}

// collected is more than a new leader waits for what others keep.
const collected = 3 * time.Second

// share waits until what is kept is on two nodes again after one of them lost it: until then there is one that may not be out of
// reach, as whoever leads next would go on without what it has. It has been collected when a leader that reaches everybody has
// led for a while.
func (n *nemesis) share() {
	n.t.Helper()
	m := &n.memory
	if !n.kind.whole || m.lost == nil || m.shared {
		return
	}
	var term uint64
	since := time.Now()
	harness.Eventually(n.t, "what is kept to be on two nodes again", func() error {
		s, leader, err := n.reachesAll()
		if err != nil || s.Cluster.Term != term {
			term, since = s.Cluster.Term, time.Now()
			return errors.Join(err, fmt.Errorf("term %d has just been seen", term))
		}
		alone, err := leader.Metric("highlander_ingest_kept_underreplicated_requests")
		return errors.Join(err, unless(alone == 0 && time.Since(since) > collected, func() string { return fmt.Sprintf("%v requests are on one node", alone) }))
	})
	m.shared = true
}

// reachesAll returns a leader that reaches all nodes, and its status.
func (n *nemesis) reachesAll() (harness.Status, *harness.Node, error) {
	leader := n.leads()
	if leader == nil {
		return harness.Status{}, nil, errors.New("no leader")
	}
	s, err := soon(leader)
	if err == nil && (s.Node.Role != "leader" || s.Stale) {
		err = fmt.Errorf("%s does not lead any more", leader.ID)
	}
	for _, m := range s.Cluster.Nodes {
		if !m.Reachable {
			err = errors.Join(err, fmt.Errorf("%s is out of reach", m.ID))
		}
	}
	return s, leader, err
}

// spare says whether a node's memory is still needed, and notes its loss if not.
func (n *nemesis) spare(v *harness.Node) bool {
	m := &n.memory
	if n.kind.whole && m.lost != nil && m.lost != v && !n.turned() {
		return true
	}
	*m = memory{lost: v}
	return false
}

// turned says whether the window has turned over since the last loss.
func (n *nemesis) turned() bool {
	m := &n.memory
	leader := n.leads()
	if leader == nil || !m.lost.Process.Running() {
		return false
	}
	lost, err := soon(m.lost)
	if err != nil || lost.Cluster.Leader != leader.ID {
		return false // it is not back yet
	}
	g, err := group(leader)
	if err != nil {
		return false
	}
	gone := int64(g.Standby.Discarded + g.Standby.Used)
	if m.back.IsZero() {
		m.back, m.kept, m.gone = time.Now(), g.Standby.Kept, gone
	}
	return time.Since(m.back) > 2*margin && gone-m.gone >= m.kept
}
