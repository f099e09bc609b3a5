package config

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/prometheus/common/model"
)

// rule checks one thing. Rules do not depend on each other: all are run, all errors are reported.
type rule func(*Config) []*Error

var rules = []rule{
	validNodeID,
	validStoragePath,
	validStorageSizes,
	validWhenFull,
	validListenAddress,
	validMaxBodyBytes,
	validBindAddress,
	validAdvertiseAddress,
	validJoin,
	validTLSFiles,
	validTLSPresent,
	validLabels,
	validDefaultGroup,
	validUnidentified,
	validRequestWeight,
	validElectionTimes,
	validMinCoverage,
	validHandover,
	validDestinationNames,
	validDestinationURLs,
	validDestinationMessages,
	validDestinationTimes,
	validDestinationHeaders,
	validDestinationRelabeling,
	validDestinationQueues,
}

// Validate checks what no single value can tell, and returns every error there is, each an *Error.
func (c *Config) Validate() error {
	var errs []*Error
	for _, check := range rules {
		errs = append(errs, check(c)...)
	}
	return join(errs)
}

// wrong is the list of one error.
func (c *Config) wrong(key, format string, args ...any) []*Error {
	return []*Error{c.origins.wrong(key, format, args...)}
}

const nameBytesMax = 128

// nameFault says what is wrong with a name that people type and that becomes part of identifiers.
func nameFault(name string) string {
	switch {
	case len(name) > nameBytesMax:
		return "expected at most " + strconv.Itoa(nameBytesMax) + " bytes"
	case !utf8.ValidString(name):
		return "expected valid UTF-8"
	case strings.ContainsFunc(name, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) || r == '/' }):
		return "expected a name without spaces, slashes and control characters"
	default:
		return ""
	}
}

func validNodeID(c *Config) []*Error {
	if fault := nameFault(c.Node.ID); fault != "" {
		return c.wrong("node.id", "%s, got %q", fault, c.Node.ID)
	}
	return nil
}

func validStoragePath(c *Config) []*Error {
	if c.Storage.Path == "" {
		return c.wrong("storage.path", "expected a directory, got nothing")
	}
	return nil
}

func validStorageSizes(c *Config) (errs []*Error) {
	if c.Storage.MaxBytes <= 0 {
		errs = append(errs, c.wrong("storage.max_bytes", "expected more than 0, got %s", c.Storage.MaxBytes)...)
	}
	return errs
}

func validWhenFull(c *Config) []*Error {
	return c.oneOf("storage.when_full", c.Storage.WhenFull, Reject, DropOldest)
}

func (c *Config) oneOf(key, got string, valid ...string) []*Error {
	if slices.Contains(valid, got) {
		return nil
	}
	return c.wrong(key, "expected %s, got %q", strings.Join(valid, " or "), got)
}

// addressFault says what is wrong with an address to listen on.
func addressFault(address string) string {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return "expected HOST:PORT or :PORT"
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n > 65535 {
		return "expected a port from 0 to 65535"
	}
	return ""
}

// peerFault says what is wrong with an address that others dial.
func peerFault(address string) string {
	host, port, err := net.SplitHostPort(address)
	switch {
	case err != nil || host == "":
		return "expected HOST:PORT"
	case isUnspecified(host):
		return "expected an address that the other nodes can dial"
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "expected a port from 1 to 65535"
	}
	return ""
}

func isUnspecified(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "" || err == nil && ip.IsUnspecified()
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

func validListenAddress(c *Config) []*Error {
	if fault := addressFault(c.Web.ListenAddress); fault != "" {
		return c.wrong("web.listen_address", "%s, got %q", fault, c.Web.ListenAddress)
	}
	return nil
}

// maxBodyBytesMax keeps one request from being larger than what may be in flight in all.
const maxBodyBytesMax = 1 * GiB

func validMaxBodyBytes(c *Config) []*Error {
	if c.Web.MaxBodyBytes <= 0 || c.Web.MaxBodyBytes > maxBodyBytesMax {
		return c.wrong("web.max_body_bytes", "expected more than 0 and at most %s, got %s", maxBodyBytesMax, c.Web.MaxBodyBytes)
	}
	return nil
}

func validBindAddress(c *Config) []*Error {
	if fault := addressFault(c.Cluster.BindAddress); fault != "" {
		return c.wrong("cluster.bind_address", "%s, got %q", fault, c.Cluster.BindAddress)
	}
	return nil
}

func validAdvertiseAddress(c *Config) []*Error {
	if c.Cluster.AdvertiseAddress != "" {
		if fault := peerFault(c.Cluster.AdvertiseAddress); fault != "" {
			return c.wrong("cluster.advertise_address", "%s, got %q", fault, c.Cluster.AdvertiseAddress)
		}
		return nil
	}
	host, port, err := net.SplitHostPort(c.Cluster.BindAddress)
	if err == nil && isUnspecified(host) {
		return c.wrong("cluster.advertise_address", "expected an address that the other nodes can dial, since cluster.bind_address %q is none (for example %s)",
			c.Cluster.BindAddress, net.JoinHostPort("10.0.0.1", port))
	}
	return nil
}

func validJoin(c *Config) (errs []*Error) {
	for i, address := range c.Cluster.Join {
		if fault := peerFault(address); fault != "" {
			errs = append(errs, c.wrong("cluster.join", "%s, got %q", fault, address)...)
		}
		if slices.Contains(c.Cluster.Join[:i], address) {
			errs = append(errs, c.wrong("cluster.join", "expected every node once, got %q twice", address)...)
		}
	}
	return errs
}

func validTLSFiles(c *Config) (errs []*Error) {
	t := c.Cluster.TLS
	files := []struct{ key, path string }{
		{"cluster.tls.ca_file", t.CAFile}, {"cluster.tls.cert_file", t.CertFile}, {"cluster.tls.key_file", t.KeyFile},
	}
	if t == (TLS{}) {
		return nil
	}
	for _, f := range files {
		if f.path == "" {
			errs = append(errs, c.wrong(f.key, "expected a file, since other keys of cluster.tls are set")...)
		}
	}
	return errs
}

// validTLSPresent refuses a cluster port that strangers could speak to.
func validTLSPresent(c *Config) []*Error {
	host, _, err := net.SplitHostPort(c.Cluster.BindAddress)
	if err != nil || isLoopback(host) || c.Cluster.Insecure || c.Cluster.TLS != (TLS{}) {
		return nil
	}
	return c.wrong("cluster.bind_address", "expected cluster.tls with a bind address that others can reach, got %q without it "+
		"(`highlander tls` makes the files; cluster.insecure: true allows it on a trusted network)", c.Cluster.BindAddress)
}

func validLabels(c *Config) (errs []*Error) {
	for i, pair := range c.Sources.Labels {
		key := "sources.labels[" + strconv.Itoa(i) + "]"
		for _, l := range []struct{ key, name string }{{key + ".group", pair.Group}, {key + ".replica", pair.Replica}} {
			if !model.UTF8Validation.IsValidLabelName(l.name) || l.name == model.MetricNameLabel {
				errs = append(errs, c.wrong(l.key, "expected the name of a label, got %q", l.name)...)
			}
		}
		if pair.Group == pair.Replica && pair.Group != "" {
			errs = append(errs, c.wrong(key, "expected two different labels, got %q twice", pair.Group)...)
		}
		if slices.Contains(c.Sources.Labels[:i], pair) {
			errs = append(errs, c.wrong(key, "expected every pair once, got %q and %q twice", pair.Group, pair.Replica)...)
		}
	}
	return errs
}

func validDefaultGroup(c *Config) []*Error {
	g := c.Sources.DefaultGroup
	if g == "" || len(g) > nameBytesMax || !utf8.ValidString(g) || strings.ContainsFunc(g, unicode.IsControl) {
		return c.wrong("sources.default_group", "expected a name of 1 to %d bytes without control characters, got %q", nameBytesMax, g)
	}
	return nil
}

func validUnidentified(c *Config) []*Error {
	return c.oneOf("sources.unidentified", c.Sources.Unidentified, UnidentifiedElect, UnidentifiedPass, UnidentifiedReject)
}

func validRequestWeight(c *Config) []*Error {
	return c.oneOf("sources.request_weight", c.Sources.RequestWeight, WeightAccept, WeightIgnore)
}

func validElectionTimes(c *Config) (errs []*Error) {
	s := c.Sources
	for _, t := range []struct {
		key string
		got Duration
	}{{"sources.failover_timeout", s.FailoverTimeout}, {"sources.max_lag", s.MaxLag}} {
		if t.got <= 0 {
			errs = append(errs, c.wrong(t.key, "expected more than 0s, got %s", t.got)...)
		}
	}
	if s.ForgetAfter <= s.FailoverTimeout {
		errs = append(errs, c.wrong("sources.forget_after", "expected more than sources.failover_timeout (%s), got %s", s.FailoverTimeout, s.ForgetAfter)...)
	}
	return errs
}

func validMinCoverage(c *Config) []*Error {
	if got := c.Sources.MinCoverage; !(got >= 0 && got <= 1) { // not a number is neither
		return c.wrong("sources.min_coverage", "expected a number from 0 to 1, got %v", got)
	}
	return nil
}

// What the log remembers for a handover at most, whatever is configured: fsm.MarginMax and fsm.WindowBytesMax.
const (
	HandoverMarginMax      = Duration(15 * time.Minute)
	HandoverWindowBytesMax = 1 * GiB
)

func validHandover(c *Config) (errs []*Error) {
	h := c.Handover
	if h.Margin <= 0 || h.Margin > HandoverMarginMax {
		errs = append(errs, c.wrong("handover.margin", "expected more than the longest scrape interval and at most %s, got %s", HandoverMarginMax, h.Margin)...)
	}
	if h.WindowBytes > HandoverWindowBytesMax {
		errs = append(errs, c.wrong("handover.window_bytes", "expected at most %s, got %s", HandoverWindowBytesMax, h.WindowBytes)...)
	}
	return errs
}
