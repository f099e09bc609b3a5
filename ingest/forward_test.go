package ingest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/highlander-io/highlander/fsm"
)

// pair is a follower whose way to the leader is a call.
func newPair(t *testing.T) (follower, leader *desk) {
	leader, follower = newDesk(t), newDesk(t)
	follower.Handler.lead.Store(nil)
	follower.node.follower.Store(true)
	follower.leadsTo(roundTripper{leader.Forwarded()})
	return follower, leader
}

func (d *desk) leadsTo(rt http.RoundTripper) { d.node.leader.Store(&rt) }

type roundTripFunc func(*http.Request) (*http.Response, error)

func (f roundTripFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestForward(t *testing.T) {
	follower, leader := newPair(t)
	at := leader.clock.Now()
	body := bodyV1(t, series(at, "__name__", "up"))

	follower.expect(follower.post(body, by("g", "a%20b"), set("X-Scope-OrgID", "t")), 204)
	follower.expect(follower.post(body, set("X-Highlander-Group", "g"), set("X-Highlander-Source", " ü "), set("X-Highlander-Weight", "3")), 204)
	follower.expect(follower.post(body, from("10.0.0.5:77")), 204)
	batches := leader.node.batches(t)
	if len(batches) != 3 || !bytes.Equal(batches[0].Body, body) {
		t.Fatalf("%d batches", len(batches))
	}
	if b := batches[0]; b.Group != (fsm.GroupID{Tenant: "t", Name: "g"}) || b.Source != "a b" {
		t.Errorf("by parameters: %+v", b)
	}
	if b := batches[2]; b.Source != "10.0.0.5" {
		t.Errorf("the client is %q, not the follower", b.Source)
	}
	if n := len(follower.node.entries); n != 1 { // its registration
		t.Errorf("the follower proposed %d entries", n-1)
	}

	v2 := encode(t, requestV2(at, 3))
	w := follower.post(v2, asV2, by("g2", "a"))
	follower.expect(w, 204)
	writtenHeaders(t, w.Header(), "3", "1", "3")
	w = follower.post(v2, asV2, by("g2", "b"))
	follower.expect(w, 202)
	writtenHeaders(t, w.Header(), "3", "1", "3")
	w = follower.post([]byte("rubbish"), by("g2", "a"))
	follower.expect(w, 400)
	if !strings.Contains(w.Body.String(), "snappy") {
		t.Errorf("the leader's reason got lost: %q", w.Body)
	}
	leader.refuseAll("storage is full")
	w = follower.post(body, by("g", "x"))
	follower.expect(w, 503)
	if w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "storage is full") {
		t.Errorf("%v %q", w.Header(), w.Body)
	}
	if follower.budget.used.Load() != 0 || leader.budget.used.Load() != 0 {
		t.Error("bytes in flight are left")
	}
}

func TestForwardOverConnections(t *testing.T) {
	follower, leader := newPair(t)
	server := httptest.NewServer(http.StripPrefix("", leader.Forwarded()))
	defer server.Close()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	follower.leadsTo(roundTripFunc(func(r *http.Request) (*http.Response, error) {
		r.URL.Host = strings.TrimPrefix(server.URL, "http://")
		return transport.RoundTrip(r)
	}))
	for i := range 20 {
		body := bodyV1(t, series(leader.clock.Now(), "__name__", "up", "i", strconv.Itoa(i), "noise", noise(100<<10)))
		follower.expect(follower.post(body, by("g", "a")), 204)
	}
	if got := leader.group("g").Books.Accepted; got != 20 {
		t.Errorf("accepted %d", got)
	}
	until(t, "the transport to let go of the bodies", func() bool { return follower.budget.used.Load() == 0 })
}

func TestOneHop(t *testing.T) {
	one, other := newPair(t) // each takes the other for the leader
	other.Handler.lead.Store(nil)
	other.node.follower.Store(true)
	hops := 0
	other.leadsTo(roundTripFunc(func(*http.Request) (*http.Response, error) {
		hops++
		return nil, errors.New("no second hop")
	}))
	w := one.post(bodyV1(t, series(one.clock.Now(), "__name__", "up")))
	one.expect(w, 503)
	if hops != 0 {
		t.Error("I8: the request went on")
	}
}

func TestClientCannotPretendToBeAFollower(t *testing.T) {
	d := newDesk(t)
	d.expect(d.post(bodyV1(t, series(d.clock.Now(), "__name__", "up")), set("X-Highlander-Client", "10.1.1.1"), from("10.0.0.9:1")), 204)
	if b := d.node.batches(t); b[0].Source != "10.0.0.9" {
		t.Errorf("source %q", b[0].Source)
	}
}

func TestLeaderThatAnswersStrangely(t *testing.T) {
	for _, status := range []int{200, 301, 401, 404, 429, 500, 502} {
		follower, _ := newPair(t)
		follower.leadsTo(roundTripFunc(func(r *http.Request) (*http.Response, error) {
			_ = r.Body.Close()
			return &http.Response{StatusCode: status, Status: strconv.Itoa(status), Body: io.NopCloser(strings.NewReader("?"))}, nil
		}))
		w := follower.post(bodyV1(t, series(follower.clock.Now(), "__name__", "up")))
		if w.Code != 503 {
			t.Errorf("leader %d: status %d; only what the leader can say about a request goes to its sender", status, w.Code)
		}
	}
}

func TestLeaderThatCannotBeReached(t *testing.T) {
	follower, _ := newPair(t)
	body := bodyV1(t, series(follower.clock.Now(), "__name__", "up"))
	follower.leadsTo(roundTripFunc(func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") }))
	follower.expect(follower.post(body), 503)
	if follower.budget.used.Load() != 0 {
		t.Error("bytes in flight are left")
	}
}

func TestAnswerThatIsCutOff(t *testing.T) {
	follower, _ := newPair(t)
	follower.leadsTo(roundTripFunc(func(r *http.Request) (*http.Response, error) {
		_ = r.Body.Close()
		return &http.Response{StatusCode: 204, Body: io.NopCloser(cutOff{})}, nil
	}))
	follower.expect(follower.post(bodyV1(t, series(follower.clock.Now(), "__name__", "up"))), 503)
}

type cutOff struct{}

func (cutOff) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// TestBodyOutlivesTheHandler covers a transport that answers before it has let go of the body.
func TestBodyOutlivesTheHandler(t *testing.T) {
	follower, _ := newPair(t)
	var held *http.Request
	follower.leadsTo(roundTripFunc(func(r *http.Request) (*http.Response, error) {
		held = r
		return &http.Response{StatusCode: 204, Body: http.NoBody}, nil
	}))
	body := bodyV1(t, series(follower.clock.Now(), "__name__", "first"))
	follower.expect(follower.post(body), 204)
	if follower.budget.used.Load() == 0 {
		t.Error("the body is not accounted for while it is held")
	}
	late := held
	for range 50 { // these would overwrite the memory if it were free
		follower.expect(follower.post(bytes.Repeat([]byte{'x'}, len(body))), 204)
		_ = held.Body.Close()
	}
	if got, err := io.ReadAll(late.Body); err != nil || !bytes.Equal(got, body) {
		t.Error("the body was overwritten")
	}
	_ = late.Body.Close()
	_ = late.Body.Close() // a second close does nothing
	if used := follower.budget.used.Load(); used != 0 {
		t.Errorf("%d bytes in flight", used)
	}
}

func TestLateRequestsAreVoid(t *testing.T) {
	d := newDesk(t)
	body := bodyV1(t, series(d.clock.Now(), "__name__", "up"))
	forwarded := func(deadline string) int {
		w := httptest.NewRecorder()
		d.Forwarded().ServeHTTP(w, newPost(body, set("X-Highlander-Client", "10.0.0.1"), set("X-Highlander-Deadline", deadline)))
		if w.Header().Get(headerClock) == "" {
			t.Error("an answer without the leader's clock")
		}
		return w.Code
	}
	now := d.clock.Now().UnixMilli()
	for deadline, want := range map[string]int{
		strconv.FormatInt(now-1, 10): 503, strconv.FormatInt(now, 10): 503, "": 503, "soon": 503,
		strconv.FormatInt(now+1000, 10): 204,
	} {
		if code := forwarded(deadline); code != want {
			t.Errorf("deadline %q at %d: status %d, want %d", deadline, now, code, want)
		}
	}
}

func TestClocksThatDiffer(t *testing.T) {
	for _, skew := range []time.Duration{time.Hour, -time.Hour} {
		follower, leader := newPair(t)
		leader.clock.advance(skew)
		body := bodyV1(t, series(leader.clock.Now(), "__name__", "up"))
		first := follower.post(body).Code
		if skew > 0 && first != 503 {
			t.Errorf("status %d: by the leader's clock the request is an hour late", first)
		}
		for range 3 {
			follower.expect(follower.post(body), 204)
		}
		if got := follower.Handler.clock.leader(follower.clock.Now()); got.Sub(leader.clock.Now()).Abs() > time.Second {
			t.Errorf("the follower thinks the leader has %v, it has %v", got, leader.clock.Now())
		}
	}
}

func TestForwardedRequestStopsWithItsClient(t *testing.T) {
	follower, _ := newPair(t)
	ctx, cancel := context.WithCancel(context.Background())
	follower.leadsTo(roundTripFunc(func(r *http.Request) (*http.Response, error) {
		defer r.Body.Close()
		cancel()
		<-r.Context().Done()
		return nil, r.Context().Err()
	}))
	r := newPost(bodyV1(t, series(follower.clock.Now(), "__name__", "up"))).WithContext(ctx)
	w := httptest.NewRecorder()
	follower.ServeHTTP(w, r)
	follower.expect(w, 503)
}

func TestFollowerRefusesWhatNeedsNoLeader(t *testing.T) {
	follower, _ := newPair(t)
	follower.leadsTo(roundTripFunc(func(*http.Request) (*http.Response, error) {
		t.Error("the request was passed on")
		return nil, errors.New("no")
	}))
	follower.expect(follower.post(nil, set("Content-Type", "text/plain")), 415)
	follower.expect(follower.post(nil, query("highlander_source=%00")), 400)
	follower.expect(follower.post(nil, func(r *http.Request) { r.ContentLength = 1 << 40 }), 413)
}

func TestTooLateToPropose(t *testing.T) {
	d := newDesk(t)
	d.say("a")
	d.clock.advance(time.Second)
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // its client has gone, and may be sending the next one already
	w := httptest.NewRecorder()
	d.ServeHTTP(w, newPost(bodyV1(t, series(d.clock.Now(), "__name__", "up")), by("g", "a")).WithContext(ctx))
	d.expect(w, 503)
	if n := len(d.node.batches(t)); n != 1 {
		t.Errorf("%d batches", n)
	}
}
