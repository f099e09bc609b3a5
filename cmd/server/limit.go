package server

import (
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

const (
	// webConnectionsMax bounds the connections of the web port, idle ones included; where the process may open few files,
	// half of those: the rest is the log's, which must not fail for want of one.
	webConnectionsMax = 8192
	// adminConnectionsMax bounds those of the admin socket.
	adminConnectionsMax = 64
	// readersMax bounds how many status documents and scrapes are served at once, each of which may be megabytes.
	readersMax = 32
)

// webConnections is how many connections the web port takes.
func webConnections() int {
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil || files.Cur/2 > webConnectionsMax {
		return webConnectionsMax
	}
	return int(files.Cur / 2)
}

// limitedListener closes what comes when it has max connections already. Waiting instead would let idle ones keep
// everybody else out without a word; whoever is closed tries again, or another node.
type limitedListener struct {
	net.Listener
	max     int64
	open    atomic.Int64
	refused atomic.Uint64
}

func limitConnections(listener net.Listener, most int) *limitedListener {
	return &limitedListener{Listener: listener, max: int64(most)}
}

// Accept implements net.Listener.
func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.Add(1) <= l.max {
			return &limitedConn{Conn: conn, leave: sync.OnceFunc(func() { l.open.Add(-1) })}, nil
		}
		l.open.Add(-1)
		l.refused.Add(1)
		_ = conn.Close() // it was not used
	}
}

// limitedConn gives its place back when it is closed.
type limitedConn struct {
	net.Conn
	leave func()
}

func (c *limitedConn) Close() error {
	c.leave()
	return c.Conn.Close()
}

// atMost serves so many requests at once and answers the others 503.
func atMost(most int, next http.Handler) http.Handler {
	places := make(chan struct{}, most)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case places <- struct{}{}:
			defer func() { <-places }()
			if r.ContentLength != 0 { // else the answer, and with it the place, would wait for a body that nobody reads
				w.Header().Set("Connection", "close")
			}
			next.ServeHTTP(w, r)
		default:
			w.Header().Set("Retry-After", "1")
			http.Error(w, "too many readers; try again", http.StatusServiceUnavailable)
		}
	})
}
