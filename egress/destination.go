package egress

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/relabel"

	"github.com/highlander-io/highlander/fsm/wire"
)

// Destination is one remote_write endpoint as the operator configured it. Reload reads it once and never
// changes it.
type Destination struct {
	Name          string // what the log knows it by
	URL           string
	PublicURL     string        // the URL as log and status may show it; empty: URL without user info
	Protocol      wire.Protocol // the highest version it is sent; zero means V1
	RemoteTimeout time.Duration // for one attempt
	Headers       map[string]string
	HTTP          config.HTTPClientConfig
	Relabel       []*relabel.Config
	// MaxBacklogBytes bounds what the log keeps for this destination alone; zero means no bound.
	MaxBacklogBytes int64
	Queue           Queue
}

// Queue bounds requests and the pauses between failed ones.
type Queue struct {
	MaxSamplesPerSend int
	MaxBytesPerSend   int64 // decoded
	MaxShards         int   // lanes: requests in flight at once, of different series
	MinBackoff        time.Duration
	MaxBackoff        time.Duration
	SampleAgeLimit    time.Duration // older samples are dropped and counted; zero means never
}

// Defaults of a Destination, those of the configuration file.
const (
	DefaultRemoteTimeout     = 30 * time.Second
	DefaultMaxSamplesPerSend = 10_000
	DefaultMaxBytesPerSend   = 8 << 20
	DefaultMinBackoff        = 30 * time.Millisecond
	DefaultMaxBackoff        = 5 * time.Second
	maxShards                = 64
)

// positional matches the names that URLs given by flags get. Such a name says where the URL stood on the
// command line, not which endpoint is meant, so it must not carry a cursor over to another URL.
var positional = regexp.MustCompile(`^remote-[0-9]+$`)

func (d Destination) withDefaults() Destination {
	if d.Protocol == 0 {
		d.Protocol = wire.V1
	}
	setDefault(&d.RemoteTimeout, DefaultRemoteTimeout)
	setDefault(&d.Queue.MaxSamplesPerSend, DefaultMaxSamplesPerSend)
	setDefault(&d.Queue.MaxBytesPerSend, DefaultMaxBytesPerSend)
	setDefault(&d.Queue.MaxShards, 1)
	setDefault(&d.Queue.MinBackoff, DefaultMinBackoff)
	setDefault(&d.Queue.MaxBackoff, DefaultMaxBackoff)
	d.Queue.MaxBackoff = max(d.Queue.MaxBackoff, d.Queue.MinBackoff)
	return d
}

func setDefault[T int | int64 | time.Duration](v *T, value T) {
	if *v <= 0 {
		*v = value
	}
}

// check says what is wrong with a destination, in words for its owner.
func (d Destination) check() error {
	if d.Name == "" {
		return errors.New("egress: a destination has no name")
	}
	if err := checkURL(d.URL); err != nil {
		return fmt.Errorf("egress: destination %q: %w", d.Name, err)
	}
	if d.Protocol != wire.V1 && d.Protocol != wire.V2 {
		return fmt.Errorf("egress: destination %q: protocol version %d is neither 1 nor 2", d.Name, d.Protocol)
	}
	if d.Queue.MaxShards > maxShards {
		return fmt.Errorf("egress: destination %q: max_shards is %d, at most %d", d.Name, d.Queue.MaxShards, maxShards)
	}
	for name := range d.Headers {
		if reservedHeader(name) {
			return fmt.Errorf("egress: destination %q: header %q belongs to the protocol", d.Name, name)
		}
	}
	for i, c := range d.Relabel {
		if c == nil {
			return fmt.Errorf("egress: destination %q: write_relabel_configs[%d] is empty", d.Name, i)
		}
		scheme := *c // Validate fills in the scheme; the caller's value stays as it is
		if err := scheme.Validate(model.UTF8Validation); err != nil {
			return fmt.Errorf("egress: destination %q: write_relabel_configs[%d]: %w", d.Name, i, err)
		}
	}
	return nil
}

func checkURL(raw string) error {
	u, err := url.Parse(raw)
	if err != nil {
		var ue *url.Error // its text repeats the URL with the password in it
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return fmt.Errorf("url: %w", err)
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("url has scheme %q, not http or https", u.Scheme)
	}
	if u.Host == "" {
		return errors.New("url has no host")
	}
	return nil
}

// publicURL is a destination's URL as the log and the status show it: without credentials.
func publicURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	u.User = nil
	u.Fragment = ""
	return u.String()
}

func reservedHeader(name string) bool {
	switch textproto.CanonicalMIMEHeaderKey(name) {
	case "Content-Encoding", "Content-Type", "Content-Length", "Host", "Transfer-Encoding",
		textproto.CanonicalMIMEHeaderKey(headerVersion):
		return true
	}
	return strings.TrimSpace(name) == ""
}

// relabelling copies the rules with their validation scheme filled in.
func (d Destination) relabelling() []*relabel.Config {
	out := make([]*relabel.Config, len(d.Relabel))
	for i, c := range d.Relabel {
		own := *c
		if own.NameValidationScheme == model.UnsetValidation {
			own.NameValidationScheme = model.UTF8Validation
		}
		out[i] = &own
	}
	return out
}

// target is a checked destination with its client.
type target struct {
	Destination
	public  string // URL without credentials
	client  *client
	relabel []*relabel.Config
}

func newTarget(d Destination, userAgent string) (*target, error) {
	d = d.withDefaults()
	if err := d.check(); err != nil {
		return nil, err
	}
	if err := d.HTTP.Validate(); err != nil { // fills in defaults as well
		return nil, fmt.Errorf("egress: destination %q: %w", d.Name, err)
	}
	c, err := newClient(d, userAgent)
	if err != nil {
		return nil, fmt.Errorf("egress: destination %q: %w", d.Name, err)
	}
	return &target{Destination: d, public: cmp.Or(d.PublicURL, publicURL(d.URL)), client: c, relabel: d.relabelling()}, nil
}

// header builds what is the same for all requests of a destination.
func (d Destination) header(userAgent string) http.Header {
	h := http.Header{}
	h.Set("Content-Encoding", "snappy")
	h.Set("User-Agent", userAgent)
	for name, value := range d.Headers {
		h.Set(name, value)
	}
	return h
}
