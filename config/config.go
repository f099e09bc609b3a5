package config

import (
	"time"

	"github.com/prometheus/common/model"
)

// Duration is written as Prometheus writes it: 500ms, 15s, 1m, 1d.
type Duration = model.Duration

// Config is the configuration of one node. Sections and keys are those of the file.
type Config struct {
	Node        Node          `yaml:"node"`
	Storage     Storage       `yaml:"storage"`
	Web         Web           `yaml:"web"`
	Cluster     Cluster       `yaml:"cluster"`
	Sources     Sources       `yaml:"sources"`
	Handover    Handover      `yaml:"handover"`
	RemoteWrite []RemoteWrite `yaml:"remote_write"`

	// origins says where values came from, for errors. It is replaced, never changed, so that copies of a
	// Config do not share it.
	origins origins
}

// Node names this node.
type Node struct {
	ID string `yaml:"id"` // empty: the name kept in the data directory, else the host name
}

// Storage is the data directory and its limits.
type Storage struct {
	Path               string `yaml:"path"`
	MaxBytes           Bytes  `yaml:"max_bytes"`             // of the log, on the fullest node
	MinFreeBytes       Bytes  `yaml:"min_free_bytes"`        // what writes leave free on the disk
	WhenFull           string `yaml:"when_full"`             // Reject or DropOldest
	DeadLetterMaxBytes Bytes  `yaml:"dead_letter_max_bytes"` // beyond it a destination holds
}

// What happens to writes when the log is full.
const (
	Reject     = "reject"      // 503: the sources' own logs hold
	DropOldest = "drop_oldest" // the lagging destination's oldest batches, counted
)

// Web is the port that sources write to.
type Web struct {
	ListenAddress   string `yaml:"listen_address"`
	ConfigFile      string `yaml:"config_file"` // Prometheus' web configuration: TLS, basic auth
	MaxBodyBytes    Bytes  `yaml:"max_body_bytes"`
	EnableLifecycle bool   `yaml:"enable_lifecycle"`
}

// Cluster is the port that members speak over.
type Cluster struct {
	BindAddress      string   `yaml:"bind_address"`
	AdvertiseAddress string   `yaml:"advertise_address"` // empty: the bind address
	Join             []string `yaml:"join"`              // the same list on every node
	TLS              TLS      `yaml:"tls"`
	Insecure         bool     `yaml:"insecure"` // allows a public bind address without TLS
}

// TLS names the files of the cluster port's mutual TLS: all three, or none.
type TLS struct {
	CAFile   string `yaml:"ca_file"`
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
}

// Sources says how sources are identified and elected.
type Sources struct {
	Labels          []LabelPair `yaml:"labels"`
	DefaultGroup    string      `yaml:"default_group"`
	Unidentified    string      `yaml:"unidentified"`   // UnidentifiedElect, UnidentifiedPass or UnidentifiedReject
	RequestWeight   string      `yaml:"request_weight"` // WeightAccept or WeightIgnore
	FailoverTimeout Duration    `yaml:"failover_timeout"`
	PreemptAfter    Duration    `yaml:"preempt_after"`
	MaxLag          Duration    `yaml:"max_lag"`
	MinCoverage     float64     `yaml:"min_coverage"` // 0: a current source is not replaced for what it lacks
	ForgetAfter     Duration    `yaml:"forget_after"`
}

// LabelPair names a series' group and source. The replica label is removed, the group label stays.
type LabelPair struct {
	Group   string `yaml:"group"`
	Replica string `yaml:"replica"`
}

// What becomes of a write that names no source.
const (
	UnidentifiedElect  = "elect"  // the client's host is its source
	UnidentifiedPass   = "pass"   // accepted without election
	UnidentifiedReject = "reject" // 400
)

// What a weight in a request is worth.
const (
	WeightAccept = "accept"
	WeightIgnore = "ignore"
)

// Handover bounds what is kept of standbys and how the move from one source to the next is made.
type Handover struct {
	WindowBytes    Bytes    `yaml:"window_bytes"`
	Margin         Duration `yaml:"margin"` // more than the longest scrape interval
	ClockSkewGuard Duration `yaml:"clock_skew_guard"`
}

// Default is the configuration without a file, flags or environment: a working standalone node that only
// lacks a destination.
func Default() Config {
	return Config{
		Storage: Storage{
			Path:               "./data",
			MaxBytes:           20 * GiB,
			MinFreeBytes:       1 * GiB,
			WhenFull:           Reject,
			DeadLetterMaxBytes: 16 * MiB,
		},
		Web: Web{
			ListenAddress: ":6745",
			MaxBodyBytes:  32 * MiB,
		},
		Cluster: Cluster{
			BindAddress: "127.0.0.1:6746",
		},
		Sources: Sources{
			Labels: []LabelPair{
				{Group: "cluster", Replica: "__replica__"},
				{Group: "prometheus", Replica: "prometheus_replica"},
			},
			DefaultGroup:    "default",
			Unidentified:    UnidentifiedElect,
			RequestWeight:   WeightAccept,
			FailoverTimeout: Duration(15 * time.Second),
			PreemptAfter:    Duration(10 * time.Second),
			MaxLag:          Duration(time.Minute),
			ForgetAfter:     Duration(time.Hour),
		},
		Handover: Handover{
			WindowBytes:    256 * MiB,
			Margin:         Duration(90 * time.Second),
			ClockSkewGuard: Duration(500 * time.Millisecond),
		},
	}
}
