package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/highlander-io/highlander/test/history"
)

// Reply is how the LTS treats one request instead of taking it.
type Reply struct {
	Status int
	Header map[string]string
	Body   string
	Commit bool // take the samples although the answer says otherwise, or there is none
	Drop   bool // close the connection without an answer
	Unread bool // answer without reading the body
}

// Received is one request as the LTS saw it.
type Received struct {
	Header     http.Header
	Path       string
	Protocol   int // 1 or 2
	Bytes      int
	Samples    []history.Sample
	Labels     [][]Label
	Histograms int
	Exemplars  int
	Metadata   int
	Taken      bool
	Status     int // 0: no answer
}

// LTS is a remote-write receiver in the test's process that records what it takes and misbehaves as told. Its
// address stays the same while it is down.
type LTS struct {
	Name    string
	Log     *history.Log
	Timeout string // of a send; what is given up is sent again. Empty: that of To

	t       testing.TB
	address string
	listen  func(network, address string) (net.Listener, error)

	mu       sync.Mutex
	server   *http.Server
	script   []Reply
	refuse   func(*Received) *Reply
	hang     chan struct{} // not nil while hanging
	slow     time.Duration
	only     int // the protocol it takes; 0: both
	requests []*Received
	problems []string
}

// NewLTS starts a receiver that records into log.
func NewLTS(t testing.TB, name string, log *history.Log) *LTS {
	t.Helper()
	return NewLTSAt(t, name, log, Address(FreePort()), net.Listen)
}

// NewLTSAt is NewLTS at an address that listen can listen on, for instance in a network namespace.
func NewLTSAt(t testing.TB, name string, log *history.Log, address string,
	listen func(network, address string) (net.Listener, error)) *LTS {
	t.Helper()
	l := &LTS{Name: name, Log: log, t: t, address: address, listen: listen}
	l.Up()
	t.Cleanup(func() {
		l.Release()
		l.Down()
	})
	return l
}

// URL is where it takes remote write.
func (l *LTS) URL() string { return "http://" + l.address + "/api/v1/write" }

// Destination describes the LTS as a destination named like itself.
func (l *LTS) Destination() Map {
	to := To(l.Name, l.URL())
	if l.Timeout != "" {
		to["remote_timeout"] = l.Timeout
	}
	return to
}

// Up starts listening.
func (l *LTS) Up() {
	l.t.Helper()
	var listener net.Listener
	Eventually(l.t, "the port of LTS "+l.Name, func() (err error) {
		listener, err = l.listen("tcp", l.address)
		return err
	})
	server := &http.Server{Handler: l, ReadHeaderTimeout: Patience}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.server = server
	go func() { _ = server.Serve(listener) }()
}

// Down stops listening and cuts every connection: what is in flight gets no answer.
func (l *LTS) Down() {
	l.mu.Lock()
	server := l.server
	l.server = nil
	l.mu.Unlock()
	if server != nil {
		_ = server.Close()
	}
}

// Answer gives the next requests the replies, in order; afterwards everything is taken again.
func (l *LTS) Answer(replies ...Reply) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.script = append(l.script, replies...)
}

// Scripted says how many replies of Answer are left.
func (l *LTS) Scripted() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.script)
}

// Refuse asks decide about every request; nil takes it. Refuse(nil) ends that.
func (l *LTS) Refuse(decide func(*Received) *Reply) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refuse = decide
}

// Hang lets requests wait without an answer until Release, or until the sender gives up.
func (l *LTS) Hang() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.hang == nil {
		l.hang = make(chan struct{})
	}
}

// Release ends Hang.
func (l *LTS) Release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.hang != nil {
		close(l.hang)
		l.hang = nil
	}
}

// Slow delays every answer.
func (l *LTS) Slow(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.slow = d
}

// Only makes it answer 415 to the other protocol.
func (l *LTS) Only(protocol int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.only = protocol
}

// Requests returns every request so far, answered or not.
func (l *LTS) Requests() []Received {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make([]Received, len(l.requests))
	for i, r := range l.requests {
		list[i] = *r
	}
	return list
}

// Taken counts the samples that were taken, repetitions included.
func (l *LTS) Taken() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, r := range l.requests {
		if r.Taken {
			n += len(r.Samples)
		}
	}
	return n
}

// Problems lists what no receiver should ever be sent: undecodable bodies, wrong headers, broken symbol tables.
func (l *LTS) Problems() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.problems...)
}

// ServeHTTP answers one request.
func (l *LTS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !l.pause(r.Context()) {
		return
	}
	reply := l.next()
	got := &Received{Header: r.Header.Clone(), Path: r.URL.Path, Protocol: protocolOf(r.Header)}
	if reply == nil || !reply.Unread {
		if err := read(got, r.Body); err != nil {
			l.unreadable(w, got, err)
			return
		}
	}
	if reply == nil {
		reply = l.judge(got)
	}
	l.finish(w, got, reply)
}

// pause waits as long as told to; false: the sender gave up.
func (l *LTS) pause(ctx context.Context) bool {
	l.mu.Lock()
	hang, slow := l.hang, l.slow
	l.mu.Unlock()
	if hang != nil {
		select {
		case <-hang:
		case <-ctx.Done():
			return false
		}
	}
	if slow > 0 {
		select {
		case <-time.After(slow):
		case <-ctx.Done():
			return false
		}
	}
	return true
}

func (l *LTS) next() *Reply {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.script) == 0 {
		return nil
	}
	reply := l.script[0]
	l.script = l.script[1:]
	return &reply
}

func (l *LTS) judge(got *Received) *Reply {
	l.mu.Lock()
	refuse, only := l.refuse, l.only
	l.mu.Unlock()
	if only != 0 && got.Protocol != only {
		return &Reply{Status: http.StatusUnsupportedMediaType, Body: "unsupported protobuf message"}
	}
	if refuse != nil {
		return refuse(got)
	}
	return nil
}

// finish records the request before it answers, so that whoever saw the answer finds the record.
func (l *LTS) finish(w http.ResponseWriter, got *Received, reply *Reply) {
	got.Taken = reply == nil || reply.Commit
	got.Status = http.StatusNoContent
	if reply != nil {
		got.Status = reply.Status
	}
	l.mu.Lock()
	if got.Taken && l.Log != nil {
		l.Log.Receive(got.Samples)
	}
	l.requests = append(l.requests, got)
	l.mu.Unlock()
	switch {
	case reply == nil:
		if got.Protocol == 2 {
			writtenHeaders(w.Header(), got)
		}
		w.WriteHeader(http.StatusNoContent)
	case reply.Drop:
		panic(http.ErrAbortHandler)
	default:
		for k, v := range reply.Header {
			w.Header().Set(k, v)
		}
		w.WriteHeader(reply.Status)
		_, _ = io.WriteString(w, reply.Body)
	}
}

func (l *LTS) unreadable(w http.ResponseWriter, got *Received, err error) {
	var cut *http.MaxBytesError
	if !errors.As(err, &cut) && !errors.Is(err, io.ErrUnexpectedEOF) && !isNet(err) {
		l.mu.Lock()
		l.problems = append(l.problems, fmt.Sprintf("%s body of protocol %d: %v", got.Path, got.Protocol, err))
		l.mu.Unlock()
	}
	http.Error(w, err.Error(), http.StatusBadRequest)
}

func isNet(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) || errors.Is(err, context.Canceled)
}

func read(got *Received, body io.Reader) error {
	data, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	got.Bytes = len(data)
	decode := decodeV1
	if got.Protocol == 2 {
		decode = decodeV2
	}
	d, err := decode(data)
	if err != nil {
		return err
	}
	if err := checkHeaders(got); err != nil {
		return err
	}
	got.Samples, got.Labels = d.Samples, d.Labels
	got.Histograms, got.Exemplars, got.Metadata = d.Histograms, d.Exemplars, d.Metadata
	return nil
}

func protocolOf(h http.Header) int {
	if strings.Contains(h.Get("Content-Type"), "io.prometheus.write.v2.Request") {
		return 2
	}
	return 1
}

func checkHeaders(got *Received) error {
	if e := got.Header.Get("Content-Encoding"); e != "snappy" {
		return fmt.Errorf("Content-Encoding is %q, want snappy", e)
	}
	want := map[int]string{1: "0.1.0", 2: "2.0.0"}[got.Protocol]
	if v := got.Header.Get("X-Prometheus-Remote-Write-Version"); v != want {
		return fmt.Errorf("X-Prometheus-Remote-Write-Version is %q, want %s", v, want)
	}
	return nil
}

// Headers of remote write 2.0 that say what was written.
const (
	SamplesWritten    = "X-Prometheus-Remote-Write-Samples-Written"
	HistogramsWritten = "X-Prometheus-Remote-Write-Histograms-Written"
	ExemplarsWritten  = "X-Prometheus-Remote-Write-Exemplars-Written"
)

func writtenHeaders(h http.Header, got *Received) {
	h.Set(SamplesWritten, strconv.Itoa(len(got.Samples)-got.Histograms))
	h.Set(HistogramsWritten, strconv.Itoa(got.Histograms))
	h.Set(ExemplarsWritten, strconv.Itoa(got.Exemplars))
}
