package server

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/hashicorp/raft"

	"github.com/highlander-io/highlander/egress"
	"github.com/highlander-io/highlander/ingest"
	"github.com/highlander-io/highlander/wal"
)

// ingestNode shows the cluster to ingest as ingest wants to see it.
type ingestNode struct{ *Server }

func (n ingestNode) IsLeader() bool { return n.node.IsLeader() }

func (n ingestNode) Propose(entry []byte, timeout time.Duration) ingest.Future {
	if err := n.spares(entry); err != nil {
		return turnedDown{err}
	}
	return n.node.Propose(entry, timeout)
}

func (n ingestNode) Confirm(ctx context.Context) error { return n.node.Confirm(ctx) }

func (n ingestNode) Leader() http.RoundTripper {
	leader, known := n.node.Leader()
	if !known || leader.UUID == n.identity.UUID {
		return nil
	}
	return n.node.RoundTripper(leader.UUID)
}

// Peers are the other members.
func (n ingestNode) Peers() []ingest.Peer {
	var peers []ingest.Peer
	for _, member := range n.node.Members() {
		if member.UUID != n.identity.UUID {
			peers = append(peers, ingest.Peer{
				Name: member.UUID, Voter: member.Voter, Reachable: member.Reachable, Via: n.node.RoundTripper(member.UUID),
			})
		}
	}
	return peers
}

// ingestLog opens readers of the log for fences.
type ingestLog struct{ log *wal.WAL }

func (l ingestLog) First() uint64 { return l.log.Info().FirstIndex }

func (l ingestLog) Reader(from uint64) ingest.LogReader { return ingestReader{l.log.Reader(from)} }

type ingestReader struct{ *wal.Reader }

func (r ingestReader) Next(limit uint64) (uint64, []byte, error) {
	entry, err := r.Reader.Next(limit)
	if errors.Is(err, wal.ErrReclaimed) {
		err = errors.Join(ingest.ErrReclaimed, err)
	}
	if entry.Type != raft.LogCommand {
		entry.Data = nil
	}
	return entry.Index, entry.Data, err
}

// Close implements ingest.LogReader.
func (r ingestReader) Close() error {
	r.Reader.Close()
	return nil
}

// egressNode shows the cluster to egress.
type egressNode struct{ *Server }

// egressTimeout bounds a proposal of egress: a cursor or a dead letter that waits longer is proposed again.
const egressTimeout = 5 * time.Second

func (n egressNode) Propose(ctx context.Context, entry []byte) (any, error) {
	if err := n.spares(entry); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, egressTimeout)
	defer cancel()
	response, _, err := n.node.Propose(entry, egressTimeout).Wait(ctx)
	return response, err
}

func (n egressNode) Lease() error { return n.node.Lease() }

// egressLog opens readers of the log for egress.
type egressLog struct{ log *wal.WAL }

func (l egressLog) Reader(from uint64) egress.Reader { return egressReader{l.log.Reader(from)} }

type egressReader struct{ *wal.Reader }

func (r egressReader) Next(limit uint64) (egress.Entry, error) {
	entry, err := r.Reader.Next(limit)
	if errors.Is(err, wal.ErrReclaimed) {
		err = errors.Join(egress.ErrReclaimed, err)
	}
	return egress.Entry{Index: entry.Index, Type: entry.Type, Data: entry.Data}, err
}

// Close implements egress.Reader.
func (r egressReader) Close() error {
	r.Reader.Close()
	return nil
}
