package harness

import "time"

// Status is the document of GET /api/v1/status as far as tests read it.
type Status struct {
	Node struct {
		ID, UUID, Role, Version string
	}
	Cluster struct {
		UUID   string
		Leader string
		Term   uint64
		Nodes  []Member
		// FeatureLevel is what the members have agreed on.
		FeatureLevel uint64 `json:"feature_level"`
	}
	Groups       []Group
	Destinations []Destination
	Storage      struct {
		FirstIndex uint64 `json:"first_index"`
		LastIndex  uint64 `json:"last_index"`
		WALBytes   int64  `json:"wal_bytes"`
		Full       bool
	}
	Warnings []string
	Stale    bool
}

// Member is one node of the cluster.
type Member struct {
	ID, UUID, Address string
	Voter, Reachable  bool
	AppliedIndex      uint64 `json:"applied_index"`
	ConfigHash        string `json:"config_hash"`
}

// Group is one group of sources.
type Group struct {
	Tenant, Name, Current string
	Epoch                 uint64
	Since                 time.Time
	Pinned                bool
	PinnedTo              string `json:"pinned_to"`
	Promoted              string
	WatermarkMS           int64 `json:"watermark_ms"`
	Sources               []struct {
		Name, State string
		Weight      uint64
	}
	Samples struct {
		Received, Accepted, Covered, Duplicate uint64
		Rejected                               map[string]uint64
	}
	Standby struct {
		Requests, Discarded, Used uint64
		Kept                      int64
	}
	History []struct {
		Epoch            uint64
		From, To, Reason string
	}
}

// Destination is one remote-write endpoint.
type Destination struct {
	Name, URL, State, Error string
	Cursor                  uint64
	Backlog                 struct {
		Entries, Samples, Bytes uint64
	}
	Samples struct {
		Accepted, Delivered, Redelivered uint64
		DeadLetter                       uint64 `json:"dead_letter"`
		RelabelDropped                   uint64 `json:"relabel_dropped"`
		Dropped                          map[string]uint64
	}
}

// Group returns the group of a name without a tenant.
func (s Status) Group(name string) (Group, bool) {
	for _, g := range s.Groups {
		if g.Name == name && g.Tenant == "" {
			return g, true
		}
	}
	return Group{}, false
}

// Destination returns the destination of a name.
func (s Status) Destination(name string) (Destination, bool) {
	for _, d := range s.Destinations {
		if d.Name == name {
			return d, true
		}
	}
	return Destination{}, false
}

// Voters counts the members that vote.
func (s Status) Voters() int {
	n := 0
	for _, m := range s.Cluster.Nodes {
		if m.Voter {
			n++
		}
	}
	return n
}

// Difference is what is missing in the books of a group: zero when they balance.
func (g Group) Difference() int64 {
	sum := g.Samples.Accepted + g.Samples.Covered + g.Samples.Duplicate
	for _, n := range g.Samples.Rejected {
		sum += n
	}
	return int64(g.Samples.Received) - int64(sum)
}

// Difference is what is missing in the books of a destination: zero when they balance.
func (d Destination) Difference() int64 {
	sum := d.Samples.Delivered + d.Backlog.Samples + d.Samples.DeadLetter + d.Samples.RelabelDropped
	for _, n := range d.Samples.Dropped {
		sum += n
	}
	return int64(d.Samples.Accepted) - int64(sum)
}
