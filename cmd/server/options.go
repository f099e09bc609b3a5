package server

import (
	"fmt"
	"time"

	"github.com/highlander-io/highlander/config"
	"github.com/highlander-io/highlander/egress"
	"github.com/highlander-io/highlander/fsm"
	"github.com/highlander-io/highlander/fsm/wire"
	"github.com/highlander-io/highlander/ingest"
)

const (
	snapshotBytesMax = 128 << 20
	segmentBytesMax  = 64 << 20
	segmentBytesMin  = 1 << 20
)

// segmentBytes and snapshotBytes keep what the log holds beyond the backlog small against storage.max_bytes.
func segmentBytes(storage config.Storage) int64 {
	return min(segmentBytesMax, max(segmentBytesMin, int64(storage.MaxBytes)/64))
}

func snapshotBytes(storage config.Storage) int64 {
	return min(snapshotBytesMax, max(2*segmentBytesMin, int64(storage.MaxBytes)/32))
}

func handoverWindowBytes(c *config.Config) int64 {
	return min(int64(c.Handover.WindowBytes), max(segmentBytesMin, int64(c.Storage.MaxBytes)/8))
}

// logMargin is for how long the log keeps entries for handovers: a silence lasts up to twice the margin before it is called
// one, and what was delivered in the margin before it must still be there then.
func logMargin(c *config.Config) time.Duration {
	return min(3*time.Duration(c.Handover.Margin)+time.Duration(c.Sources.FailoverTimeout), fsm.MarginMax)
}

func ingestOptions(c *config.Config) ingest.Options {
	pairs := make([]wire.Pair, len(c.Sources.Labels))
	for i, pair := range c.Sources.Labels {
		pairs[i] = wire.Pair{Group: pair.Group, Replica: pair.Replica}
	}
	return ingest.Options{
		Pairs:         pairs,
		DefaultGroup:  c.Sources.DefaultGroup,
		Unidentified:  c.Sources.Unidentified,
		RequestWeight: c.Sources.RequestWeight == config.WeightAccept,
		Policy: fsm.Policy{
			FailoverTimeout: time.Duration(c.Sources.FailoverTimeout),
			PreemptAfter:    time.Duration(c.Sources.PreemptAfter),
			MaxLag:          time.Duration(c.Sources.MaxLag),
			MinCoverage:     c.Sources.MinCoverage,
		},
		Margin:         time.Duration(c.Handover.Margin),
		ClockSkewGuard: time.Duration(c.Handover.ClockSkewGuard),
		WindowBytes:    int64(c.Handover.WindowBytes),
		ForgetAfter:    time.Duration(c.Sources.ForgetAfter),
		MaxBodyBytes:   int64(c.Web.MaxBodyBytes),
	}
}

func destinations(c *config.Config) []egress.Destination {
	list := make([]egress.Destination, len(c.RemoteWrite))
	for i := range c.RemoteWrite {
		list[i] = destination(&c.RemoteWrite[i])
	}
	return list
}

func destination(r *config.RemoteWrite) egress.Destination {
	protocol := wire.V1
	if r.ProtobufMessage == config.MessageV2 {
		protocol = wire.V2
	}
	return egress.Destination{
		Name:            r.Name,
		URL:             r.URL,
		PublicURL:       config.RedactURL(r.URL),
		Protocol:        protocol,
		RemoteTimeout:   time.Duration(r.RemoteTimeout),
		Headers:         r.Headers,
		HTTP:            r.HTTP,
		Relabel:         r.WriteRelabelConfigs,
		MaxBacklogBytes: int64(r.MaxBacklogBytes),
		Queue: egress.Queue{
			MaxSamplesPerSend: r.QueueConfig.MaxSamplesPerSend,
			MaxBytesPerSend:   int64(r.QueueConfig.MaxBytesPerSend),
			MaxShards:         r.QueueConfig.MaxShards,
			MinBackoff:        time.Duration(r.QueueConfig.MinBackoff),
			MaxBackoff:        time.Duration(r.QueueConfig.MaxBackoff),
			SampleAgeLimit:    time.Duration(r.QueueConfig.SampleAgeLimit),
		},
	}
}

// runnable is what of the next configuration a running node can put into force. What it was opened with stays, and must be
// seen nowhere else either: the size of a segment is that of the log, and handovers look no further back than it keeps entries.
func runnable(now *config.Config, next config.Config) config.Config {
	whenFull, bodyMax, join := next.Storage.WhenFull, next.Web.MaxBodyBytes, next.Cluster.Join // join is for the next disk
	next.Node, next.Storage, next.Web, next.Cluster, next.Handover = now.Node, now.Storage, now.Web, now.Cluster, now.Handover
	next.Storage.WhenFull, next.Web.MaxBodyBytes, next.Cluster.Join = whenFull, bodyMax, join
	return next
}

// fixedKeys are the sections in which a running node differs from what its file says.
func fixedKeys(old, next *config.Config) []string {
	var changed []string
	note := func(key string, differs bool) {
		if differs {
			changed = append(changed, key)
		}
	}
	note("node", old.Node != next.Node)
	note("storage", old.Storage != next.Storage)
	note("web", old.Web != next.Web)
	note("cluster", fmt.Sprint(old.Cluster) != fmt.Sprint(next.Cluster))
	note("handover", old.Handover != next.Handover)
	return changed
}
