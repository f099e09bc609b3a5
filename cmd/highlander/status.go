package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/highlander-io/highlander/cmd/server"
)

func (p *program) statusCommand() *cli.Command {
	return &cli.Command{
		Name:   "status",
		Usage:  "nodes, groups, destinations and books on one screen",
		Flags:  adminFlags(),
		Action: p.status,
	}
}

// status passes the node's document on as it came: a newer node may know more than this program.
func (p *program) status(c *cli.Context) error {
	var raw json.RawMessage
	if err := p.admin(c).get(c, "/v1/status", &raw); err != nil {
		return err
	}
	var doc server.Document
	if err := json.Unmarshal(raw, &doc); err != nil {
		return fmt.Errorf("status: %w", err)
	}
	return p.print(c, raw, func() { p.showStatus(&doc) })
}

// document is the status for commands that show a part of it.
func (p *program) document(c *cli.Context) (*server.Document, error) {
	var doc server.Document
	if err := p.admin(c).get(c, "/v1/status", &doc); err != nil {
		return nil, err
	}
	return &doc, nil
}

func (p *program) showStatus(doc *server.Document) {
	p.showHead(doc)
	p.showNodes(doc)
	if len(doc.Groups) > 0 {
		fmt.Fprintln(p.out)
		p.showSources(doc.Groups)
		fmt.Fprintln(p.out)
		p.showGroupBooks(doc.Groups)
	}
	fmt.Fprintln(p.out)
	p.showDestinations(doc.Destinations)
}

func (p *program) showHead(doc *server.Document) {
	leader := doc.Cluster.Leader
	if leader == "" {
		leader = "none"
	}
	fmt.Fprintf(p.out, "node %s (%s), cluster of %d, leader %s, term %d\n",
		printable(doc.Node.ID), printable(doc.Node.Role), len(doc.Cluster.Nodes), printable(leader), doc.Cluster.Term)
	full := ""
	if doc.Storage.Full {
		full = ", FULL"
	}
	fmt.Fprintf(p.out, "log %d to %d, %s on disk, %s free%s\n", doc.Storage.FirstIndex, doc.Storage.LastIndex,
		sizeText(float64(doc.Storage.WALBytes)), sizeText(float64(doc.Storage.FreeBytes)), full)
	if doc.Stale {
		fmt.Fprintln(p.out, "STALE: the leader cannot be asked; states of sources and destinations are unknown")
	}
	for _, w := range doc.Warnings {
		fmt.Fprintf(p.out, "WARNING: %s\n", printable(w))
	}
	fmt.Fprintln(p.out)
}

func (p *program) showNodes(doc *server.Document) {
	t := newTable("NODE", "ROLE", "ADDRESS", ">APPLIED", ">FREE", "VERSION", "CONFIG", "UUID")
	for _, n := range doc.Cluster.Nodes {
		if !n.Reachable {
			t.add(n.ID, "unreachable", n.Address, "", "", "", "", n.UUID)
			continue
		}
		free := sizeText(float64(n.FreeBytes))
		if n.Full {
			free += " FULL"
		}
		t.add(n.ID, nodeRole(&n, doc.Cluster.Leader), n.Address, number(n.AppliedIndex), free, n.Version, n.ConfigHash, n.UUID)
	}
	t.write(p.out)
}

func nodeRole(n *server.MemberStatus, leader string) string {
	switch {
	case n.ID == leader:
		return "leader"
	case n.Voter:
		return "follower"
	default:
		return "catching up"
	}
}

// groupCells are the leading cells that name a group: with its tenant, if any group has one.
func groupCells(groups []server.GroupStatus) (titles []string, cells func(*server.GroupStatus) []string) {
	for i := range groups {
		if groups[i].Tenant != "" {
			return []string{"TENANT", "GROUP"}, func(g *server.GroupStatus) []string { return []string{g.Tenant, g.Name} }
		}
	}
	return []string{"GROUP"}, func(g *server.GroupStatus) []string { return []string{g.Name} }
}

func (p *program) showSources(groups []server.GroupStatus) {
	titles, cells := groupCells(groups)
	t := newTable(append(titles, "SOURCE", "STATE", ">WEIGHT", "LAST SEEN", "NEWEST SAMPLE", ">COVERAGE", ">RECEIVED", "NOTE")...)
	for i := range groups {
		g := &groups[i]
		for _, s := range g.Sources {
			seen, coverage := "", ""
			if s.LastSeen != nil {
				seen = p.agoText(*s.LastSeen)
				coverage = fmt.Sprintf("%.1f%%", 100*s.Coverage)
			}
			t.add(append(cells(g), s.Name, s.State, number(s.Weight), seen, p.sampleText(s.NewestSampleMS),
				coverage, number(s.Received), sourceNote(g, &s))...)
		}
	}
	t.write(p.out)
}

func sourceNote(g *server.GroupStatus, s *server.SourceStatus) string {
	var notes []string
	if g.Pinned && g.PinnedTo == s.Name {
		notes = append(notes, "pinned")
	}
	if g.Promoted == s.Name {
		notes = append(notes, "promoted")
	}
	if s.OutOfOrder > 0 {
		notes = append(notes, fmt.Sprintf("%d out of order: two servers under one name?", s.OutOfOrder))
	}
	return strings.Join(notes, ", ")
}

func (p *program) showGroupBooks(groups []server.GroupStatus) {
	titles, cells := groupCells(groups)
	t := newTable(append(titles, ">EPOCH", "SINCE", ">RECEIVED", ">ACCEPTED", ">COVERED", ">DUPLICATE", ">REJECTED",
		">STANDBY REQUESTS", ">KEPT", ">DISCARDED", ">USED")...)
	for i := range groups {
		g := &groups[i]
		t.add(append(cells(g), number(g.Epoch), p.agoText(g.Since),
			number(g.Samples.Received), number(g.Samples.Accepted), number(g.Samples.Covered), number(g.Samples.Duplicate), reasons(g.Samples.Rejected),
			number(g.Standby.Requests), fmt.Sprint(g.Standby.Kept), number(g.Standby.Discarded), number(g.Standby.Used))...)
	}
	t.write(p.out)
}

// reasons is a sum with its parts: 3 (missing_name 2, invalid_utf8 1).
func reasons(counts map[string]uint64) string {
	var sum uint64
	var parts []string
	for _, reason := range slices.Sorted(maps.Keys(counts)) {
		if n := counts[reason]; n > 0 {
			sum += n
			parts = append(parts, fmt.Sprintf("%s %d", reason, n))
		}
	}
	if sum == 0 {
		return "0"
	}
	return fmt.Sprintf("%d (%s)", sum, strings.Join(parts, ", "))
}

func (p *program) showDestinations(destinations []server.DestinationStatus) {
	if len(destinations) == 0 {
		fmt.Fprintln(p.out, "no destination is registered: writes are answered 503")
		return
	}
	t := newTable("DESTINATION", "STATE", ">CURSOR", ">BACKLOG", ">BYTES", ">OLDEST", ">ACCEPTED", ">DELIVERED", ">DEAD LETTER",
		">RELABEL DROPPED", ">DROPPED", "ERROR")
	for _, d := range destinations {
		oldest := ""
		if d.Backlog.Entries > 0 {
			oldest = durationText(time.Duration(d.Backlog.OldestSeconds * float64(time.Second)))
		}
		t.add(d.Name, d.State, number(d.Cursor), number(d.Backlog.Samples), sizeText(float64(d.Backlog.Bytes)), oldest,
			number(d.Samples.Accepted), number(d.Samples.Delivered), number(d.Samples.DeadLetter), number(d.Samples.RelabelDropped),
			reasons(d.Samples.Dropped), d.Error)
	}
	t.write(p.out)
}
