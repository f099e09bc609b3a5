package config

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	promconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/relabel"
)

func destinationKey(i int, key string) string { return fmt.Sprintf("remote_write[%d].%s", i, key) }

// validDestinationNames keeps names unique, and those of `--remote-write.url` out of the file: a name is what a
// cursor belongs to.
func validDestinationNames(c *Config) (errs []*Error) {
	seen := map[string]int{}
	for i, r := range c.RemoteWrite {
		key := destinationKey(i, "name")
		first, twice := seen[r.Name]
		switch fault := nameFault(r.Name); {
		case r.Name == "":
			errs = append(errs, c.wrong(key, "expected a name (it is what the destination's place in the log belongs to), got nothing")...)
		case fault != "":
			errs = append(errs, c.wrong(key, "%s, got %q", fault, r.Name)...)
		case twice:
			errs = append(errs, c.wrong(key, "expected a name of its own, got %q like remote_write[%d]", r.Name, first)...)
		case !r.Positional && positionalPattern.MatchString(r.Name):
			errs = append(errs, c.wrong(key, "expected a name that is not reserved for --remote-write.url, got %q", r.Name)...)
		default:
			seen[r.Name] = i
		}
	}
	return errs
}

// urlBytesMax is what a destination's entry in the log can hold.
const urlBytesMax = 8 * KiB

func validDestinationURLs(c *Config) (errs []*Error) {
	for i, r := range c.RemoteWrite {
		if Bytes(len(r.URL)) > urlBytesMax {
			errs = append(errs, c.wrong(destinationKey(i, "url"), "expected a URL of at most %s", urlBytesMax)...)
			continue
		}
		u, err := url.Parse(r.URL)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			// A URL that does not parse is not repeated: there may be a password in it.
			got := ""
			if err == nil {
				got = fmt.Sprintf(", got %q", RedactURL(r.URL))
			}
			errs = append(errs, c.wrong(destinationKey(i, "url"), "expected a URL such as http://lts.example/api/v1/write%s", got)...)
		}
	}
	return errs
}

func validDestinationMessages(c *Config) (errs []*Error) {
	for i, r := range c.RemoteWrite {
		errs = append(errs, c.oneOf(destinationKey(i, "protobuf_message"), r.ProtobufMessage, MessageV1, MessageV2)...)
	}
	return errs
}

func validDestinationTimes(c *Config) (errs []*Error) {
	for i, r := range c.RemoteWrite {
		if r.RemoteTimeout <= 0 {
			errs = append(errs, c.wrong(destinationKey(i, "remote_timeout"), "expected more than 0s, got %s", r.RemoteTimeout)...)
		}
	}
	return errs
}

// validDestinationHeaders keeps headers out that the protocol or an own key of the file sets.
func validDestinationHeaders(c *Config) (errs []*Error) {
	for i, r := range c.RemoteWrite {
		for name := range r.Headers {
			canonical := http.CanonicalHeaderKey(name)
			key := destinationKey(i, "headers")
			_, reserved := promconfig.ReservedHeaders[canonical]
			switch {
			case canonical == "Authorization":
				errs = append(errs, c.wrong(key, "expected basic_auth, authorization or oauth2 instead of the header %q", name)...)
			case reserved, canonical == "Transfer-Encoding":
				errs = append(errs, c.wrong(key, "expected headers that the protocol does not set itself, got %q", name)...)
			case !validHeaderName(name):
				errs = append(errs, c.wrong(key, "expected the name of a header, got %q", name)...)
			}
		}
	}
	slices.SortStableFunc(errs, func(a, b *Error) int { return cmp.Compare(a.Text, b.Text) }) // a map has no order
	return errs
}

// validHeaderName knows the tokens of RFC 9110, section 5.6.2.
func validHeaderName(name string) bool {
	for _, r := range name {
		alphanumeric := r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if !alphanumeric && !slices.Contains([]rune("!#$%&'*+-.^_`|~"), r) {
			return false
		}
	}
	return name != ""
}

func validDestinationRelabeling(c *Config) (errs []*Error) {
	for i, r := range c.RemoteWrite {
		for j, rule := range r.WriteRelabelConfigs {
			key := destinationKey(i, fmt.Sprintf("write_relabel_configs[%d]", j))
			if err := relabelFault(rule); err != nil {
				errs = append(errs, c.wrong(key, "%s", err)...)
			}
		}
	}
	return errs
}

func relabelFault(rule *relabel.Config) error {
	if rule == nil {
		return errors.New("expected a relabelling rule, got nothing")
	}
	return rule.Validate(model.UTF8Validation)
}

const (
	shardsMax = 64
	// sendBytesMin lets at least one entry of the log, 256 KiB at most, into a request.
	sendBytesMin = 1 * KiB
)

func validDestinationQueues(c *Config) (errs []*Error) {
	for i, r := range c.RemoteWrite {
		q := r.QueueConfig
		key := func(name string) string { return destinationKey(i, "queue_config."+name) }
		if q.MaxSamplesPerSend < 1 {
			errs = append(errs, c.wrong(key("max_samples_per_send"), "expected 1 or more, got %d", q.MaxSamplesPerSend)...)
		}
		if q.MaxBytesPerSend < sendBytesMin {
			errs = append(errs, c.wrong(key("max_bytes_per_send"), "expected %s or more, got %s", sendBytesMin, q.MaxBytesPerSend)...)
		}
		if q.MaxShards < 1 || q.MaxShards > shardsMax {
			errs = append(errs, c.wrong(key("max_shards"), "expected 1 to %d, got %d", shardsMax, q.MaxShards)...)
		}
		if q.MinBackoff <= 0 {
			errs = append(errs, c.wrong(key("min_backoff"), "expected more than 0s, got %s", q.MinBackoff)...)
		}
		if q.MaxBackoff < q.MinBackoff {
			errs = append(errs, c.wrong(key("max_backoff"), "expected min_backoff (%s) or more, got %s", q.MinBackoff, q.MaxBackoff)...)
		}
	}
	return errs
}
