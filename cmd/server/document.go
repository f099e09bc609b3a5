package server

import "time"

// Document is the status of the cluster as one node sees it: what `GET /api/v1/status` and
// `highlander status --output json` answer. What only the leader knows comes from the leader; where it
// cannot be reached the document is marked stale.
type Document struct {
	Node         NodeStatus          `json:"node"`
	Cluster      ClusterStatus       `json:"cluster"`
	Groups       []GroupStatus       `json:"groups"`
	Destinations []DestinationStatus `json:"destinations"`
	Storage      StorageStatus       `json:"storage"`
	Warnings     []string            `json:"warnings,omitempty"`
	// Stale is true where the leader could not be asked, or could not make sure that it still is the leader: liveness of
	// sources and the state of destinations are then unknown, and what is replicated is as this node knows it: later
	// entries may be missing.
	Stale bool `json:"stale,omitempty"`
}

// NodeStatus is the node that answers.
type NodeStatus struct {
	ID         string `json:"id"`
	UUID       string `json:"uuid"`
	Role       string `json:"role"` // leader, follower, candidate
	Version    string `json:"version"`
	ConfigHash string `json:"config_hash"`
}

// ClusterStatus is the membership as this node knows it.
type ClusterStatus struct {
	UUID         string         `json:"uuid"`
	Leader       string         `json:"leader"`
	Term         uint64         `json:"term"`
	FeatureLevel uint64         `json:"feature_level"`
	Nodes        []MemberStatus `json:"nodes"`
}

// MemberStatus is one member of the cluster.
type MemberStatus struct {
	ID           string `json:"id"`
	UUID         string `json:"uuid"`
	Address      string `json:"address"`
	Voter        bool   `json:"voter"`
	Reachable    bool   `json:"reachable"`
	AppliedIndex uint64 `json:"applied_index"`
	Version      string `json:"version"`
	ConfigHash   string `json:"config_hash"`
	FreeBytes    int64  `json:"free_bytes"`
	Full         bool   `json:"full"`
}

// GroupStatus is one group with its sources and books.
type GroupStatus struct {
	Tenant      string         `json:"tenant"`
	Name        string         `json:"name"`
	Current     string         `json:"current"`
	Epoch       uint64         `json:"epoch"`
	Since       time.Time      `json:"since"`
	Pinned      bool           `json:"pinned"`
	PinnedTo    string         `json:"pinned_to,omitempty"`
	Promoted    string         `json:"promoted,omitempty"`
	WatermarkMS int64          `json:"watermark_ms"`
	Sources     []SourceStatus `json:"sources"`
	Samples     SampleBooks    `json:"samples"`
	Standby     StandbyBooks   `json:"standby"`
	History     []Change       `json:"history"`
}

// SourceStatus is one source of a group. Times are absent where nothing has been seen since this leader
// took over.
type SourceStatus struct {
	Name           string     `json:"name"`
	Weight         uint64     `json:"weight"`
	State          string     `json:"state"` // current, standby, silent
	LastSeen       *time.Time `json:"last_seen"`
	NewestSampleMS int64      `json:"newest_sample_ms"`
	Coverage       float64    `json:"coverage"`
	Received       uint64     `json:"received"`
	OutOfOrder     uint64     `json:"out_of_order"`
}

// SampleBooks balance: received = accepted + covered + duplicate + the sum of rejected.
type SampleBooks struct {
	Received  uint64            `json:"received"`
	Accepted  uint64            `json:"accepted"`
	Covered   uint64            `json:"covered"`
	Duplicate uint64            `json:"duplicate"`
	Rejected  map[string]uint64 `json:"rejected"`
}

// StandbyBooks balance in requests: requests = kept + discarded + used.
type StandbyBooks struct {
	Requests  uint64 `json:"requests"`
	Bytes     uint64 `json:"bytes"`
	Kept      int64  `json:"kept"`
	Discarded uint64 `json:"discarded"`
	Used      uint64 `json:"used"`
	KeptBytes int64  `json:"kept_bytes"`
}

// Change is one change of a group's current source.
type Change struct {
	At           time.Time `json:"at"`
	Epoch        uint64    `json:"epoch"`
	From         string    `json:"from"`
	To           string    `json:"to"`
	Reason       string    `json:"reason"`
	BoundaryMS   int64     `json:"boundary_ms"`
	KeptUsed     uint64    `json:"kept_used"`
	Fenced       uint64    `json:"fenced"`
	LargestGapMS int64     `json:"largest_gap_ms"`
}

// DestinationStatus is one destination with its cursor and books.
type DestinationStatus struct {
	Name    string           `json:"name"`
	URL     string           `json:"url"`
	State   string           `json:"state"` // up, retrying, held, paused
	Cursor  uint64           `json:"cursor"`
	Error   string           `json:"error"`
	Backlog Backlog          `json:"backlog"`
	Samples DestinationBooks `json:"samples"`
}

// Backlog is what a destination does not have yet.
type Backlog struct {
	Entries       uint64  `json:"entries"`
	Samples       uint64  `json:"samples"`
	Bytes         uint64  `json:"bytes"`
	OldestSeconds float64 `json:"oldest_seconds"`
}

// DestinationBooks balance:
// accepted = delivered + backlog.samples + dead_letter + relabel_dropped + the sum of dropped.
type DestinationBooks struct {
	Accepted       uint64            `json:"accepted"`
	Delivered      uint64            `json:"delivered"`
	Redelivered    uint64            `json:"redelivered"`
	DeadLetter     uint64            `json:"dead_letter"`
	RelabelDropped uint64            `json:"relabel_dropped"`
	Dropped        map[string]uint64 `json:"dropped"`
}

// StorageStatus is the disk of the node that answers.
type StorageStatus struct {
	FirstIndex uint64 `json:"first_index"`
	LastIndex  uint64 `json:"last_index"`
	WALBytes   int64  `json:"wal_bytes"`
	FreeBytes  int64  `json:"free_bytes"`
	Full       bool   `json:"full"`
}

// DeadLetter is one refused piece as `dead-letter list` shows it; Series is set by `dead-letter show` alone.
type DeadLetter struct {
	ID          string         `json:"id"`
	Destination string         `json:"destination"`
	Tenant      string         `json:"tenant"`
	Group       string         `json:"group"`
	Source      string         `json:"source"`
	Index       uint64         `json:"index"`
	At          time.Time      `json:"at"`
	Samples     uint64         `json:"samples"`
	Bytes       int            `json:"bytes"`
	Status      int            `json:"status"`
	Answer      string         `json:"answer"`
	Replaying   bool           `json:"replaying"`
	Series      []LetterSeries `json:"series,omitempty"`
}

// LetterSeries is one series of a dead letter.
type LetterSeries struct {
	Labels     map[string]string `json:"labels"`
	Samples    int               `json:"samples"`
	Histograms int               `json:"histograms"`
	OldestMS   int64             `json:"oldest_ms"`
	NewestMS   int64             `json:"newest_ms"`
}
