package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/raft"
)

// founding is a cluster that this node is about to start, as everybody in it has promised.
type founding struct {
	cluster string
	servers []raft.Server
}

const (
	formInterval = 200 * time.Millisecond
	loudInterval = 10 * time.Second
)

// form makes this node part of a cluster: it founds one, joins one, or waits, loudly. It returns nil when the
// node holds entries or ctx has ended, errAgain when the identity has changed and Raft must start anew, or
// another error if waiting is no use.
func (n *Node) form(ctx context.Context) error {
	began := n.dir.Identity()
	var said string
	var saidAt time.Time
	for {
		own := n.dir.Identity()
		switch {
		case own.Held && own.Cluster == began.Cluster:
			return nil
		case own.Cluster != began.Cluster:
			return errAgain
		}
		why, err := n.formOnce(ctx, own)
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
		if why != said || time.Since(saidAt) > loudInterval {
			said, saidAt = why, time.Now()
			n.setWaiting(why)
			if why != "" {
				n.logger.Warn("not a member of a cluster yet", "reason", why)
			}
		}
		select {
		case <-ctx.Done():
		case <-n.stir:
		case <-time.After(formInterval):
		}
	}
}

func (n *Node) setWaiting(why string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.waiting = why
}

// formOnce makes one attempt. It returns why there is nothing to do but wait.
func (n *Node) formOnce(ctx context.Context, own Identity) (why string, err error) {
	addresses := n.opts.Join
	if len(own.Join) > 0 {
		addresses = own.Join
	}
	if len(addresses) == 0 {
		return "", n.foundAlone(own)
	}
	answers := n.askAll(ctx, addresses)
	if why, found, err := n.joinExisting(ctx, own, answers); found || err != nil {
		return why, err
	}
	if len(own.Join) > 0 {
		return "none of " + strings.Join(own.Join, ", ") + " belongs to a cluster", nil
	}
	return n.foundTogether(ctx, own, answers)
}

// foundAlone is for a node without cluster.join: it is a cluster. A promise that it has made before, and never
// held an entry for, is that of a founding that was interrupted.
func (n *Node) foundAlone(own Identity) error {
	n.logger.Info("starting a cluster of one", "name", own.Name)
	return n.found(uuid.NewString(), true, []Peer{{Name: own.Name, UUID: own.UUID, Address: n.port.advertise}})
}

// found binds this node to a new cluster and leaves it to the next instance to write its first entry.
func (n *Node) found(cluster string, alone bool, members []Peer) error {
	f := &founding{cluster: cluster}
	for _, m := range members {
		address := target{UUID: m.UUID, Cluster: cluster, HostPort: m.Address}.address()
		f.servers = append(f.servers, raft.Server{Suffrage: raft.Voter, ID: serverID(m.Name, m.UUID), Address: address})
	}
	n.mu.Lock()
	n.founding = f
	n.mu.Unlock()
	return n.dir.promise(cluster, alone)
}

// found writes the first configuration, if this instance is the one that was to do it.
func (i *instance) found() error {
	n := i.node
	n.mu.Lock()
	f := n.founding
	n.mu.Unlock()
	if f == nil || f.cluster != i.own.Cluster || i.own.Held {
		return nil
	}
	err := i.raft.BootstrapCluster(raft.Configuration{Servers: f.servers}).Error()
	if err == nil {
		n.logger.Info("started a cluster", "cluster", f.cluster, "members", len(f.servers))
	}
	return err
}

// answer is what one address of the join list had to say.
type answer struct {
	address string
	report  *Report
	err     error
}

func (n *Node) askAll(ctx context.Context, addresses []string) []answer {
	answers := make([]answer, len(addresses))
	var all sync.WaitGroup
	for i, address := range addresses {
		all.Go(func() {
			report, err := n.port.hello(ctx, address)
			answers[i] = answer{address, report, err}
		})
	}
	all.Wait()
	return answers
}

// joinExisting joins the cluster that any of those who answered belongs to. found says that there is one, and
// nothing else to try.
func (n *Node) joinExisting(ctx context.Context, own Identity, answers []answer) (why string, found bool, err error) {
	var via *Report
	for _, a := range answers {
		switch {
		case a.report == nil || !a.report.Held || a.report.UUID == own.UUID:
		case via == nil:
			via = a.report
		case via.Cluster != a.report.Cluster:
			return fmt.Sprintf("the nodes of cluster.join belong to different clusters: %s to %s, %s to %s", via.Name, via.Cluster, a.report.Name, a.report.Cluster), true, nil
		case a.report.Leads:
			via = a.report
		}
	}
	if via == nil {
		return "", false, nil
	}
	if via.member(own.UUID) && via.Cluster != own.Cluster {
		return fmt.Sprintf("cluster %s counts on this node, which has promised itself to %q", via.Cluster, own.Cluster), true, nil
	}
	if via.member(own.UUID) {
		return "a member of cluster " + via.Cluster + ", waiting for its leader", true, nil
	}
	if own.Cluster != via.Cluster {
		// Bound first, so that the leader's connections are accepted as soon as it has added this node.
		return "", true, n.dir.promise(via.Cluster, false)
	}
	return n.requestJoin(ctx, own, via), true, nil
}

func (n *Node) requestJoin(ctx context.Context, own Identity, via *Report) (why string) {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	request := changeRequest{Op: opJoin, Peer: Peer{Name: own.Name, UUID: own.UUID, Address: n.port.advertise}}
	if err := n.postTo(ctx, via.target(), pathChange, request, nil); err != nil {
		return fmt.Sprintf("%s (%s) did not let this node join: %v", via.Name, via.Address, err)
	}
	return "joining cluster " + via.Cluster
}

// foundTogether starts a cluster with everybody on the list once all of them are there, empty, and of one
// mind. Nobody else may ever be asked to: the one with the smallest UUID does it.
func (n *Node) foundTogether(ctx context.Context, own Identity, answers []answer) (why string, err error) {
	members, why := roster(answers)
	if why != "" {
		n.setResolved(nil)
		return why, nil
	}
	if len(members) == 1 && members[0].UUID == own.UUID {
		return "", errors.New("cluster.join names only this node itself: list all nodes, or none for a cluster of one")
	}
	set := uuids(members)
	n.setResolved(set)
	if !slices.Contains(set, own.UUID) {
		return "cluster.join does not name this node: it can join a cluster, but not start one", nil
	}
	for _, a := range answers {
		if a.report.UUID != own.UUID && !slices.Equal(a.report.Set, set) {
			return disagreement(a.report, members), nil
		}
	}
	if set[0] != own.UUID {
		return fmt.Sprintf("waiting for %s, which has the smallest UUID, to start the cluster", nameOf(members, set[0])), nil
	}
	return n.prepareAll(ctx, own, members, answers)
}

func disagreement(r *Report, members []Peer) string {
	if r.Set == nil {
		return fmt.Sprintf("waiting for %s (%s) to have reached everybody on its cluster.join", r.Name, r.Address)
	}
	return fmt.Sprintf("cluster.join of %s (%s) means %d nodes, %s; of this node %d, %s: make the lists the same",
		r.Name, r.Address, len(r.Set), strings.Join(r.Set, " "), len(members), strings.Join(uuids(members), " "))
}

func (n *Node) setResolved(set []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.resolved = set
}

// roster resolves the join list to the nodes behind it. The same node under two addresses counts once.
func roster(answers []answer) (members []Peer, why string) {
	for _, a := range answers {
		if a.err != nil {
			return nil, fmt.Sprintf("no answer from %s: %v", a.address, a.err)
		}
		known := slices.ContainsFunc(members, func(m Peer) bool { return m.UUID == a.report.UUID })
		if known {
			continue
		}
		if twin := slices.IndexFunc(members, func(m Peer) bool { return m.Name == a.report.Name }); twin >= 0 {
			return nil, fmt.Sprintf("%s and %s both call themselves %q: give each node its own node.id", members[twin].Address, a.report.Address, a.report.Name)
		}
		members = append(members, a.report.Peer)
	}
	slices.SortFunc(members, func(a, b Peer) int { return strings.Compare(a.UUID, b.UUID) })
	return members, ""
}

func uuids(members []Peer) []string {
	var list []string
	for _, m := range members {
		list = append(list, m.UUID)
	}
	return list
}

func nameOf(members []Peer, uuid string) string {
	for _, m := range members {
		if m.UUID == uuid {
			return m.Name
		}
	}
	return uuid
}

// prepareAll has every member promise itself to the new cluster, on disk, before the first entry is written.
// A member that has promised can take entries of no other cluster, so no second one can come to a majority.
func (n *Node) prepareAll(ctx context.Context, own Identity, members []Peer, answers []answer) (why string, err error) {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	cluster := uuid.NewString()
	request := prepareRequest{Cluster: cluster, Members: members}
	for _, a := range answers {
		if a.report.UUID == own.UUID {
			continue
		}
		if err := n.postTo(ctx, a.report.target(), pathPrepare, request, nil); err != nil {
			return fmt.Sprintf("%s (%s) does not agree to start a cluster: %v", a.report.Name, a.address, err), nil
		}
	}
	return "", n.found(cluster, false, members)
}

// prepareRequest asks a node to promise itself to a cluster that is about to start.
type prepareRequest struct {
	Cluster string `json:"cluster"`
	Members []Peer `json:"members"`
}

func (n *Node) prepare(request prepareRequest) error {
	n.mu.Lock()
	resolved := n.resolved
	n.mu.Unlock()
	if own := n.dir.Identity(); own.Held {
		return fmt.Errorf("%w: node %s already belongs to cluster %s", ErrRefused, own.Name, own.Cluster)
	}
	if !slices.Equal(resolved, uuids(request.Members)) {
		return fmt.Errorf("%w: the members are not those of this node's cluster.join", ErrRefused)
	}
	if err := n.dir.promise(request.Cluster, false); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	n.stirUp()
	return nil
}

func (n *Node) stirUp() {
	select {
	case n.stir <- struct{}{}:
	default:
	}
}

// foreignDial remembers that members of another cluster take this node for one of theirs.
type foreignDial struct {
	at   time.Time
	from Peer
}

const foreignMemory = 30 * time.Second

func (n *Node) noteForeign(g greeting) {
	own := n.dir.Identity()
	if g.Stream != streamRaft || !own.Alone || len(n.opts.Join) > 0 || g.From.Cluster == own.Cluster {
		return
	}
	n.mu.Lock()
	fresh := time.Since(n.foreign.at) > foreignMemory
	n.foreign = foreignDial{time.Now(), g.From}
	n.mu.Unlock()
	if fresh {
		n.logger.Error("this node started alone, but members of another cluster look for one of theirs here", "peer", g.From.Name, "address", g.From.Address, "cluster", g.From.Cluster)
	}
}

// ForeignDialed is an error while members of another cluster dial this node, which started alone on a new
// disk, as one of theirs. Most likely its disk was lost and cluster.join is not configured: a write accepted
// here would be missing there.
func (n *Node) ForeignDialed() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.foreign.at.IsZero() || time.Since(n.foreign.at) > foreignMemory {
		return nil
	}
	from := n.foreign.from
	return fmt.Errorf("this node started alone, but %s (%s) of cluster %s takes it for a member: configure cluster.join, or remove the member there", from.Name, from.Address, from.Cluster)
}
