package server

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
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
