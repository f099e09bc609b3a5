package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/highlander-io/highlander/cluster"
	"github.com/highlander-io/highlander/fsm"
)

const (
	adminPrefix = "/v1/"
	// adminTimeout bounds one admin command; joining waits for the newcomer to catch up and has its own bound.
	adminTimeout = 30 * time.Second
	joinTimeout  = 10 * time.Minute
	// adminBodyMax bounds the JSON of a command.
	adminBodyMax = 64 << 10
	// passedHeader marks a command that a follower passed on. It is passed once: a leader that lost its
	// leadership on the way refuses it.
	passedHeader = "X-Highlander-Passed"
)

// AdminSocket returns the path of the admin socket of the node whose data directory is dir.
func AdminSocket(dir string) string { return filepath.Join(dir, "admin.sock") }

// listenAdmin opens the admin socket. The data directory is locked by then, so a socket that is there was
// left behind.
func listenAdmin(dir string) (net.Listener, error) {
	path := AdminSocket(dir)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("admin socket: remove what the last run left: %w", err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("admin socket: %w (a socket's path may have at most 107 bytes)", err)
	}
	if err := os.Chmod(path, 0o660); err != nil {
		return nil, errors.Join(fmt.Errorf("admin socket: %w", err), listener.Close())
	}
	return listener, nil
}

// adminRoutes are the admin commands. Commands about the log go to the leader, whoever was asked.
func (s *Server) adminRoutes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", s.serveStatus)
	mux.HandleFunc("POST /v1/cluster/join", command(s.join))
	mux.HandleFunc("POST /v1/cluster/leave", command(s.leave))
	mux.HandleFunc("POST /v1/cluster/remove", command(s.remove))
	mux.HandleFunc("POST /v1/cluster/transfer-leadership", command(s.transferLeadership))
	mux.Handle("POST /v1/source", s.onLeader(command(s.sourceOp)))
	mux.HandleFunc("GET /v1/source/history", s.serveHistory)
	mux.Handle("POST /v1/destination", s.onLeader(command(s.destinationOp)))
	mux.HandleFunc("GET /v1/dead-letters", s.serveLetters)
	mux.HandleFunc("GET /v1/dead-letters/{id}", s.serveLetter)
	mux.Handle("POST /v1/dead-letter", s.onLeader(command(s.letterOp)))
	return mux
}

// onLeader passes a request to the leader unless this node leads.
func (s *Server) onLeader(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.node.IsLeader() {
			next.ServeHTTP(w, r)
			return
		}
		leader, known := s.node.Leader()
		if !known || r.Header.Get(passedHeader) != "" {
			refuse(w, errNoLeader)
			return
		}
		proxy := &httputil.ReverseProxy{
			Rewrite: func(p *httputil.ProxyRequest) {
				p.SetURL(&url.URL{Scheme: "http", Host: leader.Name})
				p.Out.Header.Set(passedHeader, s.identity.Name)
			},
			Transport: s.node.RoundTripper(leader.UUID),
			ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
				refuse(w, fmt.Errorf("%w: leader %s: %w", errUnavailable, leader.Name, err))
			},
		}
		proxy.ServeHTTP(w, r)
	})
}

// What an admin command can be refused for; adminStatus maps them.
var (
	errBadInput    = errors.New("bad input")
	errUnavailable = errors.New("not possible at the moment")
	errNoLeader    = fmt.Errorf("%w: the cluster has no leader; `highlander cluster status` shows which nodes are reachable", errUnavailable)
)

func adminStatus(err error) int {
	switch {
	case errors.Is(err, errBadInput):
		return http.StatusBadRequest
	case errors.Is(err, fsm.ErrUnknown), errors.Is(err, cluster.ErrUnknownNode):
		return http.StatusNotFound
	case errors.Is(err, errUnavailable), errors.Is(err, cluster.ErrNotLeader), errors.Is(err, cluster.ErrUncertain),
		errors.Is(err, context.DeadlineExceeded):
		return http.StatusServiceUnavailable
	}
	return http.StatusConflict
}

func refuse(w http.ResponseWriter, err error) {
	respond(w, adminStatus(err), map[string]string{"error": err.Error()})
}

// command serves one admin command whose arguments come as a JSON object.
func command[T any](run func(ctx context.Context, arguments T) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var arguments T
		decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, adminBodyMax))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&arguments); err != nil && !errors.Is(err, io.EOF) {
			refuse(w, fmt.Errorf("%w: %w", errBadInput, err))
			return
		}
		if err := run(r.Context(), arguments); err != nil {
			refuse(w, err)
			return
		}
		respond(w, http.StatusOK, struct{}{})
	}
}
