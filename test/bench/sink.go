package main

import (
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/prompb"

	"github.com/highlander-io/highlander/test/harness"
)

// sink takes everything and does next to nothing with it while a run lasts.
type sink struct {
	address  string
	counting bool // count bytes only, do not keep bodies

	mu          sync.Mutex
	refusing    bool
	pending     [][]byte  // not looked at yet
	seen        int64     // samples
	bytes       int64     // since mark
	requests    int       // since mark
	first, last time.Time // since mark
}

func newSink(s *harness.Stage) *sink {
	k := &sink{address: harness.Address(harness.FreePort())}
	l, err := net.Listen("tcp", k.address)
	if err != nil {
		s.Fatal(err)
	}
	server := &http.Server{Handler: k}
	go func() { _ = server.Serve(l) }()
	s.Cleanup(func() { _ = server.Close() })
	return k
}

func (k *sink) url() string { return "http://" + k.address + "/api/v1/write" }

func (k *sink) refuse(on bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refusing = on
}

func (k *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	refusing := k.refusing
	k.mu.Unlock()
	if refusing {
		http.Error(w, "down", http.StatusServiceUnavailable)
		return
	}
	begun := time.Now()
	body, n := k.take(r.Body)
	k.mu.Lock()
	if k.first.IsZero() {
		k.first = begun
	}
	k.last = time.Now()
	k.bytes += n
	k.requests++
	if body != nil {
		k.pending = append(k.pending, body)
	}
	k.mu.Unlock()
	w.WriteHeader(http.StatusNoContent)
}

func (k *sink) take(r io.Reader) (body []byte, n int64) {
	if k.counting {
		n, _ = io.Copy(io.Discard, r)
		return nil, n
	}
	body, _ = io.ReadAll(r)
	return body, int64(len(body))
}

// samples counts what has arrived; bodies are opened here, after the run, not while it lasts.
func (k *sink) samples() int64 {
	k.mu.Lock()
	pending := k.pending
	k.pending = nil
	k.mu.Unlock()
	var n int64
	for _, body := range pending {
		raw, err := snappy.Decode(nil, body)
		if err != nil {
			continue
		}
		var req prompb.WriteRequest
		if req.Unmarshal(raw) != nil {
			continue
		}
		for _, ts := range req.Timeseries {
			n += int64(len(ts.Samples))
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.seen += n
	return k.seen
}
