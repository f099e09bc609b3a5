package cluster

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// Report is what a node says about itself, in answer to a hello and to members who ask.
type Report struct {
	Peer
	Held    bool     `json:"held_entries,omitempty"`
	Set     []string `json:"set,omitempty"` // UUIDs behind its join list, when all have answered
	Members []Member `json:"members,omitempty"`
	Leads   bool     `json:"leads,omitempty"`
	Leader  string   `json:"leader,omitempty"` // UUID
	Term    uint64   `json:"term,omitempty"`
	Last    uint64   `json:"last_index,omitempty"`
	Commit  uint64   `json:"commit_index,omitempty"`
	Applied uint64   `json:"applied_index,omitempty"`
	Info    Info     `json:"info"`
}

func (r *Report) target() target {
	return target{UUID: r.UUID, Cluster: r.Cluster, HostPort: r.Address}
}

func (r *Report) member(uuid string) bool {
	for _, m := range r.Members {
		if m.UUID == uuid {
			return true
		}
	}
	return false
}

// Member is one node of the cluster as this node sees it. Everything after Voter is as old as the last poll.
type Member struct {
	Name         string `json:"name"`
	UUID         string `json:"uuid"`
	Address      string `json:"address"`
	Voter        bool   `json:"voter"`
	Leader       bool   `json:"leader,omitempty"`
	Reachable    bool   `json:"reachable"`
	LastIndex    uint64 `json:"last_index"`
	CommitIndex  uint64 `json:"commit_index"`
	AppliedIndex uint64 `json:"applied_index"`
	Info         Info   `json:"info"`
}

// servers returns the latest configuration that this node knows.
func (n *Node) servers() []raft.Server {
	inst := n.current.Load()
	if inst == nil {
		return nil
	}
	return inst.raft.GetConfiguration().Configuration().Servers // answered at once in this version of raft
}

func (n *Node) voters() []raft.Server {
	var voters []raft.Server
	for _, server := range n.servers() {
		if server.Suffrage == raft.Voter {
			voters = append(voters, server)
		}
	}
	return voters
}

func (n *Node) report() *Report {
	own := n.dir.Identity()
	r := &Report{
		Peer: Peer{Name: own.Name, UUID: own.UUID, Cluster: own.Cluster, Address: n.port.advertise},
		Held: own.Held, Leads: n.IsLeader(), Info: n.opts.Info(),
	}
	n.mu.Lock()
	r.Set = n.resolved
	n.mu.Unlock()
	if inst := n.current.Load(); inst != nil {
		_, leader := inst.raft.LeaderWithID()
		_, r.Leader = splitServerID(leader)
		r.Term, r.Last = inst.raft.CurrentTerm(), inst.raft.LastIndex()
		r.Commit, r.Applied = inst.raft.CommitIndex(), inst.raft.AppliedIndex()
	}
	for _, server := range n.servers() {
		r.Members = append(r.Members, memberOf(server))
	}
	return r
}

func memberOf(server raft.Server) Member {
	m := Member{Voter: server.Suffrage == raft.Voter}
	m.Name, m.UUID = splitServerID(server.ID)
	if t, err := parseAddress(server.Address); err == nil {
		m.Address = t.HostPort
	}
	return m
}

// outlook is what a leader, or a node without one, knows about everybody.
type outlook struct {
	Report  *Report  `json:"report"`
	Members []Member `json:"members"`
}

func (n *Node) outlook() outlook { return outlook{Report: n.report(), Members: n.Members()} }

// view holds what the last polls found out.
type view struct {
	mu      sync.Mutex
	members map[string]Member  // by UUID
	reports map[string]*Report // of those this node polled itself
	goal    uint64             // commit index when the last poll began
	commit  uint64             // the leader's commit index at the poll before the last
	latest  uint64             // and at the last one
	missing int                // polls in a row in which a leader did not count on this node
}

func (v *view) leaderCommit() uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.commit
}

// Members lists the nodes of the latest configuration with what the last poll found out about them.
func (n *Node) Members() []Member {
	own := n.report()
	n.view.mu.Lock()
	defer n.view.mu.Unlock()
	members := own.Members
	for i, m := range members {
		seen := n.view.members[m.UUID]
		if m.UUID == own.UUID {
			seen = ownMember(own)
		}
		seen.Name, seen.UUID, seen.Address, seen.Voter = m.Name, m.UUID, m.Address, m.Voter
		seen.Leader = m.UUID == own.Leader
		members[i] = seen
	}
	return members
}

func ownMember(r *Report) Member {
	return Member{Reachable: true, LastIndex: r.Last, CommitIndex: r.Commit, AppliedIndex: r.Applied, Info: r.Info}
}

// observe keeps the view fresh: a leader, and a node without one, asks everybody; a follower asks the leader.
func (n *Node) observe(ctx context.Context) {
	for {
		n.poll(ctx)
		pause := n.opts.seams.pollInterval
		if n.Ready() != nil || n.IsLeader() && len(n.voters()) < len(n.servers()) {
			pause /= 5 // somebody waits: for this node, or for a vote
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

func (n *Node) poll(ctx context.Context) {
	inst := n.current.Load()
	if inst == nil {
		return
	}
	if inst.raft.State() == raft.Shutdown && ctx.Err() == nil && n.current.Load() == inst {
		n.removed()
		return
	}
	n.noteVote()
	ctx, cancel := context.WithTimeout(ctx, n.opts.seams.pollInterval)
	defer cancel()
	if _, leader := inst.raft.LeaderWithID(); leader != "" && !n.IsLeader() {
		if n.pollLeader(ctx) == nil {
			return
		}
	}
	n.pollAll(ctx, inst)
}

// noteVote remembers on disk that this node has had a vote.
func (n *Node) noteVote() {
	own := n.dir.Identity()
	self, known := findServer(n.servers(), own.UUID)
	if own.Voter || !own.Held || !known || self.Suffrage != raft.Voter {
		return
	}
	if err := n.dir.markVoter(); err != nil {
		n.logger.Warn("cannot mark the data directory", "err", err)
	}
}

func (n *Node) pollLeader(ctx context.Context) error {
	var seen outlook
	if err := exchange(ctx, n.RoundTripper(LeaderHost), http.MethodGet, LeaderHost, pathView, nil, &seen); err != nil {
		return err
	}
	n.view.mu.Lock()
	n.view.members, n.view.reports = make(map[string]Member, len(seen.Members)), nil
	for _, m := range seen.Members {
		n.view.members[m.UUID] = m
	}
	n.view.commit, n.view.latest = n.view.latest, seen.Report.Commit
	if n.view.commit == 0 {
		n.view.commit = n.view.latest
	}
	n.view.mu.Unlock()
	n.checkRemoved(ctx, []*Report{seen.Report})
	return nil
}

func (n *Node) pollAll(ctx context.Context, inst *instance) {
	goal := inst.raft.CommitIndex()
	servers := n.servers()
	reports := make([]*Report, len(servers))
	var all sync.WaitGroup
	for i, server := range servers {
		_, uuid := splitServerID(server.ID)
		if uuid == inst.own.UUID {
			continue
		}
		all.Go(func() {
			var report Report
			err := exchange(ctx, n.RoundTripper(uuid), http.MethodGet, uuid, pathReport, nil, &report)
			if err == nil {
				reports[i] = &report
			}
			n.noteRefusal(server, err)
		})
	}
	all.Wait()
	n.view.keep(reports, goal)
	n.checkRemoved(ctx, reports)
}

func (v *view) keep(reports []*Report, goal uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.members = make(map[string]Member, len(reports))
	v.reports = make(map[string]*Report, len(reports))
	for _, r := range reports {
		if r != nil {
			v.members[r.UUID] = ownMember(r)
			v.reports[r.UUID] = r
		}
	}
	v.goal = goal
}

// caughtUp reports whether a node had, at the last poll, everything that was committed when the poll began.
func (v *view) caughtUp(uuid string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	r := v.reports[uuid]
	return r != nil && v.goal > 0 && r.Held && r.Last >= v.goal && r.Applied > 0
}

// address returns where a node said, at the last poll, that it can be dialled.
func (v *view) address(uuid string) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	if r := v.reports[uuid]; r != nil {
		return r.Address
	}
	return ""
}

// noteRefusal says, once in a while, that a member was reached but is not, or no longer, the one that this
// node knows: its disk was replaced, or the cluster was recovered without this node.
func (n *Node) noteRefusal(server raft.Server, err error) {
	var refused *RefusedError
	if !errors.As(err, &refused) {
		return
	}
	if write, skipped := n.quiet.allow(string(server.ID), time.Now()); write {
		n.logger.Warn("a member refuses this node", "name", memberOf(server).Name, "address", refused.Address, "reason", refused.Reason, "repeated", skipped)
	}
}

const removedAfter = 2 // polls; the first may have met a removal that was never committed

// checkRemoved finds out that the cluster goes on without this node. Raft does not tell a removed follower. A
// node that never had a vote was perhaps admitted by a leader who could not finish: it asks again.
func (n *Node) checkRemoved(ctx context.Context, reports []*Report) {
	own := n.dir.Identity()
	var without *Report
	for _, r := range reports {
		if r != nil && r.Leads && r.Cluster == own.Cluster && own.Held && !r.member(own.UUID) {
			without = r
		}
	}
	n.view.mu.Lock()
	n.view.missing++
	if without == nil {
		n.view.missing = 0
	}
	gone := n.view.missing >= removedAfter
	n.view.mu.Unlock()
	switch {
	case !gone:
	case own.Voter:
		n.removed()
	default:
		n.logger.Warn("the leader does not know this node, which asks to join again", "reason", n.requestJoin(ctx, own, without))
	}
}

func (n *Node) removed() {
	if n.leaving.Load() || n.stopping.Load() {
		return
	}
	if err := n.dir.markLeft(); err != nil {
		n.logger.Warn("cannot mark the data directory", "err", err)
	}
	n.logger.Error("this node was removed from its cluster")
	n.finish(ErrRemoved)
}

func (n *Node) finish(cause error) {
	n.mu.Lock()
	end := n.end
	n.mu.Unlock()
	if end != nil {
		end(cause)
	}
}
