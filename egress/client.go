package egress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/config"

	"github.com/highlander-io/highlander/fsm/wire"
)

const (
	headerVersion           = "X-Prometheus-Remote-Write-Version"
	headerSamplesWritten    = "X-Prometheus-Remote-Write-Samples-Written"
	headerHistogramsWritten = "X-Prometheus-Remote-Write-Histograms-Written"
	headerExemplarsWritten  = "X-Prometheus-Remote-Write-Exemplars-Written"
	headerTenant            = "X-Scope-OrgID"

	contentTypeV1 = "application/x-protobuf"
	contentTypeV2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request"

	dialTimeout      = 10 * time.Second
	answerBytesMax   = 1 << 10  // of an answer, kept for people
	drainBytesMax    = 64 << 10 // of an answer, read so that the connection can be used again
	headerBytesMax   = 64 << 10
	idleConnLifetime = 90 * time.Second
)

// outcome is what one attempt came to.
type outcome uint8

const (
	delivered     outcome = iota // the endpoint has it
	retry                        // for the endpoint's own reasons; the same again later
	tooLarge                     // 413
	wrongProtocol                // 415, or a 2.0 success that confirms nothing
	refused                      // 400, 409, 422: something in it is wrong
	misconfigured                // every other 3xx and 4xx: nothing would be accepted
	cancelled                    // by us
)

// result is one attempt, classified. Only delivered and refused say anything about the samples.
type result struct {
	outcome outcome
	status  int    // zero: no answer
	answer  string // first line of the body, or the error
	after   time.Duration
	// uncertain: the endpoint may have stored the request although the attempt failed.
	uncertain bool
	// confirmed: the answer carried Written headers; written is samples and histograms together.
	confirmed bool
	written   uint64
}

func (r result) String() string {
	if r.status == 0 {
		return r.answer
	}
	if r.answer == "" {
		return fmt.Sprintf("HTTP %d %s", r.status, http.StatusText(r.status))
	}
	return fmt.Sprintf("HTTP %d: %s", r.status, r.answer)
}

// client makes single attempts against one endpoint. It never retries and never follows a redirect.
type client struct {
	url     string
	http    *http.Client
	header  http.Header
	timeout time.Duration
	now     func() time.Time
}

func newClient(d Destination, userAgent string) (*client, error) {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}
	c, err := config.NewClientFromConfig(d.HTTP, "remote_write_"+d.Name,
		config.WithDialContextFunc(dialer.DialContext),
		config.WithIdleConnTimeout(idleConnLifetime))
	if err != nil {
		return nil, err
	}
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client{url: d.URL, http: c, header: d.header(userAgent), timeout: d.RemoteTimeout, now: time.Now}, nil
}

func (c *client) close() { c.http.CloseIdleConnections() }

// send makes one attempt. body belongs to the caller again when send returns. samples is what the body holds:
// a request without samples is not expected to be confirmed.
func (c *client) send(ctx context.Context, tenant string, p wire.Protocol, body []byte, samples uint64) result {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	lent := &payload{data: body}
	defer lent.detach()
	req, err := c.request(ctx, tenant, p, lent)
	if err != nil {
		return result{outcome: misconfigured, answer: err.Error()}
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return failed(ctx, err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer := readAnswer(resp.Body)
	return classify(resp.StatusCode, resp.Header, answer, p, samples, c.now())
}

func (c *client) request(ctx context.Context, tenant string, p wire.Protocol, body *payload) (*http.Request, error) {
	r, _ := body.open()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, r)
	if err != nil {
		return nil, err
	}
	req.ContentLength = int64(len(body.data))
	req.GetBody = body.open
	for name, values := range c.header {
		req.Header[name] = values
	}
	if tenant != "" {
		req.Header.Set(headerTenant, tenant)
	}
	if p == wire.V2 {
		req.Header.Set("Content-Type", contentTypeV2)
		req.Header.Set(headerVersion, "2.0.0")
	} else {
		req.Header.Set("Content-Type", contentTypeV1)
		req.Header.Set(headerVersion, "0.1.0")
	}
	return req, nil
}

// failed classifies an attempt without an answer. Where not even a connection came about, nothing was stored.
func failed(ctx context.Context, err error) result {
	if errors.Is(ctx.Err(), context.Canceled) {
		return result{outcome: cancelled, answer: err.Error(), uncertain: true}
	}
	var op *net.OpError
	dial := errors.As(err, &op) && op.Op == "dial"
	return result{outcome: retry, answer: plain(err), uncertain: !dial}
}

// plain drops the `Post "URL":` that net/http puts in front: the URL may hold credentials.
func plain(err error) string {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return valid(err.Error())
}

// readAnswer returns the beginning of an answer on one line, and reads a bounded rest so that the connection
// can be used again.
func readAnswer(r io.Reader) string {
	head := make([]byte, answerBytesMax)
	n, _ := io.ReadFull(r, head)
	_, _ = io.CopyN(io.Discard, r, drainBytesMax)
	return valid(strings.Join(strings.Fields(string(head[:n])), " "))
}

func valid(s string) string { return strings.ToValidUTF8(s, "?") }

// classify is the only table from an answer to an outcome.
func classify(status int, h http.Header, answer string, p wire.Protocol, samples uint64, now time.Time) result {
	r := result{status: status, answer: answer}
	r.written, r.confirmed = written(h)
	switch {
	case status/100 == 2:
		r.outcome = delivered
		// Remote write 2.0: a receiver that speaks it confirms with Written headers. Without them a 1.0
		// receiver read an empty message, so nothing is known to be stored.
		if p == wire.V2 && !r.confirmed && samples > 0 {
			r.outcome, r.uncertain = wrongProtocol, true
		}
	case status == http.StatusTooManyRequests:
		r.outcome, r.after = retry, retryAfter(h, now)
	case status/100 == 5:
		r.outcome, r.after, r.uncertain = retry, retryAfter(h, now), true
	case status == http.StatusRequestEntityTooLarge:
		r.outcome = tooLarge
	case status == http.StatusUnsupportedMediaType:
		r.outcome = wrongProtocol
	case status == http.StatusBadRequest, status == http.StatusConflict, status == http.StatusUnprocessableEntity:
		r.outcome = refused
	default:
		r.outcome, r.after = misconfigured, retryAfter(h, now)
	}
	return r
}

// written reads the Written headers of remote write 2.0. One of the three is enough to confirm; a missing one
// is a zero.
func written(h http.Header) (samples uint64, confirmed bool) {
	for _, name := range [...]string{headerSamplesWritten, headerHistogramsWritten, headerExemplarsWritten} {
		n, err := strconv.ParseUint(strings.TrimSpace(h.Get(name)), 10, 32)
		if err != nil {
			continue
		}
		confirmed = true
		if name != headerExemplarsWritten {
			samples += n
		}
	}
	return samples, confirmed
}
