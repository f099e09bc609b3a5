//go:build linux

package faults

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/highlander-io/highlander/test/harness"
)

// TestDamage flips a bit in a file of a node that does not run, or cuts the file, again and again. The node must start and be
// right, or end with status 1 and say what is damaged and what to do; after that has been done it is a voter again, and
// nothing acknowledged is lost. HIGHLANDER_SOAK lets it go on for that long.
func TestDamage(t *testing.T) {
	until := time.Now()
	if text := os.Getenv("HIGHLANDER_SOAK"); text != "" {
		length, err := time.ParseDuration(text)
		if err != nil {
			t.Fatalf("HIGHLANDER_SOAK: %v", err)
		}
		until = until.Add(length)
	}
	r := newRig(t)
	r.cluster.Set("storage", "max_bytes", "64MiB")
	r.cluster.Set("handover", "window_bytes", "4MiB") // two minutes of a standby, however long a round takes
	r.cluster.Start().WaitReady()
	a, b := r.pair()
	bulk := r.bulk("a", 1)
	bulk.Group = "bulk"
	v := &vandal{rig: r, rand: rand.New(rand.NewPCG(r.seed, 0xda)), outcomes: map[string]int{}}
	order := v.rand.Perm(len(vandalised))
	for round := 0; round < roundsMin || time.Now().Before(until); round++ {
		r.lts.Down()
		bulk.Burst(t, 6)
		v.strike(round, vandalised[order[round%len(order)]])
		r.flowing(a)
	}
	t.Logf("outcomes: %v", v.outcomes)
	r.answered(b)
	r.alive()
	for _, s := range r.sources {
		if s != bulk {
			s.Stop()
		}
	}
	r.settle(afterwards)
}

// roundsMin is as many as a short run has time for.
const roundsMin = 3

// target is a kind of file, by a pattern of its names; which of those that fit, and where in it, is random.
type target struct {
	pattern string
	newest  bool // the last one by name
}

// vandal damages files.
type vandal struct {
	*rig
	rand     *rand.Rand
	outcomes map[string]int
}

var vandalised = []target{
	{"wal/*.wal", true}, {"wal/*.wal", true}, {"wal/*.wal", false}, {"snapshots/*.snap", true}, {"snapshots/*.snap", false},
	{"node.json", false}, {"vote", false}, {"wal/first", false}, {"wal/end", false},
}

// strike damages one file of one node and sees it through.
func (v *vandal) strike(round int, kind target) {
	n := v.cluster.Nodes[v.rand.IntN(3)]
	killed := v.rand.IntN(2) == 0
	if killed {
		n.Kill()
	} else {
		n.Stop()
	}
	files, err := filepath.Glob(filepath.Join(n.Dir, kind.pattern))
	if err != nil {
		v.t.Fatal(err)
	}
	what := "nothing"
	if len(files) > 0 {
		slices.Sort(files)
		file := files[len(files)-1]
		if !kind.newest {
			file = files[v.rand.IntN(len(files))]
		}
		what = v.damage(n, file)
	}
	what = fmt.Sprintf("round %d: %s (killed: %v): %s", round, n.ID, killed, what)
	found := v.inspect(n, what)
	outcome := v.start(n, what)
	v.drain(n, what)
	if outcome == "started" && !n.Process.Running() {
		v.rejoin(n, what)
		outcome = "ended when it was read"
	}
	v.t.Logf("%s: wal verify found damage: %v; %s", what, found, outcome)
	v.outcomes[kind.pattern+" "+outcome]++
}

// damage flips a bit of a file, or cuts it, somewhere in what it holds.
func (v *vandal) damage(n *harness.Node, file string) string {
	v.t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		v.t.Fatal(err)
	}
	used := len(data)
	for used > 1 && data[used-1] == 0 {
		used-- // what was only preallocated is not worth it
	}
	at := v.rand.IntN(used)
	if v.rand.IntN(4) == 0 {
		at = max(0, used-1-v.rand.IntN(200)) // the last record
	}
	name, _ := filepath.Rel(n.Dir, file)
	if v.rand.IntN(3) == 0 {
		if err := os.Truncate(file, int64(at)); err != nil {
			v.t.Fatal(err)
		}
		return fmt.Sprintf("%s cut from %d to %d bytes (%d used)", name, len(data), at, used)
	}
	bit := v.rand.IntN(8)
	data[at] ^= 1 << bit
	if err := os.WriteFile(file, data, 0o600); err != nil {
		v.t.Fatal(err)
	}
	return fmt.Sprintf("bit %d of byte %d of %s flipped (%d used)", bit, at, name, used)
}

// inspect lets the tools look at the log. What they find they must name.
func (v *vandal) inspect(n *harness.Node, what string) (found bool) {
	v.t.Helper()
	verify := n.Command("wal", "verify", "--output", "json")
	var verdict struct {
		OK       bool
		Problems []string
	}
	if err := json.Unmarshal([]byte(verify.Stdout), &verdict); err != nil {
		v.t.Fatalf("%s: wal verify: %v: %+v", what, err, verify)
	}
	if verdict.OK != (verify.Code == 0) || verdict.OK != (len(verdict.Problems) == 0) {
		v.t.Errorf("%s: wal verify: status %d, %+v", what, verify.Code, verdict)
	}
	for _, problem := range verdict.Problems {
		if !named(problem) {
			v.t.Errorf("%s: wal verify does not name the place: %s", what, problem)
		}
	}
	dump := n.Command("wal", "dump")
	if dump.Code != 0 && (verdict.OK || !named(dump.Stderr)) {
		v.t.Errorf("%s: wal dump: status %d, %s; wal verify: %+v", what, dump.Code, dump.Stderr, verdict)
	}
	v.sane(what, verify.Stderr+dump.Stderr)
	return !verdict.OK
}

// named says whether a text names segment, offset and index.
func named(text string) bool {
	return strings.Contains(text, "segment") && strings.Contains(text, "offset") && strings.Contains(text, "index")
}

func (v *vandal) sane(what, output string) {
	v.t.Helper()
	for _, word := range []string{"panic", "goroutine ", "SIGBUS", "fatal error"} {
		if strings.Contains(output, word) {
			v.t.Fatalf("%s: crashed:\n%s", what, output)
		}
	}
}

// start starts the node; if it refuses, it does what the node says.
func (v *vandal) start(n *harness.Node, what string) string {
	v.t.Helper()
	n.Start()
	err := harness.Poll(harness.Patience, func() error {
		if !n.Process.Running() {
			return nil
		}
		return n.Ready()
	})
	if err != nil {
		v.t.Fatalf("%s: neither ready nor ended: %v", what, err)
	}
	if n.Process.Running() {
		v.cluster.Voters(3)
		return "started"
	}
	v.rejoin(n, what)
	return "refused"
}

// rejoin does what a node that has ended because of damage says.
func (v *vandal) rejoin(n *harness.Node, what string) {
	v.t.Helper()
	v.ended(n)
	said := n.Process.Output()
	said = said[strings.LastIndex(said, "msg=starting"):]
	if advice := "move " + n.Dir + " away and start again with the same configuration"; !strings.Contains(said, advice) {
		v.t.Fatalf("%s: no advice in\n%s", what, said)
	}
	if !named(said) && !strings.Contains(said, n.Dir+"/") {
		v.t.Errorf("%s: the place is not named in\n%s", what, said)
	}
	if err := os.Rename(n.Dir, fmt.Sprintf("%s.damaged-%d", n.Dir, v.rand.Uint32())); err != nil {
		v.t.Fatal(err)
	}
	n.Start().WaitReady()
	v.cluster.Voters(3)
}

// drain lets the damaged node lead, so that what it has is what the LTS gets.
func (v *vandal) drain(n *harness.Node, what string) {
	v.t.Helper()
	harness.Eventually(v.t, what+": "+n.ID+" to lead, or to end of what it reads", func() error {
		if !n.Process.Running() {
			return nil
		}
		return v.tryLead(n)
	})
	v.lts.Up()
	v.cluster.WaitArrived(v.lts.Name)
	said := n.Process.Output()
	if strings.Contains(said[strings.LastIndex(said, "msg=starting"):], fatal) { // others deliver before it has ended
		if _, err := n.Process.Exit(harness.Patience); err != nil {
			v.t.Errorf("%s: %v", what, err)
		}
	}
}

// A single node with a damaged log: it says so, the tools name the place, and what is before it can be read.
func TestDamageOfASingleNode(t *testing.T) {
	r, n := soloRig(t)
	a := r.bulk("a", 1)
	r.lts.Down()
	n.Start().WaitReady()
	a.Burst(t, 12)
	n.Kill()
	file := segments(t, n)[0]
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 4
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	r.lts.Up()
	n.Start()
	r.ended(n, filepath.Base(filepath.Dir(file)), "segment 1 at offset", "index", "move "+n.Dir+" away", "wal verify", "nobody else has")
	for _, command := range []string{"verify", "dump"} {
		if out := n.Command("wal", command); out.Code != 1 || !named(out.Stdout+out.Stderr) || command == "dump" && strings.Count(out.Stdout, "batch") == 0 {
			t.Errorf("wal %s: status %d\n%.500s\n%s", command, out.Code, out.Stdout, out.Stderr)
		}
	}
	if err := os.Rename(n.Dir, n.Dir+".damaged"); err != nil {
		t.Fatal(err)
	}
	n.Start().WaitReady()
	from := r.lts.Taken()
	a.Burst(t, 2)
	r.cluster.WaitDrained(r.lts.Name)
	if r.lts.Taken() <= from {
		t.Error("nothing is delivered after the damage")
	}
}

// soloRig is a rig of one node that belongs to no cluster.
func soloRig(t testing.TB) (*rig, *harness.Node) {
	r := newRig(t)
	n := r.cluster.Nodes[0]
	r.cluster.Nodes = r.cluster.Nodes[:1]
	r.cluster.Set("cluster", "join", []any{}).Set("storage", "max_bytes", "64MiB")
	return r, n
}
