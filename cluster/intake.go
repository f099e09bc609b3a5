package cluster

import (
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// intake stands between the network and Raft and turns away entries that the log has no room for. Raft itself must
// never try: an append that fails ends the node (R5), and one that is rejected makes the leader walk back to a
// snapshot. An error in place of an answer makes it try the same entries again, less and less often, until there is
// room. Heartbeats and votes pass, so the node goes on to follow and to elect.
type intake struct {
	room  func([]*raft.Log) error // why there is none; nil: everything passes
	quiet func(error)             // tells of it

	in    <-chan raft.RPC
	out   chan raft.RPC
	ended chan struct{}
	busy  chan struct{} // closed when Raft has answered the last entries; nil if none were passed on
}

func newIntake(in <-chan raft.RPC, room func([]*raft.Log) error, quiet func(error)) *intake {
	return &intake{room: room, quiet: quiet, in: in, out: make(chan raft.RPC), ended: make(chan struct{})}
}

// noRoom tells the operator of entries that were turned away.
func (n *Node) noRoom(err error) {
	n.complain("the leader's entries are turned away until the disk has room", err)
}

// complain tells the operator once in a while.
func (n *Node) complain(message string, err error) {
	if write, skipped := n.quiet.allow(message, time.Now()); write {
		//nolint:sloglint // the messages are constants of this package
		n.logger.Warn(message, "err", err, "repeated", skipped)
	}
}

// mayLead says why this node does not ask for votes, and tells the operator.
func (n *Node) mayLead() error {
	err := n.opts.MayLead()
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrNoRoom, err)
		n.complain("this node does not stand for election until the disk has room", err)
	}
	return err
}

// run passes requests on until the intake is closed.
func (i *intake) run() {
	for {
		select {
		case rpc := <-i.in:
			if !i.pass(rpc) {
				return
			}
		case <-i.ended:
			return
		}
	}
}

func (i *intake) close() { close(i.ended) }

// pass passes one request on, or answers it. It returns false when the intake has been closed meanwhile.
func (i *intake) pass(rpc raft.RPC) bool {
	if request, ok := rpc.Command.(*raft.AppendEntriesRequest); ok && len(request.Entries) > 0 {
		if !i.idle() {
			return false
		}
		if err := i.room(request.Entries); err != nil {
			i.quiet(err)
			rpc.Respond(nil, err)
			return true
		}
		rpc.RespChan = i.watch(rpc.RespChan)
	}
	select {
	case i.out <- rpc:
		return true
	case <-i.ended:
		return false
	}
}

// idle waits until the entries passed on before are stored: room is what they have left.
func (i *intake) idle() bool {
	if i.busy == nil {
		return true
	}
	select {
	case <-i.busy:
		return true
	case <-i.ended:
		return false
	}
}

// watch notices Raft's answer on its way.
func (i *intake) watch(answer chan<- raft.RPCResponse) chan<- raft.RPCResponse {
	busy, relay := make(chan struct{}), make(chan raft.RPCResponse, 1)
	i.busy = busy
	go func() {
		defer close(busy)
		select {
		case response := <-relay:
			answer <- response // has room for one
		case <-i.ended:
		}
	}()
	return relay
}
