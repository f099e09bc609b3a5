package harness

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/highlander-io/highlander/test/history"
)

// Identity says how a source names itself.
type Identity int

// The ways to be known.
const (
	ByURL Identity = iota
	ByHeaders
	ByLabels
	Unnamed
)

// Source is a fake Prometheus: it sends numbered samples, retries what is answered 5xx or not at all, and goes
// on after any other answer, like the real one. Its fields are set before the first send.
//
// Its series carry the group as their job, so that groups do not meet at the LTS. Sample n of a series has the time Base + n*Step, on every source of a group, and the value
// 16*n + Number: values tell sources apart and grow with time.
type Source struct {
	Group, Name string
	Number      int // 1 to 15
	Identify    Identity
	Protocol    int // 1 or 2; 0 means 1
	Tenant      string
	Weight      uint64        // 0: not sent
	URLs        []string      // tried in turn, the next one after a failure
	Series      int           // default 20
	Shards      int           // requests in flight, each for a share of the series; default 1
	Base        time.Time     // default: when the first sample is sent, cut to Step
	Step        time.Duration // default 50 ms
	Ahead       time.Duration // by how much its clock is ahead: added to the times of its samples
	Log         *history.Log
	Dial        func(ctx context.Context, network, address string) (net.Conn, error) // nil: from here

	Accepted, Standby, Refused, Failed atomic.Int64 // answers: 200 and 204, 202, other 4xx, the rest

	t      testing.TB
	labels [][]Label
	texts  []string
	client *http.Client
	next   int // number of the next sample
	once   sync.Once

	mu       sync.Mutex
	problems []string
	answers  map[int]int
	last     string

	stop    context.CancelFunc // ends pacing
	abandon context.CancelFunc // ends requests in flight
	done    chan struct{}
}

// attemptTimeout bounds one attempt, as remote_timeout does for Prometheus.
const attemptTimeout = 5 * time.Second

func (s *Source) prepare(t testing.TB) {
	s.once.Do(func() {
		s.t = t
		s.Series, s.Shards, s.Step = or(s.Series, 20), or(s.Shards, 1), or(s.Step, 50*time.Millisecond)
		if s.Base.IsZero() {
			s.Base = time.Now().Truncate(s.Step)
		}
		if s.Number < 1 || s.Number > 15 {
			t.Fatalf("BUG: source %s has number %d", s.Name, s.Number)
		}
		s.answers = map[int]int{}
		s.client = &http.Client{Timeout: attemptTimeout, Transport: &http.Transport{MaxIdleConnsPerHost: s.Shards, DialContext: s.Dial}}
		t.Cleanup(s.client.CloseIdleConnections)
		for i := range s.Series {
			name := Label{Name: "__name__", Value: "numbered_total"}
			rest := []Label{{Name: "job", Value: s.Group}, {Name: "series", Value: strconv.Itoa(i)}}
			var identity []Label
			if s.Identify == ByLabels {
				identity = []Label{{Name: "__replica__", Value: s.Name}}
				rest = append([]Label{{Name: "cluster", Value: s.Group}}, rest...)
			}
			s.labels = append(s.labels, slices.Concat([]Label{name}, identity, rest))
			s.texts = append(s.texts, SeriesText(append([]Label{name}, rest...)))
		}
	})
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// Value is the value of sample n of a source.
func Value(number, n int) float64 { return float64(16*n + number) }

// Burst sends n samples of every series, one request a shard and sample, as fast as they are answered.
func (s *Source) Burst(t testing.TB, n int) {
	t.Helper()
	s.prepare(t)
	ctx, cancel := context.WithTimeout(context.Background(), 2*Patience)
	defer cancel()
	first := s.next
	s.next += n
	s.each(func(shard int) {
		for i := first; i < first+n; i++ {
			s.send(ctx, shard, i)
		}
	})
	if ctx.Err() != nil {
		t.Fatalf("source %s: burst is not answered in %v: %s", s.Name, 2*Patience, s.Summary())
	}
}

// Start sends a sample of every series at each Step until Stop or Kill.
func (s *Source) Start(t testing.TB) *Source {
	t.Helper()
	s.prepare(t)
	pacing, stop := context.WithCancel(context.Background())
	sending, abandon := context.WithCancel(context.Background())
	s.stop, s.abandon, s.done = stop, abandon, make(chan struct{})
	if late := int(time.Since(s.Base) / s.Step); late > s.next {
		s.next = late
	}
	go func() {
		defer close(s.done)
		s.pace(pacing, sending)
	}()
	t.Cleanup(s.Kill)
	return s
}

// pace lets each shard send at its own speed; a shard that was held up catches up, like a remote-write queue.
func (s *Source) pace(pacing, sending context.Context) {
	first := s.next
	var mu sync.Mutex
	s.each(func(shard int) {
		i := first
		for ; wait(pacing, time.Until(s.Base.Add(time.Duration(i)*s.Step))) && sending.Err() == nil; i++ {
			s.send(sending, shard, i)
		}
		mu.Lock()
		defer mu.Unlock()
		s.next = max(s.next, i)
	})
}

func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *Source) each(run func(shard int)) {
	var all sync.WaitGroup
	for shard := range s.Shards {
		all.Add(1)
		go func() {
			defer all.Done()
			run(shard)
		}()
	}
	all.Wait()
}

// Stop ends the pacing and waits until what is in flight has been answered.
func (s *Source) Stop() {
	s.t.Helper()
	s.stop()
	select {
	case <-s.done:
	case <-time.After(Patience):
		s.abandon()
		<-s.done
		s.t.Fatalf("source %s: last request is not answered in %v: %s", s.Name, Patience, s.Summary())
	}
}

// Kill ends the source as kill -9 would: requests in flight are never answered.
func (s *Source) Kill() {
	if s.done == nil {
		return
	}
	s.stop()
	s.abandon()
	<-s.done
}

// Next is the number of the sample that comes next.
func (s *Source) Next() int { return s.next }

// Point is sample n of series i as it is sent.
func (s *Source) Point(t testing.TB, i, n int) Point {
	s.prepare(t)
	return Point{s.labels[i], s.Base.Add(time.Duration(n)*s.Step + s.Ahead).UnixMilli(), Value(s.Number, n)}
}

// send sends one request until it is answered for good.
func (s *Source) send(ctx context.Context, shard, n int) {
	var points []Point
	var samples []history.Sample
	for i := shard; i < s.Series; i += s.Shards {
		p := s.Point(s.t, i, n)
		points = append(points, p)
		samples = append(samples, history.Sample{Series: s.texts[i], Time: p.Time, Value: p.Value})
	}
	encode := EncodeV1
	if s.Protocol == 2 {
		encode = EncodeV2
	}
	body := encode(points)
	sent := s.Log.Send(s.Name, samples)
	backoff := 30 * time.Millisecond
	for attempt := shard; ; attempt++ {
		status := s.attempt(ctx, s.URLs[attempt%len(s.URLs)], body, len(points))
		if ctx.Err() != nil {
			sent.Answered(0)
			return
		}
		sent.Answered(status)
		if s.count(status) {
			return
		}
		if !wait(ctx, backoff) {
			return
		}
		backoff = min(2*backoff, 500*time.Millisecond)
	}
}

// count tells whether an answer is final.
func (s *Source) count(status int) bool {
	s.mu.Lock()
	s.answers[status]++
	s.mu.Unlock()
	switch {
	case status == http.StatusOK || status == http.StatusNoContent:
		s.Accepted.Add(1)
	case status == http.StatusAccepted:
		s.Standby.Add(1)
	case status >= 400 && status < 500:
		s.Refused.Add(1)
		if status == http.StatusTooManyRequests {
			s.problem("429 makes Prometheus drop the data")
		}
	default:
		s.Failed.Add(1)
		return false
	}
	return true
}

func (s *Source) problem(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.problems = append(s.problems, text)
}

// Problems lists answers that no source should get.
func (s *Source) Problems() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.problems...)
}

// Summary says how often each status was answered, and the last failure.
func (s *Source) Summary() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprintf("source %s: answers %v, last failure %q", s.Name, s.answers, s.last)
}

func (s *Source) attempt(ctx context.Context, address string, body []byte, samples int) int {
	req, err := s.request(ctx, address, body)
	if err != nil {
		s.t.Errorf("BUG: %v", err)
		return 0
	}
	resp, err := s.client.Do(req)
	if err != nil {
		s.failure(err.Error())
		return 0
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err != nil {
		s.failure(err.Error())
		return 0
	}
	if resp.StatusCode/100 != 2 {
		s.failure(fmt.Sprintf("%d %s", resp.StatusCode, answer))
	} else if s.Protocol == 2 {
		s.checkWritten(resp.Header, samples)
	}
	return resp.StatusCode
}

func (s *Source) failure(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = text
}

// checkWritten: to Prometheus a 2xx without counts is a failed send.
func (s *Source) checkWritten(h http.Header, samples int) {
	want := map[string]int{SamplesWritten: samples, HistogramsWritten: 0, ExemplarsWritten: 0}
	for name, n := range want {
		if got := h.Get(name); got != strconv.Itoa(n) {
			s.problem(fmt.Sprintf("%s is %q, want %d", name, got, n))
		}
	}
}

func (s *Source) request(ctx context.Context, address string, body []byte) (*http.Request, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	if s.Identify == ByURL {
		q := u.Query()
		q.Set("highlander_group", s.Group)
		q.Set("highlander_source", s.Name)
		if s.Weight > 0 {
			q.Set("highlander_weight", strconv.FormatUint(s.Weight, 10))
		}
		u.RawQuery = q.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Encoding", "snappy")
	req.Header.Set("Content-Type", ContentV1)
	req.Header.Set("X-Prometheus-Remote-Write-Version", "0.1.0")
	if s.Protocol == 2 {
		req.Header.Set("Content-Type", ContentV2)
		req.Header.Set("X-Prometheus-Remote-Write-Version", "2.0.0")
	}
	if s.Tenant != "" {
		req.Header.Set("X-Scope-OrgID", s.Tenant)
	}
	if s.Identify == ByHeaders {
		req.Header.Set("X-Highlander-Group", s.Group)
		req.Header.Set("X-Highlander-Source", s.Name)
		if s.Weight > 0 {
			req.Header.Set("X-Highlander-Weight", strconv.FormatUint(s.Weight, 10))
		}
	}
	return req, nil
}

// Skip lets the source go on with sample n.
func (s *Source) Skip(n int) { s.next = n }
