package harness

import (
	"errors"
	"fmt"
	"testing"
)

// Cluster is a set of nodes with the same join list.
type Cluster struct {
	Nodes []*Node
	t     testing.TB
}

// NewCluster makes n nodes, n1 to nN, that know each other; none is started.
func NewCluster(t testing.TB, n int, destinations ...Map) *Cluster {
	var nodes []*Node
	for i := range n {
		nodes = append(nodes, NewNode(t, fmt.Sprintf("n%d", i+1), destinations...))
	}
	return ClusterOf(t, nodes...)
}

// ClusterOf gives nodes the same join list.
func ClusterOf(t testing.TB, nodes ...*Node) *Cluster {
	c := &Cluster{t: t, Nodes: nodes}
	var join []any
	for _, node := range nodes {
		join = append(join, node.ClusterAddr)
	}
	for _, node := range nodes {
		node.Set("cluster", "join", join)
	}
	return c
}

// StartCluster makes n nodes, starts them and waits until all are ready.
func StartCluster(t testing.TB, n int, destinations ...Map) *Cluster {
	t.Helper()
	return NewCluster(t, n, destinations...).Start().WaitReady()
}

// Start starts every node that does not run.
func (c *Cluster) Start() *Cluster {
	c.t.Helper()
	for _, n := range c.Nodes {
		if n.Process == nil || !n.Process.Running() {
			n.Start()
		}
	}
	return c
}

// WaitReady waits until every node is ready.
func (c *Cluster) WaitReady() *Cluster {
	c.t.Helper()
	for _, n := range c.Nodes {
		n.WaitReady()
	}
	return c
}

// Set sets a key of every node's configuration.
func (c *Cluster) Set(section, key string, value any) *Cluster {
	for _, n := range c.Nodes {
		n.Set(section, key, value)
	}
	return c
}

// Running lists the nodes whose process runs.
func (c *Cluster) Running() []*Node {
	var up []*Node
	for _, n := range c.Nodes {
		if n.Process != nil && n.Process.Running() {
			up = append(up, n)
		}
	}
	return up
}

// Leader waits until the running nodes agree on a leader among them and returns it.
func (c *Cluster) Leader() *Node {
	c.t.Helper()
	var leader *Node
	Eventually(c.t, "a leader", func() (err error) {
		leader, err = c.agreed()
		return err
	})
	return leader
}

func (c *Cluster) agreed() (*Node, error) {
	var leader *Node
	for _, n := range c.Running() {
		s, err := n.Status()
		if err != nil {
			return nil, err
		}
		if s.Node.Role == "leader" {
			if leader != nil {
				return nil, fmt.Errorf("%s and %s both lead", leader.ID, n.ID)
			}
			leader = n
		}
	}
	if leader == nil {
		return nil, errors.New("nobody leads")
	}
	for _, n := range c.Running() {
		s, err := n.Status()
		if err != nil {
			return nil, err
		}
		if s.Cluster.Leader != leader.ID {
			return nil, fmt.Errorf("%s sees leader %q, %s leads", n.ID, s.Cluster.Leader, leader.ID)
		}
	}
	return leader, nil
}

// Followers are the running nodes but the leader.
func (c *Cluster) Followers() []*Node {
	c.t.Helper()
	leader := c.Leader()
	var rest []*Node
	for _, n := range c.Running() {
		if n != leader {
			rest = append(rest, n)
		}
	}
	return rest
}

// WriteURLs are the write addresses of all nodes, as behind a load balancer.
func (c *Cluster) WriteURLs() []string {
	urls := make([]string, len(c.Nodes))
	for i, n := range c.Nodes {
		urls[i] = n.WriteURL()
	}
	return urls
}

// WaitDrained waits until the destination has everything that was accepted. Sources must have stopped: on a slow machine
// something is always on its way while they go on, and WaitArrived is for that.
func (c *Cluster) WaitDrained(destination string) {
	c.t.Helper()
	WaitDrained(c.t, c.Leader(), destination)
}

// WaitDrained waits until a node shows no backlog for the destination.
func WaitDrained(t testing.TB, n *Node, destination string) {
	t.Helper()
	Eventually(t, "an empty backlog of "+destination, func() error {
		s, err := n.Status()
		if err != nil {
			return err
		}
		d, ok := s.Destination(destination)
		if !ok {
			return fmt.Errorf("no destination %q among %+v", destination, s.Destinations)
		}
		if d.Backlog.Samples != 0 || s.Stale {
			return fmt.Errorf("state %s, backlog %+v, stale %v, error %q", d.State, d.Backlog, s.Stale, d.Error)
		}
		return nil
	})
}

// WaitArrived waits until the destination has everything that was accepted before, whatever comes in meanwhile.
func (c *Cluster) WaitArrived(destination string) {
	c.t.Helper()
	var goal uint64
	Eventually(c.t, "what was accepted to be at "+destination, func() error {
		s, err := c.Leader().Status()
		if err != nil {
			return err
		}
		if goal == 0 {
			goal = s.Storage.LastIndex
		}
		d, _ := s.Destination(destination)
		if s.Stale || d.Cursor < goal && d.Backlog.Samples > 0 {
			return fmt.Errorf("state %s, cursor %d of %d, stale %v, error %q", d.State, d.Cursor, goal, s.Stale, d.Error)
		}
		return nil
	})
}

// WaitBooks waits until the books of every group and destination balance on every running node and are the same on all.
// It reads each node's own copy, which the status document of a follower does not show: that one asks the leader.
func (c *Cluster) WaitBooks() {
	c.t.Helper()
	Eventually(c.t, "balanced books, the same on every node", func() error {
		first := ""
		for i, n := range c.Running() {
			m, err := n.Metrics()
			if err != nil {
				return err
			}
			if err := m.Balanced(); err != nil {
				return fmt.Errorf("node %s: %w", n.ID, err)
			}
			switch text := m.Replicated(); {
			case i == 0:
				first = text
			case text != first:
				return fmt.Errorf("node %s shows\n%s\nand %s\n%s", c.Running()[0].ID, first, n.ID, text)
			}
			if s, err := n.Status(); err != nil {
				return err
			} else if err := s.Balanced(); err != nil {
				return fmt.Errorf("status of node %s: %w", n.ID, err)
			}
		}
		return nil
	})
}

// Balanced names the books that do not balance.
func (s Status) Balanced() error {
	for _, g := range s.Groups {
		if d := g.Difference(); d != 0 {
			return fmt.Errorf("group %s: %d samples unaccounted for in %+v", g.Name, d, g.Samples)
		}
	}
	for _, d := range s.Destinations {
		if diff := d.Difference(); diff != 0 {
			return fmt.Errorf("destination %s: %d samples unaccounted for in %+v, backlog %+v", d.Name, diff, d.Samples, d.Backlog)
		}
	}
	return nil
}

// Voters waits until the cluster has n voters and no other member.
func (c *Cluster) Voters(n int) {
	c.t.Helper()
	Eventually(c.t, fmt.Sprintf("%d voters", n), func() error {
		s, err := c.Leader().Status()
		if err != nil {
			return err
		}
		if len(s.Cluster.Nodes) != n || s.Voters() != n {
			return fmt.Errorf("members %+v", s.Cluster.Nodes)
		}
		return nil
	})
}
