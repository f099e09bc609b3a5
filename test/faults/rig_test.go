//go:build linux

package faults

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/highlander-io/highlander/test/harness"
	"github.com/highlander-io/highlander/test/history"
)

func TestMain(m *testing.M) {
	if os.Getenv(ownMounts) == "" {
		enterOwnMounts()
	}
	os.Exit(harness.Main(m))
}

// enterOwnMounts begins this program again in a mount namespace of its own, so that no mount outlives it. Where that
// is not permitted it returns, and the scenarios that need it are skipped.
func enterOwnMounts() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if unix.Unshare(unix.CLONE_NEWNS) != nil || unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") != nil {
		return
	}
	_ = syscall.Exec("/proc/self/exe", os.Args, append(os.Environ(), ownMounts+"=1"))
}

// permitted skips a scenario, loudly, where the machine does not let it happen.
func permitted(t testing.TB) {
	t.Helper()
	for _, program := range []string{"ip", "nsenter"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("NOT TESTED: %v", err)
		}
	}
	s, err := newSpace("probe", netip.MustParseAddr("10.77.0.254"), 0)
	if err != nil {
		t.Skipf("NOT TESTED: no network namespaces here (root is needed, and /dev/net/tun): %v", err)
	}
	s.close()
}

// seed is printed, and taken from HIGHLANDER_SEED if that is set.
func seed(t testing.TB) uint64 {
	n := rand.Uint64N(1 << 32)
	if text := os.Getenv("HIGHLANDER_SEED"); text != "" {
		given, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("HIGHLANDER_SEED: %v", err)
		}
		n = given
	}
	t.Logf("seed %d", n)
	return n
}

// rig is three nodes, an LTS and two sources, each in a space of its own, and the history of what goes through.
type rig struct {
	t       testing.TB
	seed    uint64
	wire    *Wire
	log     *history.Log
	lts     *harness.LTS
	cluster *harness.Cluster
	sources []*harness.Source
}

const (
	webPort     = 6745
	clusterPort = 6746
	ltsPort     = 8428
)

// newRig prepares everything, with three nodes unless others are named, and starts the LTS alone.
func newRig(t testing.TB, ids ...string) *rig {
	t.Helper()
	permitted(t)
	if len(ids) == 0 {
		ids = []string{"n1", "n2", "n3"}
	}
	r := &rig{t: t, seed: seed(t), log: &history.Log{}}
	r.wire = NewWire(t, r.seed, append(slices.Clone(ids), "lts", "a", "b")...)
	at := r.wire.Space("lts")
	r.lts = harness.NewLTSAt(t, "lts", r.log, at.At(ltsPort), at.Listen)
	var nodes []*harness.Node
	for _, id := range ids {
		nodes = append(nodes, r.node(id))
	}
	r.cluster = harness.ClusterOf(t, nodes...)
	return r
}

func (r *rig) node(id string) *harness.Node {
	space := r.wire.Space(id)
	n := harness.NewNode(r.t, id, r.lts.Destination())
	n.Web, n.ClusterAddr = space.At(webPort), space.At(clusterPort)
	n.Prefix, n.Client = space.Prefix(), space.Client()
	n.Set("web", "listen_address", n.Web)
	n.Set("cluster", "bind_address", n.ClusterAddr)
	n.Set("cluster", "insecure", true)
	n.Set("storage", "min_free_bytes", "64MiB")
	n.Set("sources", "failover_timeout", "3s")
	return n
}

func startRig(t testing.TB) *rig {
	t.Helper()
	r := newRig(t)
	r.cluster.Start().WaitReady()
	return r
}

// source adds a source of group "g" in its own space, the one of its name; without nodes it writes to all in turn.
func (r *rig) source(name string, number int, nodes ...*harness.Node) *harness.Source {
	urls := r.cluster.WriteURLs()
	if len(nodes) > 0 {
		urls = nil
		for _, n := range nodes {
			urls = append(urls, n.WriteURL())
		}
	}
	s := &harness.Source{
		Group: "g", Name: name, Number: number, URLs: urls, Log: r.log, Dial: r.wire.Space(name).Dial,
		Shards: 2, Base: base,
	}
	r.sources = append(r.sources, s)
	return s
}

// base is the same for all sources, which are pairs: sample n has the same time everywhere.
var base = time.Now().Truncate(time.Second)

// pair starts a current source and, once that is elected, a standby.
func (r *rig) pair() (current, standby *harness.Source) {
	r.t.Helper()
	current = r.source("a", 1).Start(r.t)
	r.flowing(current)
	standby = r.source("b", 2).Start(r.t)
	r.rivals(current, standby)
	return current, standby
}

// rivals waits until one of two sources has been answered 202: nearly always the one that began later.
func (r *rig) rivals(a, b *harness.Source) {
	r.t.Helper()
	harness.Eventually(r.t, "202 for a standby", func() error {
		return unless(a.Standby.Load()+b.Standby.Load() > 0, func() string { return a.Summary() + "; " + b.Summary() })
	})
}

// flowing waits until ten more requests of a source's group have been accepted, whoever is current by then: a source whose
// requests hang for longer than failover_timeout in what is broken loses its turn, and rightly so.
func (r *rig) flowing(s *harness.Source) {
	r.t.Helper()
	accepted := func() (n int64, answers string) {
		for _, other := range r.sources {
			if other.Group == s.Group {
				n += other.Accepted.Load()
				answers += other.Summary() + "; "
			}
		}
		return n, answers
	}
	from, _ := accepted()
	harness.Eventually(r.t, "accepted requests of group "+s.Group, func() error {
		n, answers := accepted()
		return unless(n >= from+10, func() string { return answers })
	})
}

// taught lets a source pause for a moment. From that a leader learns at once how long its sources are usually silent, hence
// when one is silent for longer; else that takes ten seconds, in which the leader must not change.
func (r *rig) taught(s *harness.Source) {
	r.t.Helper()
	r.answered(s)
	s.Stop()
	pause(r.t.Context(), 900)
	s.Start(r.t)
	r.answered(s)
}

// answered waits until ten more requests of a source have been answered for good, with 204 or 202.
func (r *rig) answered(s *harness.Source) {
	r.t.Helper()
	count := func() int64 { return s.Accepted.Load() + s.Standby.Load() }
	from := count()
	harness.Eventually(r.t, "answers to "+s.Name, func() error { return unless(count() >= from+10, s.Summary) })
}

// leader waits until one of some nodes leads.
func (r *rig) leader(nodes ...*harness.Node) (leader *harness.Node) {
	r.t.Helper()
	harness.Eventually(r.t, "a leader", func() error {
		for _, n := range nodes {
			if s, err := n.Status(); err == nil && s.Node.Role == "leader" {
				leader = n
				return nil
			}
		}
		return fmt.Errorf("none of %d nodes leads", len(nodes))
	})
	return leader
}

// lead waits until a node leads, which it is told to again where that failed or an election came between.
func (r *rig) lead(n *harness.Node) {
	r.t.Helper()
	harness.Eventually(r.t, n.ID+" to lead", func() error { return r.tryLead(n) })
}

// tryLead returns nil if a node leads; else it gives it the leadership, as far as that is possible now.
func (r *rig) tryLead(n *harness.Node) error {
	s, err := n.Status()
	if err != nil || s.Node.Role == "leader" {
		return err
	}
	told := n.Command("cluster", "transfer-leadership", n.ID)
	return fmt.Errorf("%s was %s; transfer-leadership: status %d, %s", n.ID, s.Node.Role, told.Code, told.Stderr)
}

// status is the leader's document, confirmed by the others.
func (r *rig) status() (s harness.Status) {
	r.t.Helper()
	harness.Eventually(r.t, "the leader's status", func() (err error) {
		if s, err = r.cluster.Leader().Status(); err == nil && s.Stale {
			err = fmt.Errorf("it is stale")
		}
		return err
	})
	return s
}

// others are all nodes but one.
func (r *rig) others(not *harness.Node) (others []*harness.Node) {
	for _, n := range r.cluster.Nodes {
		if n != not {
			others = append(others, n)
		}
	}
	return others
}

// destination is the LTS as a node sees it.
func (r *rig) destination(n *harness.Node) (harness.Destination, error) {
	s, err := n.Status()
	if err != nil {
		return harness.Destination{}, err
	}
	d, ok := s.Destination(r.lts.Name)
	if !ok {
		return d, fmt.Errorf("node %s knows no destination %s", n.ID, r.lts.Name)
	}
	return d, nil
}

// finish stops the sources, waits until everything has arrived, and checks history and books.
func (r *rig) finish(rules history.Rules) {
	r.t.Helper()
	for _, s := range r.sources {
		s.Stop()
	}
	r.settle(rules)
}

// settle is finish for sources that have stopped already.
func (r *rig) settle(rules history.Rules) {
	r.t.Helper()
	r.cluster.WaitReady()
	r.cluster.WaitDrained(r.lts.Name)
	r.cluster.WaitBooks()
	r.check(rules)
}

// counted is what the books say was not delivered, for whatever reason. That many acknowledged samples may be missing at
// the LTS and no more.
func (r *rig) counted() (n uint64) {
	r.t.Helper()
	s := r.status()
	for _, g := range s.Groups {
		n += g.Samples.Covered
	}
	d, _ := s.Destination(r.lts.Name)
	for _, dropped := range d.Samples.Dropped {
		n += dropped
	}
	r.t.Logf("books: %+v; %d counted as not delivered", d, n+d.Samples.DeadLetter)
	return n + d.Samples.DeadLetter
}

// check compares what the sources were answered with what the LTS has.
func (r *rig) check(rules history.Rules) {
	r.t.Helper()
	h := r.log.History()
	counted := r.counted()
	var lost uint64
	shown := 0
	for _, v := range history.Check(h, rules) {
		if v.Kind == history.Lost {
			if lost++; lost <= counted {
				continue
			}
		}
		if shown++; shown <= 10 {
			r.t.Error(v)
		}
	}
	if shown > 10 {
		r.t.Errorf("%d violations in all", shown)
	}
	accepted := h.AcceptedCount()
	if accepted == 0 {
		r.t.Error("nothing was accepted: the scenario proves nothing")
	}
	for _, problem := range r.lts.Problems() {
		r.t.Errorf("LTS: %s", problem)
	}
	sent := 0
	for _, request := range h.Requests {
		sent += len(request.Samples)
	}
	for _, s := range r.sources {
		for _, problem := range s.Problems() {
			r.t.Errorf("source %s: %s", s.Name, problem)
		}
		r.t.Log(s.Summary())
	}
	r.t.Logf("seed %d: %d samples sent, %d acknowledged with 204, %d received (repetitions included); %s",
		r.seed, sent, accepted, len(h.Received), r.wire.Summary())
}

func unless(ok bool, otherwise func() string) error {
	if ok {
		return nil
	}
	return fmt.Errorf("%s", otherwise())
}
