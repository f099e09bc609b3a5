package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// membersMax bounds a cluster. More nodes make writes slower and nothing safer.
const membersMax = 9

type changeOp string

const (
	opJoin     changeOp = "join"
	opRemove   changeOp = "remove"
	opTransfer changeOp = "transfer"
)

// changeRequest asks the leader for a change of members. Any member takes it and passes it on once.
type changeRequest struct {
	Op        changeOp `json:"op"`
	Peer      Peer     `json:"peer,omitzero"`       // join: who
	Rehearse  bool     `json:"rehearse,omitempty"`  // join: would it be admitted?
	Node      string   `json:"node,omitempty"`      // remove, transfer: name or UUID
	Leaving   bool     `json:"leaving,omitempty"`   // remove: at the node's own wish
	Force     bool     `json:"force,omitempty"`     // remove: whatever it costs
	Forwarded bool     `json:"forwarded,omitempty"` // by a member
}

// errElsewhere means that this node cannot execute a change, but another can, or this one can later.
var errElsewhere = fmt.Errorf("%w for this change", ErrNotLeader)

const changeRetry = 100 * time.Millisecond

// requestChange brings a change to the leader, whoever and wherever it is, until it answers or ctx ends.
func (n *Node) requestChange(ctx context.Context, request changeRequest) error {
	return n.insist(ctx, func() error { return n.passOn(ctx, request) })
}

// insist tries again until an attempt succeeds, is refused for good, or ctx ends.
func (n *Node) insist(ctx context.Context, attempt func() error) error {
	for {
		err := attempt()
		if err == nil || errors.Is(err, ErrRefused) || errors.Is(err, ErrUnknownNode) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", err, context.Cause(ctx))
		case <-n.done:
			return fmt.Errorf("%w: %w", err, ErrStopped)
		case <-time.After(changeRetry):
		}
	}
}

func (n *Node) passOn(ctx context.Context, request changeRequest) error {
	if n.IsLeader() {
		return n.execute(ctx, request)
	}
	if leader, ok := n.Leader(); !ok || leader.UUID == n.UUID() {
		return errors.New("the cluster has no leader")
	}
	request.Forwarded = true
	return exchange(ctx, n.RoundTripper(LeaderHost), "POST", LeaderHost, pathChange, request, nil)
}

func (n *Node) serveChange(ctx context.Context, request changeRequest) error {
	if request.Forwarded {
		return n.execute(ctx, request)
	}
	return n.passOn(ctx, request)
}

// execute makes a change on the leader. Changes are made one at a time, each from the configuration it finds.
func (n *Node) execute(ctx context.Context, request changeRequest) error {
	select {
	case n.changes <- struct{}{}:
		defer func() { <-n.changes }()
	case <-ctx.Done():
		return fmt.Errorf("another change of members is under way: %w", context.Cause(ctx))
	}
	inst := n.current.Load()
	if inst == nil || !n.IsLeader() {
		return errElsewhere
	}
	if request.Op != opTransfer {
		if err := n.mayLead(); err != nil {
			return err
		}
	}
	switch request.Op {
	case opJoin:
		return n.admit(ctx, inst, request)
	case opRemove:
		return n.expel(ctx, inst, request)
	case opTransfer:
		return n.transfer(ctx, inst, request.Node)
	}
	return fmt.Errorf("%w: unknown change %q", ErrRefused, request.Op)
}

// admit adds a node without a vote. It gets its vote, and a lost node of the same name loses its place, when
// it has caught up: see tend.
func (n *Node) admit(ctx context.Context, inst *instance, request changeRequest) error {
	peer := request.Peer
	if err := errors.Join(checkName(peer.Name), checkUUID(peer.UUID), checkAddress("address", peer.Address)); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	servers := n.servers()
	if _, ok := findServer(servers, peer.UUID); ok {
		return nil
	}
	for _, server := range servers {
		if name, uuid := splitServerID(server.ID); name == peer.Name && n.answers(ctx, uuid) {
			return fmt.Errorf("%w: the name %q is that of a node that is alive (uuid %s, %s): give this one another node.id", ErrRefused, name, uuid, memberOf(server).Address)
		}
	}
	if len(servers) >= membersMax {
		return fmt.Errorf("%w: the cluster has %d members already", ErrRefused, len(servers))
	}
	if request.Rehearse {
		return nil
	}
	n.logger.Info("a node joins", "name", peer.Name, "uuid", peer.UUID, "address", peer.Address)
	address := target{UUID: peer.UUID, Cluster: inst.own.Cluster, HostPort: peer.Address}.address()
	return await(ctx, inst.raft.AddNonvoter(serverID(peer.Name, peer.UUID), address, 0, changeTimeout))
}

// answers reports whether the node with that UUID is alive, wherever it may be.
func (n *Node) answers(ctx context.Context, uuid string) bool {
	if uuid == n.UUID() {
		return true
	}
	t, ok := n.locate(uuid)
	if !ok {
		return false
	}
	var probes sync.WaitGroup
	var alive atomic.Bool
	for _, address := range n.port.candidates(t) {
		probes.Go(func() {
			if _, err := n.port.helloTo(ctx, address, uuid); err == nil {
				alive.Store(true)
			}
		})
	}
	probes.Wait()
	return alive.Load()
}

func findServer(servers []raft.Server, uuid string) (raft.Server, bool) {
	i := slices.IndexFunc(servers, func(s raft.Server) bool { _, id := splitServerID(s.ID); return id == uuid })
	if i < 0 {
		return raft.Server{}, false
	}
	return servers[i], true
}

// pick finds the one member that nameOrUUID means.
func pick(servers []raft.Server, nameOrUUID string) (raft.Server, error) {
	var found, all []string
	var match raft.Server
	for _, server := range servers {
		name, uuid := splitServerID(server.ID)
		if name == nameOrUUID || uuid == nameOrUUID {
			found = append(found, uuid)
			match = server
		}
		all = append(all, name)
	}
	slices.Sort(all)
	switch len(found) {
	case 1:
		return match, nil
	case 0:
		return match, fmt.Errorf("%w: %q; the nodes are %s", ErrUnknownNode, nameOrUUID, strings.Join(all, ", "))
	}
	return match, fmt.Errorf("%w: %d nodes are called %q; say which by UUID: %s", ErrRefused, len(found), nameOrUUID, strings.Join(found, ", "))
}

// expel removes a member. The leader first hands leadership over and leaves it to its successor.
func (n *Node) expel(ctx context.Context, inst *instance, request changeRequest) error {
	servers := n.servers()
	server, err := pick(servers, request.Node)
	if request.Leaving && errors.Is(err, ErrUnknownNode) {
		return nil // removed by an earlier attempt whose answer was lost
	}
	if err != nil {
		return err
	}
	name, uuid := splitServerID(server.ID)
	switch {
	case server.Suffrage == raft.Voter && len(n.voters()) == 1:
		return fmt.Errorf("%w: %s is the only node that votes; a cluster needs one", ErrRefused, name)
	case uuid == inst.own.UUID && !request.Leaving && !request.Force:
		return fmt.Errorf("%w: %s is alive: run leave on it, or force its removal", ErrRefused, name)
	case uuid == inst.own.UUID:
		if err := n.handOver(ctx); err != nil {
			return err
		}
		return errElsewhere
	}
	if !request.Force {
		if err := n.mayRemove(ctx, server, request.Leaving); err != nil {
			return err
		}
	}
	n.logger.Info("removing a node", "name", name, "uuid", uuid)
	return await(ctx, inst.raft.RemoveServer(server.ID, 0, changeTimeout))
}

// mayRemove refuses what would cost more than the node.
func (n *Node) mayRemove(ctx context.Context, server raft.Server, leaving bool) error {
	name, uuid := splitServerID(server.ID)
	if !leaving && n.answers(ctx, uuid) {
		return fmt.Errorf("%w: %s is alive: run leave on it, or force its removal", ErrRefused, name)
	}
	if server.Suffrage != raft.Voter {
		return nil
	}
	alive, rest := 0, 0
	for _, voter := range n.voters() {
		if _, id := splitServerID(voter.ID); id != uuid {
			rest++
			if n.answers(ctx, id) {
				alive++
			}
		}
	}
	if alive < rest/2+1 {
		return fmt.Errorf("%w: without %s, %d of the %d nodes left would answer, which is no majority", ErrRefused, name, alive, rest)
	}
	return nil
}

func (n *Node) transfer(ctx context.Context, inst *instance, name string) error {
	if name == "" {
		if len(n.voters()) < 2 {
			return fmt.Errorf("%w: there is no other node to lead", ErrRefused)
		}
		return n.handOver(ctx)
	}
	server, err := pick(n.servers(), name)
	switch {
	case err != nil:
		return err
	case server.ID == serverID(inst.own.Name, inst.own.UUID):
		return nil // it leads already
	case server.Suffrage != raft.Voter:
		return fmt.Errorf("%w: %s has no vote yet", ErrRefused, name)
	}
	return n.handOverTo(ctx, &server)
}

// tend is the leader's housekeeping of members. What to do follows from the configuration and the last poll
// alone, so a new leader goes on where its predecessor stopped.
func (i *instance) tend(ctx context.Context) {
	warned := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(i.node.opts.seams.pollInterval / 5):
		}
		if err := i.tendOnce(ctx); err != nil && ctx.Err() == nil {
			i.node.logger.Warn("a change of members failed", "err", err)
		}
		if len(i.node.servers()) > 1 {
			warned = i.accompanied(warned)
		}
	}
}

// accompanied notes that a node which started alone has company now.
func (i *instance) accompanied(warned bool) bool {
	if i.node.dir.Identity().Alone {
		if err := i.node.dir.markAccompanied(); err != nil {
			i.node.logger.Warn("cannot mark the data directory", "err", err)
		}
	}
	if len(i.node.opts.Join) == 0 && !warned {
		i.node.logger.Warn("cluster.join is not configured on a member of a cluster: were its disk lost, this node could not be replaced automatically")
	}
	return true
}

func (i *instance) tendOnce(ctx context.Context) error {
	n := i.node
	select {
	case n.changes <- struct{}{}:
		defer func() { <-n.changes }()
	case <-ctx.Done():
		return nil
	}
	servers := n.servers()
	for _, server := range servers {
		change, what := i.due(servers, server)
		if change == nil {
			continue
		}
		if n.mayLead() != nil {
			return nil // it is told, and tried again
		}
		n.logger.Info("changing the members", "change", what, "name", memberOf(server).Name, "uuid", memberOf(server).UUID)
		return await(ctx, change())
	}
	return nil
}

// due says what is to be done about one member, if anything.
func (i *instance) due(servers []raft.Server, server raft.Server) (change func() raft.IndexFuture, what string) {
	name, uuid := splitServerID(server.ID)
	_, self := splitServerID(serverID(i.own.Name, i.own.UUID))
	address := i.node.view.address(uuid)
	if uuid == self {
		address = i.node.port.advertise
	}
	actual := target{UUID: uuid, Cluster: i.own.Cluster, HostPort: address}.address()
	switch {
	case uuid != self && superseded(servers, server):
		return func() raft.IndexFuture { return i.raft.RemoveServer(server.ID, 0, changeTimeout) }, "removing a node that was replaced"
	case address != "" && actual != server.Address && server.Suffrage == raft.Voter:
		return func() raft.IndexFuture { return i.raft.AddVoter(server.ID, actual, 0, changeTimeout) }, "a node has moved"
	case address != "" && actual != server.Address:
		return func() raft.IndexFuture { return i.raft.AddNonvoter(server.ID, actual, 0, changeTimeout) }, "a node has moved"
	case server.Suffrage != raft.Voter && i.node.view.caughtUp(uuid):
		return func() raft.IndexFuture { return i.raft.AddVoter(server.ID, server.Address, 0, changeTimeout) }, "a node has caught up and gets a vote: " + name
	}
	return nil, ""
}

// superseded reports whether a later identity of the same name makes this one unnecessary: any, if this one
// has no vote; one that has caught up, hence votes, if this one has.
func superseded(servers []raft.Server, old raft.Server) bool {
	name, _ := splitServerID(old.ID)
	later := false
	for _, server := range servers {
		other, _ := splitServerID(server.ID)
		switch {
		case server.ID == old.ID:
			later = true
		case later && other == name && (server.Suffrage == raft.Voter || old.Suffrage != raft.Voter):
			return true
		}
	}
	return false
}

// Join makes a node that is a cluster of its own, and holds no batches, a member of the cluster that the node
// at address belongs to. It returns when this node has a vote there. If ctx ends before, joining goes on.
func (n *Node) Join(ctx context.Context, address string) error {
	via, err := n.examineJoin(ctx, address)
	if err != nil {
		return err
	}
	inst := n.current.Load()
	if inst == nil {
		return fmt.Errorf("%w: this node is not ready; try again", ErrRefused)
	}
	n.logger.Info("leaving the cluster of one to join another", "address", address, "cluster", via.Cluster)
	if err := n.dir.Reset([]string{via.Address, address}); err != nil {
		return err
	}
	inst.cancel(errAgain)
	return n.awaitVote(ctx, via.Cluster)
}

func (n *Node) examineJoin(ctx context.Context, address string) (*Report, error) {
	refuse := func(format string, args ...any) (*Report, error) {
		return nil, fmt.Errorf("%w: "+format, append([]any{ErrRefused}, args...)...)
	}
	own := n.dir.Identity()
	via, err := n.port.hello(ctx, address)
	switch members := n.servers(); {
	case err != nil:
		return refuse("no node answers at %s: %w", address, err)
	case via.UUID == own.UUID:
		return refuse("%s is this node itself", address)
	case own.Cluster != "" && via.Cluster == own.Cluster:
		return refuse("this node already belongs to the cluster of %s", via.Name)
	case !via.Held || via.Cluster == "":
		return refuse("%s (%s) belongs to no cluster yet", via.Name, address)
	case len(members) > 1:
		return refuse("this node belongs to a cluster of %d; leave it first", len(members))
	case n.opts.HoldsBatches():
		return refuse("this node holds batches that would be lost; let it deliver them, then stop it, empty its directory and start it with cluster.join")
	}
	request := changeRequest{Op: opJoin, Rehearse: true, Peer: Peer{Name: own.Name, UUID: own.UUID, Address: n.port.advertise}}
	return via, n.insist(ctx, func() error { return n.postTo(ctx, via.target(), pathChange, request, nil) })
}

// awaitVote waits until this node is a voter of that cluster.
func (n *Node) awaitVote(ctx context.Context, cluster string) error {
	for {
		own := n.dir.Identity()
		server, ok := findServer(n.servers(), own.UUID)
		if own.Cluster == cluster && ok && server.Suffrage == raft.Voter {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("joining goes on: %w", context.Cause(ctx))
		case <-n.done:
			return ErrStopped
		case <-time.After(changeRetry):
		}
	}
}

// Leave takes this node out of its cluster for good and ends Run. A leader hands leadership over first.
func (n *Node) Leave(ctx context.Context) error {
	n.leaving.Store(true)
	if err := n.requestChange(ctx, changeRequest{Op: opRemove, Node: n.UUID(), Leaving: true}); err != nil {
		n.leaving.Store(false)
		return err
	}
	if err := n.dir.markLeft(); err != nil {
		return err
	}
	n.logger.Info("this node has left its cluster")
	n.finish(ErrLeft)
	return nil
}

// Remove takes a lost member out of the cluster. With force, whatever it costs.
func (n *Node) Remove(ctx context.Context, nameOrUUID string, force bool) error {
	return n.requestChange(ctx, changeRequest{Op: opRemove, Node: nameOrUUID, Force: force})
}

// TransferLeadership makes the named member leader; any other than the present one if name is empty.
func (n *Node) TransferLeadership(ctx context.Context, name string) error {
	return n.requestChange(ctx, changeRequest{Op: opTransfer, Node: name})
}
