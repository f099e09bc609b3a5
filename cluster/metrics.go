package cluster

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	refused     *prometheus.CounterVec
	leaderships prometheus.Counter
	snapshots   *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer, n *Node) *metrics {
	if reg == nil {
		reg = prometheus.NewRegistry()
	}
	m := &metrics{
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "highlander_cluster_connections_refused_total",
			Help: "Connections to the cluster port that were refused, by reason: handshake (not understood), identity (meant for another node or cluster).",
		}, []string{"reason"}),
		leaderships: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "highlander_raft_leaderships_total",
			Help: "How often this node has become leader.",
		}),
		snapshots: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "highlander_raft_snapshots_taken_total",
			Help: "Snapshots of the state machine taken by this node, by outcome: taken, failed.",
		}, []string{"outcome"}),
	}
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	for _, reason := range []string{"handshake", "identity"} {
		m.refused.WithLabelValues(reason)
	}
	for _, outcome := range []string{"taken", "failed"} {
		m.snapshots.WithLabelValues(outcome)
	}
	reg.MustRegister(m.refused, m.leaderships, m.snapshots,
		gauge("highlander_raft_leader", "1 while this node leads the cluster, else 0.", func() float64 {
			if n.IsLeader() {
				return 1
			}
			return 0
		}),
		gauge("highlander_raft_term", "Current Raft term.", func() float64 { return float64(n.Stats().Term) }),
		gauge("highlander_raft_last_index", "Index of the last entry in this node's log.", func() float64 { return float64(n.Stats().LastIndex) }),
		gauge("highlander_raft_commit_index", "Index up to which this node knows entries to be committed.", func() float64 { return float64(n.Stats().CommitIndex) }),
		gauge("highlander_raft_applied_index", "Index up to which this node has applied entries.", func() float64 { return float64(n.Stats().AppliedIndex) }),
		gauge("highlander_raft_snapshot_base_index", "Index of the snapshot below which this node's log is given back; 0 without one.", func() float64 { return float64(n.Stats().BaseIndex) }),
		gauge("highlander_raft_snapshots", "Snapshots that this node keeps.", func() float64 { return float64(n.Stats().Snapshots) }),
		gauge("highlander_cluster_members", "Members of the cluster in this node's configuration.", func() float64 { return float64(len(n.servers())) }),
	)
	return m
}
