package ingest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/highlander-io/highlander/fsm/wire"
)

// ForwardPath is where the leader's cluster port serves what followers pass on.
const ForwardPath = "/v1/write"

// Headers between members, besides the client's own identity headers.
const (
	headerClient   = "X-Highlander-Client"   // the client's host, as the follower saw it
	headerDeadline = "X-Highlander-Deadline" // Unix milliseconds on the leader's clock; later the request is void
	headerClock    = "X-Highlander-Clock"    // Unix milliseconds on the leader's clock, with every answer
)

const relayedMax = 16 << 10

// passOn sends a request's body to the leader as it came and relays its answer. One hop: the leader's side of this
// never passes on, so members that disagree about who leads cannot send a request in circles.
func (h *Handler) passOn(ctx context.Context, r *http.Request, rq *request, buf *buffer) answer {
	transport := h.node.Leader()
	if transport == nil {
		return refuse(unavailable, noLeader)
	}
	body := &forwardedBody{buffer: buf}
	body.Reset(buf.b)
	buf.hold()
	out := (&http.Request{
		Method:        http.MethodPost,
		URL:           &url.URL{Scheme: "http", Host: "leader", Path: ForwardPath, RawQuery: r.URL.RawQuery},
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        h.forwardedHeader(ctx, r, rq),
		Body:          body,
		ContentLength: int64(len(buf.b)),
		Host:          "leader",
	}).WithContext(ctx)
	h.metrics.forwarded.Inc()
	resp, err := transport.RoundTrip(out)
	if err != nil {
		_ = body.Close() // a second close does nothing; a transport that failed early may not have closed it
		return refuse(unavailable, "the leader cannot be reached: "+err.Error())
	}
	defer resp.Body.Close()
	h.clock.learn(resp.Header.Get(headerClock), h.now())
	a := relay(resp)
	if a.relayed != nil {
		if err := h.keepRelayed(rq, resp.Header); err != nil {
			return refuse(unavailable, err.Error())
		}
	}
	return a
}

func (h *Handler) forwardedHeader(ctx context.Context, r *http.Request, rq *request) http.Header {
	header := make(http.Header, 8)
	for _, name := range [...]string{headerTenant, headerGroup, headerSource, headerWeight} {
		if values := r.Header[name]; len(values) > 0 {
			header[name] = values
		}
	}
	contentType := mediaType
	if rq.protocol == wire.V2 {
		contentType = mediaTypeV2
	}
	header["Content-Type"] = []string{contentType}
	header["Content-Encoding"] = []string{"snappy"}
	header[headerKeeper] = []string{h.window.id}
	if rq.client != "" {
		header[headerClient] = []string{rq.client}
	}
	left := commitTimeout
	if deadline, ok := ctx.Deadline(); ok {
		left = min(left, time.Until(deadline))
	}
	header[headerDeadline] = []string{strconv.FormatInt(h.clock.leader(h.now()).Add(left).UnixMilli(), 10)}
	return header
}

// forwardedBody is a body that outlives the handler if the transport is slow to let go of it.
type forwardedBody struct {
	bytes.Reader
	buffer *buffer
	once   sync.Once
}

func (b *forwardedBody) Close() error {
	b.once.Do(b.buffer.release)
	return nil
}

// relayed is the leader's answer on its way to the client.
type relayed struct {
	status int
	header http.Header
	body   []byte
}

// relay takes over what the leader says about the request. Whatever else comes back, such as 404 from a port that is
// not what it should be, is this cluster's trouble and not the sender's.
func relay(resp *http.Response) answer {
	body, err := io.ReadAll(io.LimitReader(resp.Body, relayedMax))
	if err != nil {
		return refuse(unavailable, "the leader's answer ended early: "+err.Error())
	}
	known := false
	for o := range table {
		known = known || table[o].status == resp.StatusCode
	}
	if !known {
		return refuse(unavailable, fmt.Sprintf("the leader answered %s", resp.Status))
	}
	return answer{relayed: &relayed{status: resp.StatusCode, header: resp.Header, body: body}}
}

func (rd *relayed) write(w http.ResponseWriter) {
	header := w.Header()
	for _, name := range [...]string{
		headerWrittenSamples, headerWrittenHistograms, headerWrittenExemplars, "Retry-After", "Content-Type", "X-Content-Type-Options",
	} {
		if values := rd.header[name]; len(values) > 0 {
			header[name] = values
		}
	}
	w.WriteHeader(rd.status)
	_, _ = w.Write(rd.body)
}

// clock estimates how far the leader's clock is ahead of ours. Deadlines are written in the leader's time, as only
// an absolute time says how long a request lay in a socket; with the estimate from its last answer, two clocks that
// differ cost one 503 and not every request.
type clock struct {
	mu     sync.Mutex
	offset time.Duration
}

func (c *clock) learn(header string, now time.Time) {
	ms, err := strconv.ParseInt(header, 10, 64)
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset = time.UnixMilli(ms).Sub(now)
}

func (c *clock) leader(now time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return now.Add(c.offset)
}

// forwardedDeadline reads how long a forwarded request may still take. A stale one must not be committed after newer
// ones: its sender has long sent it again.
func forwardedDeadline(r *http.Request, now time.Time) (time.Duration, error) {
	value := r.Header.Get(headerDeadline)
	ms, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: not a time: %q", headerDeadline, value)
	}
	left := time.UnixMilli(ms).Sub(now)
	if left <= 0 {
		return 0, fmt.Errorf("the request came %v after its deadline", -left)
	}
	return min(left, commitTimeout), nil
}
