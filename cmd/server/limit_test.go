package server

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// Connections above the bound are closed at once and counted; one that ends makes room for another.
func TestConnectionsAreBounded(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener := limitConnections(inner, 2)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })}
	go func() { _ = server.Serve(listener) }()
	defer server.Close()

	dial := func() (net.Conn, bool) {
		conn, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n") // to a closed one it may fail
		_, err = conn.Read(make([]byte, 1))
		if errors.Is(err, net.ErrClosed) {
			t.Fatal(err)
		}
		return conn, err == nil
	}
	first, served := dial()
	_, served2 := dial()
	if !served || !served2 {
		t.Fatal("a connection within the bound was closed")
	}
	if _, served = dial(); served || listener.refused.Load() != 1 {
		t.Fatalf("third of two connections: served %v, %d counted as refused", served, listener.refused.Load())
	}
	first.Close()
	for deadline := time.Now().Add(time.Minute); listener.open.Load() != 1; {
		if time.Now().After(deadline) {
			t.Fatalf("%d connections are open", listener.open.Load())
		}
	}
	if _, served = dial(); !served {
		t.Error("the place of a closed connection was not given away")
	}
}

func TestWebConnectionsLeaveFilesForTheLog(t *testing.T) {
	if got := webConnections(); got < 1 || got > webConnectionsMax {
		t.Errorf("%d connections", got)
	}
}

// A request that declares a body and sends none of it is answered, and keeps neither a reader's place nor its connection.
func TestNobodyWaitsForABody(t *testing.T) {
	n := start(t, "")
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := n.webServer()
	if server.ReadTimeout == 0 {
		t.Fatal("a body has for ever to arrive")
	}
	server.ReadTimeout = 50 * time.Millisecond
	go func() { _ = server.Serve(inner) }()
	defer server.Close()
	for _, c := range []struct{ request, want string }{
		{"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n", " 200 "},
		{"POST /-/ready HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n", " 405 "},
		{"POST /api/v1/write HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 10\r\n\r\n", " 415 "},
	} {
		conn, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		_, _ = io.WriteString(conn, c.request)
		answer, err := io.ReadAll(conn)
		if line, _, _ := strings.Cut(string(answer), "\r\n"); err != nil || !strings.Contains(line, c.want) {
			t.Errorf("%q: %q, then %v; want%sand the end", c.request, line, err, c.want)
		}
	}
}

// The place of a reader is free when its answer is written, whatever it still owes.
func TestReadersWaitForNoBody(t *testing.T) {
	left := make(chan struct{}, 1)
	next := atMost(1, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(make([]byte, 1<<16)) // more than is gathered before an answer's head is written
	}))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r)
		left <- struct{}{}
	}))
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
	select {
	case <-left:
	case <-time.After(time.Minute):
		t.Fatal("a reader's place waits for its body")
	}
}

func TestReadersAreBounded(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	handler := atMost(2, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		entered <- struct{}{}
		<-leave
	}))
	ask := func() int {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", http.NoBody))
		return w.Code
	}
	done := make(chan int)
	for range 2 {
		go func() { done <- ask() }()
		<-entered
	}
	if got := ask(); got != http.StatusServiceUnavailable {
		t.Errorf("third of two readers: %d, want 503", got)
	}
	close(leave)
	for range 2 {
		if got := <-done; got != http.StatusOK {
			t.Errorf("reader within the bound: %d", got)
		}
	}
	go func() { <-entered }()
	if got := ask(); got != http.StatusOK {
		t.Errorf("reader after the others have left: %d", got)
	}
}
