package server

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/highlander-io/highlander/egress"
	"github.com/highlander-io/highlander/ingest"
	"github.com/highlander-io/highlander/wal"
)

// ingestNode shows the cluster to ingest as ingest wants to see it.
type ingestNode struct{ *Server }

func (n ingestNode) IsLeader() bool { return n.node.IsLeader() }

func (n ingestNode) Propose(entry []byte, timeout time.Duration) ingest.Future {
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

// egressNode shows the cluster to egress.
type egressNode struct{ *Server }

// egressTimeout bounds a proposal of egress: a cursor or a dead letter that waits longer is proposed again.
const egressTimeout = 5 * time.Second

func (n egressNode) Propose(ctx context.Context, entry []byte) (any, error) {
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
