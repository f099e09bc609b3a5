package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/hashicorp/raft"
)

// What members ask each other over http streams. Everything else goes to Options.Handler.
const (
	pathReport  = "/cluster/v1/report"
	pathView    = "/cluster/v1/view"
	pathChange  = "/cluster/v1/change"
	pathPrepare = "/cluster/v1/prepare"

	answerBytesMax = 1 << 20
	changeTimeout  = 10 * time.Second
)

type peerKey struct{}

// PeerOf tells a handler of requests on the cluster port who asks.
func PeerOf(ctx context.Context) (Peer, bool) {
	peer, ok := ctx.Value(peerKey{}).(Peer)
	return peer, ok
}

func (n *Node) newServer() *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+pathReport, func(w http.ResponseWriter, _ *http.Request) { reply(w, n.report(), nil) })
	mux.HandleFunc("GET "+pathView, func(w http.ResponseWriter, _ *http.Request) { reply(w, n.outlook(), nil) })
	mux.HandleFunc("POST "+pathChange, serve(n.serveChange))
	mux.HandleFunc("POST "+pathPrepare, serve(func(_ context.Context, request prepareRequest) error { return n.prepare(request) }))
	mux.Handle("/", n.opts.Handler)
	return &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(n.logger.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			if c, ok := conn.(peerConn); ok {
				return context.WithValue(ctx, peerKey{}, c.peer)
			}
			return ctx
		},
	}
}

func serve[T any](handle func(context.Context, T) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var request T
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, answerBytesMax)).Decode(&request); err != nil {
			reply(w, nil, fmt.Errorf("%w: %w", ErrRefused, err))
			return
		}
		reply(w, struct{}{}, handle(r.Context(), request))
	}
}

type failureBody struct {
	Error string `json:"error"`
}

func reply(w http.ResponseWriter, body any, err error) {
	w.Header().Set("Content-Type", "application/json")
	switch {
	case err == nil:
	case errors.Is(err, ErrUnknownNode):
		w.WriteHeader(http.StatusNotFound)
	case errors.Is(err, ErrRefused):
		w.WriteHeader(http.StatusConflict)
	default:
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	if err != nil {
		body = failureBody{err.Error()}
	}
	_ = json.NewEncoder(w).Encode(body) // the caller is gone
}

// remoteError is another node's error, in its words, with our sentinel.
type remoteError struct {
	text string
	kind error
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.kind }

// exchange sends one request and decodes the answer.
func exchange(ctx context.Context, via http.RoundTripper, method, host, path string, request, answer any) error {
	var body io.Reader
	if request != nil {
		text, err := json.Marshal(request)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://"+host+path, body)
	if err != nil {
		return err
	}
	response, err := via.RoundTrip(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, answerBytesMax))
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return decodeFailure(response.StatusCode, text)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(text, answer)
}

func decodeFailure(status int, text []byte) error {
	var failure failureBody
	if err := json.Unmarshal(text, &failure); err != nil || failure.Error == "" {
		return fmt.Errorf("status %d", status)
	}
	switch status {
	case http.StatusNotFound:
		return &remoteError{failure.Error, ErrUnknownNode}
	case http.StatusConflict:
		return &remoteError{failure.Error, ErrRefused}
	}
	return errors.New(failure.Error)
}

// newClient makes the transport for requests to members. Their UUID is the host of the URL, so connections
// are kept by identity and never reused for another node at the same address.
func (n *Node) newClient() *http.Transport {
	return &http.Transport{
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			uuid, _, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			t, ok := n.locate(uuid)
			if !ok {
				return nil, fmt.Errorf("%w: %s is not a member", ErrUnknownNode, uuid)
			}
			return n.port.dial(ctx, t, streamHTTP)
		},
		DisableCompression:  true,
		MaxIdleConnsPerHost: 32,
		IdleConnTimeout:     time.Minute,
	}
}

// locate finds out how to dial a member.
func (n *Node) locate(uuid string) (target, bool) {
	cluster := n.dir.Identity().Cluster
	for _, server := range n.servers() {
		if _, id := splitServerID(server.ID); id == uuid {
			t, err := parseAddress(server.Address)
			t.Cluster = cluster
			return t, err == nil
		}
	}
	if inst := n.current.Load(); inst != nil {
		address, id := inst.raft.LeaderWithID()
		if _, leader := splitServerID(id); leader == uuid {
			t, err := parseAddress(address)
			t.Cluster = cluster
			return t, err == nil
		}
	}
	return target{}, false
}

// postTo asks a node that need not be a member.
func (n *Node) postTo(ctx context.Context, t target, path string, request, answer any) error {
	once := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return n.port.dial(ctx, t, streamHTTP)
		},
	}
	return exchange(ctx, once, http.MethodPost, t.UUID, path, request, answer)
}

// LeaderHost stands for the leader's UUID, whoever it is when the request is sent.
const LeaderHost = "leader"

// RoundTripper sends HTTP requests to a member, named by its UUID or as LeaderHost, over the cluster port. The
// host of a request's URL does not matter.
func (n *Node) RoundTripper(member string) http.RoundTripper { return memberTripper{n, member} }

type memberTripper struct {
	node   *Node
	member string
}

// RoundTrip implements http.RoundTripper.
func (t memberTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	uuid := t.member
	if uuid == LeaderHost {
		leader, ok := t.node.Leader()
		if !ok {
			return nil, errors.New("no leader is known")
		}
		uuid = leader.UUID
	}
	if uuid == t.node.UUID() {
		return nil, errors.New("the request is for this node itself")
	}
	sent := r.Clone(r.Context())
	sent.URL.Scheme, sent.URL.Host = "http", uuid
	return t.node.client.RoundTrip(sent)
}

// Leader returns the leader as far as this node knows.
func (n *Node) Leader() (Member, bool) {
	inst := n.current.Load()
	if inst == nil {
		return Member{}, false
	}
	address, id := inst.raft.LeaderWithID()
	if id == "" || inst.raft.State() == raft.Leader && !n.IsLeader() {
		return Member{}, false
	}
	name, uuid := splitServerID(id)
	t, _ := parseAddress(address)
	return Member{Name: name, UUID: uuid, Address: t.HostPort, Voter: true, Leader: true}, true
}
