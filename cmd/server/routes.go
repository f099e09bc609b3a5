package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/pprof"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/highlander-io/highlander/ingest"
)

// writePaths are the paths on which Prometheus, Cortex, Mimir, Thanos and VictoriaMetrics take remote writes;
// a sender moves over by changing the host alone.
var writePaths = []string{"/api/v1/write", "/api/v1/push", "/api/prom/push", "/api/v1/receive", "/write"}

// webRoutes are the routes of the web port. None but writes, and reload if enabled, changes anything.
func (s *Server) webRoutes() http.Handler {
	mux := http.NewServeMux()
	for _, path := range writePaths {
		mux.Handle(path, s.ingest)
	}
	mux.Handle("GET /{$}", atMost(readersMax, http.HandlerFunc(s.servePage)))
	mux.Handle("GET /api/v1/status", atMost(readersMax, http.HandlerFunc(s.serveStatus)))
	mux.Handle("GET /metrics", atMost(readersMax, promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{Registry: s.registry})))
	mux.HandleFunc("GET /-/healthy", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintln(w, "highlander is healthy.")
	})
	mux.HandleFunc("GET /-/ready", s.serveReady)
	mux.HandleFunc("/-/reload", s.serveReload)
	return mux
}

// peerRoutes are what other members may ask over the cluster port. The admin commands are among them because
// a follower passes to the leader what only the leader can do.
func (s *Server) peerRoutes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST "+ingest.ForwardPath, s.ingest.Forwarded())
	mux.Handle(ingest.KeptPath, s.ingest.Kept())
	mux.Handle(ingest.KeptReleasePath, s.ingest.Kept())
	mux.HandleFunc("GET "+localStatusPath, s.serveLocalStatus)
	mux.Handle(adminPrefix, s.adminRoutes())
	return mux
}

// socketRoutes are the routes of the admin socket: the admin commands, and profiles.
func (s *Server) socketRoutes() http.Handler {
	mux := s.adminRoutes()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

func (s *Server) serveStatus(w http.ResponseWriter, r *http.Request) {
	respond(w, http.StatusOK, s.Status(r.Context()))
}

// serveReady answers 200 when Ready has nothing against it.
func (s *Server) serveReady(w http.ResponseWriter, _ *http.Request) {
	if err := s.Ready(); err != nil {
		http.Error(w, "not ready: "+err.Error(), http.StatusServiceUnavailable)
		return
	}
	_, _ = fmt.Fprintln(w, "highlander is ready.")
}

func (s *Server) serveReload(w http.ResponseWriter, r *http.Request) {
	if !s.lifecycle {
		http.Error(w, "reload over HTTP is not enabled: set web.enable_lifecycle, or send SIGHUP", http.StatusForbidden)
		return
	}
	if r.Method != http.MethodPost && r.Method != http.MethodPut {
		w.Header().Set("Allow", "POST, PUT")
		http.Error(w, "only POST or PUT requests are allowed", http.StatusMethodNotAllowed)
		return
	}
	if err := s.Reload(); err != nil {
		http.Error(w, "reload failed: "+err.Error(), http.StatusInternalServerError)
	}
}

// respond writes a JSON answer.
func respond(w http.ResponseWriter, status int, document any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(document) // the client is gone: nobody to tell
}
