package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Hash tells whether two nodes would decide alike. It covers the keys that decide (not those of one node
// alone) where they differ from the defaults, and no secret.
func (c *Config) Hash() string {
	defaults := Default()
	var lines []string
	for _, s := range settings {
		if got := s.get(c); !s.Local && got != s.get(&defaults) {
			lines = append(lines, line(s.Key, got))
		}
	}
	if !slices.Equal(c.Sources.Labels, defaults.Sources.Labels) {
		for _, pair := range c.Sources.Labels {
			lines = append(lines, line("sources.labels", pair.Group, pair.Replica))
		}
		lines = append(lines, line("sources.labels.count", fmt.Sprint(len(c.Sources.Labels))))
	}
	// Neither the order of destinations nor that of a list of flags decides anything.
	destinations := make([]string, len(c.RemoteWrite))
	for i := range c.RemoteWrite {
		destinations[i] = c.RemoteWrite[i].decisive()
	}
	slices.Sort(destinations)
	sum := sha256.Sum256([]byte(strings.Join(append(lines, destinations...), "\n")))
	return hex.EncodeToString(sum[:8])
}

// line quotes, so that no value can pretend to be two.
func line(parts ...string) string { return fmt.Sprintf("%q", parts) }

// decisive is what a destination has to do with decisions: where samples go, which, and how.
func (r RemoteWrite) decisive() string {
	d := DefaultRemoteWrite()
	m := r.masked()
	parts := []string{"name", r.Name, "url", m.URL}
	add := func(key string, got, byDefault any) {
		if got != byDefault {
			parts = append(parts, key, fmt.Sprint(got))
		}
	}
	add("protobuf_message", r.ProtobufMessage, d.ProtobufMessage)
	add("remote_timeout", r.RemoteTimeout, d.RemoteTimeout)
	add("max_backlog_bytes", r.MaxBacklogBytes, d.MaxBacklogBytes)
	add("queue.max_samples_per_send", r.QueueConfig.MaxSamplesPerSend, d.QueueConfig.MaxSamplesPerSend)
	add("queue.max_bytes_per_send", r.QueueConfig.MaxBytesPerSend, d.QueueConfig.MaxBytesPerSend)
	add("queue.max_shards", r.QueueConfig.MaxShards, d.QueueConfig.MaxShards)
	add("queue.min_backoff", r.QueueConfig.MinBackoff, d.QueueConfig.MinBackoff)
	add("queue.max_backoff", r.QueueConfig.MaxBackoff, d.QueueConfig.MaxBackoff)
	add("queue.sample_age_limit", r.QueueConfig.SampleAgeLimit, d.QueueConfig.SampleAgeLimit)
	add("auth", r.authKind(), "")
	for _, name := range slices.Sorted(maps.Keys(m.Headers)) {
		parts = append(parts, "header", name, m.Headers[name])
	}
	for _, rule := range r.WriteRelabelConfigs {
		text, err := yaml.Marshal(rule)
		if err != nil {
			panic(fmt.Sprintf("BUG: config: marshal a relabelling rule: %v", err))
		}
		parts = append(parts, "relabel", string(text))
	}
	return line(parts...)
}

// authKind is how a destination is authenticated to, without what with: files lie elsewhere on each node.
func (r RemoteWrite) authKind() string {
	switch {
	case r.HTTP.BasicAuth != nil:
		return "basic_auth " + r.HTTP.BasicAuth.Username
	case r.HTTP.Authorization != nil:
		return "authorization " + r.HTTP.Authorization.Type
	case r.HTTP.OAuth2 != nil:
		return "oauth2 " + r.HTTP.OAuth2.ClientID
	default:
		return ""
	}
}
