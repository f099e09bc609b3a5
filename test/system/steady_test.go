package system

import (
	"fmt"
	"strings"
	"testing"

	"github.com/highlander-io/highlander/test/harness"
	"github.com/highlander-io/highlander/test/history"
)

// Every way for a source to name itself, in both protocols, to an LTS of each protocol.
func TestSteadyState(t *testing.T) {
	r := newRig(t, 3)
	second := newLTS(t, "second", &history.Log{})
	to2 := second.Destination()
	to2["protobuf_message"] = "io.prometheus.write.v2.Request"
	for _, n := range r.cluster.Nodes {
		n.SetDestinations(r.lts.Destination(), to2)
	}
	r.cluster.Start().WaitReady()

	var currents, standbys []*harness.Source
	for protocol := 1; protocol <= 2; protocol++ {
		for _, identify := range []harness.Identity{harness.ByURL, harness.ByHeaders, harness.ByLabels} {
			group := fmt.Sprintf("g%d-%d", protocol, identify)
			a, b := r.source("a", 1), r.source("b", 2)
			for _, s := range []*harness.Source{a, b} {
				s.Group, s.Protocol, s.Identify = group, protocol, identify
			}
			currents, standbys = append(currents, a), append(standbys, b)
		}
	}
	for _, a := range currents {
		a.Start(t)
		r.flowing(a)
	}
	for i, b := range standbys {
		b.Base = currents[i].Base
		b.Start(t)
	}
	for i, a := range currents {
		r.flowing(a)
		b := standbys[i]
		harness.Eventually(t, "202 for the standby", func() error { return unless(b.Standby.Load() >= 10, b.Summary) })
	}
	r.finish(history.Rules{Counters: true})
	r.cluster.WaitDrained(second.Name)
	r.check(second, history.Rules{Counters: true})
	// A body is passed on in the protocol it came in, where the destination takes that.
	for _, lts := range []*harness.LTS{r.lts, second} {
		for _, got := range lts.Requests() {
			for _, labels := range got.Labels {
				want := 1
				if lts == second && strings.Contains(harness.SeriesText(labels), `job="g2-`) {
					want = 2
				}
				if got.Protocol != want {
					t.Fatalf("destination %s got %v in remote write %d.0, want %d.0", lts.Name, labels, got.Protocol, want)
				}
			}
		}
	}
	for _, b := range standbys {
		if b.Accepted.Load() != 0 {
			t.Errorf("standby of %s was accepted %d times", b.Group, b.Accepted.Load())
		}
	}
	r.cluster.WaitBooks()
}

// One node, nothing but the flag that README names; the unnamed source becomes the only one of the default group.
func TestStandalone(t *testing.T) {
	r := newRig(t, 1)
	n := r.cluster.Nodes[0]
	n.SetDestinations()
	n.Args = []string{"--remote-write.url", r.lts.URL()}
	r.lts.Name = "remote-0"
	n.Start().WaitReady()
	a := r.source("a", 1)
	a.Identify = harness.Unnamed
	a.Burst(t, 50)
	r.settle(history.Rules{Counters: true})
	s, err := n.Status()
	if err != nil {
		t.Fatal(err)
	}
	g, ok := s.Group("default")
	if !ok || g.Current != "127.0.0.1" {
		t.Errorf("groups are %+v, want default with source 127.0.0.1", s.Groups)
	}
	n.Stop()
}

// Three nodes started one after another, in several orders, or at once, form one cluster.
func TestStartInAnyOrder(t *testing.T) {
	for _, order := range [][]int{{2, 0, 1}, {1, 2, 0}} {
		t.Run(fmt.Sprint(order), func(t *testing.T) {
			r := newRig(t, 3)
			alone := r.cluster.Nodes[order[0]].Start().WaitUp()
			harness.Eventually(t, "status says what it waits for", func() error {
				s, err := alone.Status()
				if err != nil {
					return err
				}
				warned := strings.Contains(strings.Join(s.Warnings, "\n"), "not a member of a cluster yet: no answer from ")
				return unless(warned, func() string { return fmt.Sprintf("warnings %q", s.Warnings) })
			})
			for _, i := range order[1:] {
				r.cluster.Nodes[i].Start().WaitUp()
			}
			r.cluster.WaitReady().Voters(3)
			oneCluster(t, r.cluster)
			r.source("a", 1).Burst(t, 10)
			r.settle(history.Rules{})
		})
	}
}

func oneCluster(t *testing.T, c *harness.Cluster) {
	t.Helper()
	harness.Eventually(t, "one cluster UUID", func() error {
		uuids := map[string]bool{}
		for _, n := range c.Running() {
			s, err := n.Status()
			if err != nil {
				return err
			}
			uuids[s.Cluster.UUID] = true
		}
		return unless(len(uuids) == 1 && !uuids[""], func() string { return fmt.Sprintf("cluster UUIDs %v", uuids) })
	})
}
