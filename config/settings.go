package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/common/model"
)

// Setting describes one key that can be set alone: in the file, by a flag of `run`, by an environment variable.
type Setting struct {
	Key   string // as in the file: cluster.bind_address
	Usage string // one line for people; a word in backquotes stands for the value
	Local bool   // may differ from node to node, and is not part of Hash

	field func(*Config) any
}

// Flag is the setting's flag, without dashes: cluster.bind-address.
func (s Setting) Flag() string { return strings.ReplaceAll(s.Key, "_", "-") }

// Env is the setting's environment variable: HIGHLANDER_CLUSTER_BIND_ADDRESS.
func (s Setting) Env() string { return EnvName(s.Flag()) }

// EnvName is the environment variable of a flag.
func EnvName(flag string) string {
	return "HIGHLANDER_" + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(flag))
}

// Bool is true for settings that are on or off, whose flag needs no value.
func (s Setting) Bool() bool {
	_, ok := s.field(new(Config)).(*bool)
	return ok
}

// List is true for settings with several values.
func (s Setting) List() bool {
	_, ok := s.field(new(Config)).(*[]string)
	return ok
}

// Default is the setting's default as a person writes it.
func (s Setting) Default() string {
	c := Default()
	return s.get(&c)
}

// settings is every scalar key of the file, and cluster.join, in the file's order.
var settings = []Setting{
	{Key: "node.id", Local: true, Usage: "`NAME` this node's name, unique in the cluster and kept in the data directory (default: the host name)",
		field: func(c *Config) any { return &c.Node.ID }},

	{Key: "storage.path", Local: true, Usage: "`DIR` data directory",
		field: func(c *Config) any { return &c.Storage.Path }},
	{Key: "storage.max_bytes", Local: true, Usage: "`SIZE` how far the log may grow while destinations are down",
		field: func(c *Config) any { return &c.Storage.MaxBytes }},
	{Key: "storage.min_free_bytes", Local: true, Usage: "`SIZE` what writes leave free on the disk",
		field: func(c *Config) any { return &c.Storage.MinFreeBytes }},
	{Key: "storage.when_full", Usage: "`WHAT` what becomes of writes when the log is full: reject (503; the sources hold) or drop_oldest",
		field: func(c *Config) any { return &c.Storage.WhenFull }},
	{Key: "storage.dead_letter_max_bytes", Usage: "`SIZE` how much is kept of what destinations refused for good; beyond it they hold",
		field: func(c *Config) any { return &c.Storage.DeadLetterMaxBytes }},

	{Key: "web.listen_address", Local: true, Usage: "`ADDRESS` where to listen for remote write, metrics and the status page",
		field: func(c *Config) any { return &c.Web.ListenAddress }},
	{Key: "web.config_file", Local: true, Usage: "`FILE` TLS and basic auth of the web port, in the format of Prometheus' web configuration",
		field: func(c *Config) any { return &c.Web.ConfigFile }},
	{Key: "web.max_body_bytes", Usage: "`SIZE` largest write request, compressed",
		field: func(c *Config) any { return &c.Web.MaxBodyBytes }},
	{Key: "web.enable_lifecycle", Local: true, Usage: "allow POST /-/reload",
		field: func(c *Config) any { return &c.Web.EnableLifecycle }},

	{Key: "cluster.bind_address", Local: true, Usage: "`ADDRESS` where to listen for the other nodes",
		field: func(c *Config) any { return &c.Cluster.BindAddress }},
	{Key: "cluster.advertise_address", Local: true, Usage: "`ADDRESS` where the other nodes reach this one (default: the bind address)",
		field: func(c *Config) any { return &c.Cluster.AdvertiseAddress }},
	{Key: "cluster.join", Local: true, Usage: "`ADDRESSES` all nodes, this one included, the same list on each; separated by commas, repeatable",
		field: func(c *Config) any { return &c.Cluster.Join }},
	{Key: "cluster.tls.ca_file", Local: true, Usage: "`FILE` certificate of the CA that signed all nodes",
		field: func(c *Config) any { return &c.Cluster.TLS.CAFile }},
	{Key: "cluster.tls.cert_file", Local: true, Usage: "`FILE` this node's certificate",
		field: func(c *Config) any { return &c.Cluster.TLS.CertFile }},
	{Key: "cluster.tls.key_file", Local: true, Usage: "`FILE` this node's private key",
		field: func(c *Config) any { return &c.Cluster.TLS.KeyFile }},
	{Key: "cluster.insecure", Local: true, Usage: "allow a bind address that others can reach without TLS",
		field: func(c *Config) any { return &c.Cluster.Insecure }},

	{Key: "sources.default_group", Usage: "`NAME` group of the sources that name none",
		field: func(c *Config) any { return &c.Sources.DefaultGroup }},
	{Key: "sources.unidentified", Usage: "`WHAT` what becomes of writes that name no source: elect (by the client's host), pass or reject",
		field: func(c *Config) any { return &c.Sources.Unidentified }},
	{Key: "sources.request_weight", Usage: "`WHAT` what a weight in a request counts: accept or ignore",
		field: func(c *Config) any { return &c.Sources.RequestWeight }},
	{Key: "sources.failover_timeout", Usage: "`TIME` silence after which a standby takes over",
		field: func(c *Config) any { return &c.Sources.FailoverTimeout }},
	{Key: "sources.preempt_after", Usage: "`TIME` how long a source of higher weight must be steady before it takes over",
		field: func(c *Config) any { return &c.Sources.PreemptAfter }},
	{Key: "sources.max_lag", Usage: "`TIME` how far the current source may be behind a standby",
		field: func(c *Config) any { return &c.Sources.MaxLag }},
	{Key: "sources.min_coverage", Usage: "`RATIO` part of a standby's samples below which the current source is replaced, after five minutes; 0: never",
		field: func(c *Config) any { return &c.Sources.MinCoverage }},
	{Key: "sources.forget_after", Usage: "`TIME` silence after which sources and groups are forgotten",
		field: func(c *Config) any { return &c.Sources.ForgetAfter }},

	{Key: "handover.window_bytes", Usage: "`SIZE` how much of the standbys' samples is kept",
		field: func(c *Config) any { return &c.Handover.WindowBytes }},
	{Key: "handover.margin", Usage: "`TIME` how long samples of standbys are kept behind the current source's pace; more than the longest scrape interval and the sources' remote_timeout",
		field: func(c *Config) any { return &c.Handover.Margin }},
	{Key: "handover.clock_skew_guard", Usage: "`TIME` how far the clocks of two sources may differ",
		field: func(c *Config) any { return &c.Handover.ClockSkewGuard }},
}

// Settings lists every key that can be set alone, in the file's order.
func Settings() []Setting { return slices.Clone(settings) }

// Set lays one value over the configuration. from says where it came from (a flag, a variable), for errors.
func (c *Config) Set(key, value, from string) error {
	for _, s := range settings {
		if s.Key != key {
			continue
		}
		if err := assign(s.field(c), value); err != nil {
			return &Error{Origin: from, Key: key, Text: err.Error()}
		}
		c.note(key, from)
		return nil
	}
	return &Error{Origin: from, Text: fmt.Sprintf("unknown key %q", key)}
}

func assign(field any, value string) error {
	switch f := field.(type) {
	case *string:
		*f = value
	case *bool:
		b, err := strconv.ParseBool(value)
		if err != nil {
			return fmt.Errorf("expected true or false, got %q", value)
		}
		*f = b
	case *float64:
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return fmt.Errorf("expected a number, got %q", value)
		}
		*f = v
	case *Bytes:
		b, err := ParseBytes(value)
		if err != nil {
			return err
		}
		*f = b
	case *Duration:
		d, err := model.ParseDuration(value)
		if err != nil {
			return fmt.Errorf("expected %s, got %q", expectedDuration, value)
		}
		*f = d
	case *[]string:
		*f = strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\t' })
	default:
		panic(fmt.Sprintf("BUG: config: a setting of type %T", field))
	}
	return nil
}

// get writes a setting's value as Set reads it.
func (s Setting) get(c *Config) string {
	switch f := s.field(c).(type) {
	case *string:
		return *f
	case *bool:
		return strconv.FormatBool(*f)
	case *float64:
		return strconv.FormatFloat(*f, 'g', -1, 64)
	case *Bytes:
		return f.String()
	case *Duration:
		return f.String()
	case *[]string:
		return strings.Join(*f, ",")
	default:
		panic(fmt.Sprintf("BUG: config: a setting of type %T", f))
	}
}
