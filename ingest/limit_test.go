package ingest

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// Whoever declares a large body and sends nothing of it takes nobody's place.
func TestSilentClientsTakeNoRoom(t *testing.T) {
	d := newDesk(t)
	server := httptest.NewServer(d.Handler)
	defer server.Close()
	const silent = 100
	for range silent {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\nx", 32<<20)
	}
	deadline := time.Now().Add(time.Minute)
	for waiting := 0; waiting < silent; {
		d.active.mu.Lock()
		waiting = d.active.n
		d.active.mu.Unlock()
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d requests are being read", waiting, silent)
		}
	}
	if used := d.budget.used.Load(); used > silent*firstRead {
		t.Errorf("%d bytes are in flight for %d bytes that have arrived", used, silent)
	}
	d.expect(d.post(bodyV1(t, series(d.clock.Now(), "__name__", "up")), by("g", "a")), 204)
}

// Whoever stalls in the middle of a body is answered, and lets go of: net/http would wait for the rest of it otherwise.
func TestStalledBodyIsHungUpOn(t *testing.T) {
	d := newDesk(t, func(o *Options) { o.BodyTimeout = 50 * time.Millisecond })
	server := httptest.NewServer(d.Handler)
	defer server.Close()
	for _, head := range []string{"Content-Length: 100\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n5\r\nabc"} {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\n%s", head)
		answer, err := io.ReadAll(conn)
		if err != nil || !bytes.Contains(answer, []byte(" 503 ")) {
			t.Errorf("%q: %q, then %v; want 503 and the end", head, answer, err)
		}
	}
}

// A body is read whole whatever its length, declared or not, and held to its bound; at the end nothing is charged.
func TestReadBody(t *testing.T) {
	d := newDesk(t, func(o *Options) { o.MaxBodyBytes = 1 << 20 })
	o := d.options.Load()
	for _, size := range []int{0, 1, firstRead - 1, firstRead, firstRead + 1, 100_000, 1<<20 - 1, 1 << 20, 1<<20 + 1} {
		for _, declared := range []bool{true, false} {
			body := bytes.Repeat([]byte("0123456789abcdef!"), size/17+1)[:size]
			r := httptest.NewRequest(http.MethodPost, "/", io.NopCloser(bytes.NewReader(body)))
			if r.ContentLength = -1; declared {
				r.ContentLength = int64(size)
			}
			buf, a := d.readBody(httptest.NewRecorder(), r, o)
			switch {
			case size > 1<<20:
				if buf != nil || a.outcome != tooLarge {
					t.Errorf("%d bytes, declared %v: %+v, want 413", size, declared, a)
				}
			case buf == nil:
				t.Errorf("%d bytes, declared %v: %+v", size, declared, a)
			default:
				if !bytes.Equal(buf.b, body) {
					t.Errorf("%d bytes, declared %v: read %d, or others", size, declared, len(buf.b))
				}
				buf.release()
			}
			if used := d.budget.used.Load(); used != 0 {
				t.Fatalf("%d bytes, declared %v: %d bytes stay charged", size, declared, used)
			}
		}
	}
}
