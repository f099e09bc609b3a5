package config

import (
	"fmt"
	"regexp"
	"time"

	promconfig "github.com/prometheus/common/config"
	"github.com/prometheus/prometheus/model/relabel"
)

// The two messages of remote write, under Prometheus' names for them.
const (
	MessageV1 = "prometheus.WriteRequest"
	MessageV2 = "io.prometheus.write.v2.Request"
)

// RemoteWrite is one destination.
type RemoteWrite struct {
	Name                string            `yaml:"name"`
	URL                 string            `yaml:"url"`
	ProtobufMessage     string            `yaml:"protobuf_message"` // MessageV1 or MessageV2
	RemoteTimeout       Duration          `yaml:"remote_timeout"`
	Headers             map[string]string `yaml:"headers,omitempty"`
	WriteRelabelConfigs []*relabel.Config `yaml:"write_relabel_configs,omitempty"`
	MaxBacklogBytes     Bytes             `yaml:"max_backlog_bytes"` // 0: only storage.max_bytes bounds it
	QueueConfig         QueueConfig       `yaml:"queue_config"`

	// HTTP holds basic_auth, authorization, oauth2, tls_config, proxy_url and their kin, inline in the file.
	HTTP promconfig.HTTPClientConfig `yaml:",inline"`

	// Positional is true where the destination was named by its position among `--remote-write.url` flags:
	// a new URL under such a name need not be the same endpoint.
	Positional bool `yaml:"-"`
}

// QueueConfig says how batches are sent.
type QueueConfig struct {
	MaxSamplesPerSend int      `yaml:"max_samples_per_send"`
	MaxBytesPerSend   Bytes    `yaml:"max_bytes_per_send"`
	MaxShards         int      `yaml:"max_shards"` // lanes: parallel only across series
	MinBackoff        Duration `yaml:"min_backoff"`
	MaxBackoff        Duration `yaml:"max_backoff"`
	SampleAgeLimit    Duration `yaml:"sample_age_limit"` // 0: no limit
}

// DefaultRemoteWrite is a destination that lacks only its name and URL.
func DefaultRemoteWrite() RemoteWrite {
	return RemoteWrite{
		ProtobufMessage: MessageV1,
		RemoteTimeout:   Duration(30 * time.Second),
		QueueConfig: QueueConfig{
			MaxSamplesPerSend: 10000,
			MaxBytesPerSend:   8 * MiB,
			MaxShards:         1,
			MinBackoff:        Duration(30 * time.Millisecond),
			MaxBackoff:        Duration(5 * time.Second),
		},
	}
}

func (r *RemoteWrite) setDefaults() { *r = DefaultRemoteWrite() }

// ignoredKeys are Prometheus' keys that cannot apply to a destination here.
func (r *RemoteWrite) ignoredKeys() []string {
	return []string{
		"send_exemplars", "send_native_histograms", "metadata_config", "round_robin_dns", "follow_redirects",
		"sigv4", "azuread", "google_iam",
	}
}

// ignoredKeys are Prometheus' keys of a queue in memory, which there is none of here.
func (q *QueueConfig) ignoredKeys() []string {
	return []string{"capacity", "min_shards", "batch_send_deadline", "retry_on_http_429"}
}

// positionalName is the name of the n-th `--remote-write.url`, counted from 0.
func positionalName(n int) string { return fmt.Sprintf("remote-%d", n) }

var positionalPattern = regexp.MustCompile(`^remote-[0-9]+$`)

// AddRemoteWrite adds a destination that is named by its position among those added so: remote-0, remote-1, ….
func (c *Config) AddRemoteWrite(url, origin string) {
	position := 0
	for _, r := range c.RemoteWrite {
		if r.Positional {
			position++
		}
	}
	r := DefaultRemoteWrite()
	r.Name, r.URL, r.Positional = positionalName(position), url, true
	c.note(fmt.Sprintf("remote_write[%d]", len(c.RemoteWrite)), origin)
	// A fresh slice: the caller's copy of a Config must not see its list grow.
	c.RemoteWrite = append(c.RemoteWrite[:len(c.RemoteWrite):len(c.RemoteWrite)], r)
}
