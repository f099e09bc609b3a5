package handover

import (
	"io"
	"net"
	"sync"
	"testing"
)

// road carries connections to a node until it is closed: whoever comes then is turned away, and who is on it is cut.
type road struct {
	address, to string

	mu     sync.Mutex
	closed bool
	open   map[net.Conn]struct{}
}

func newRoad(t testing.TB, to string) *road {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &road{address: l.Addr().String(), to: to, open: map[net.Conn]struct{}{}}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go r.carry(c)
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		r.close()
	})
	return r
}

func (r *road) carry(from net.Conn) {
	defer from.Close()
	to, err := net.Dial("tcp", r.to)
	if err != nil {
		return
	}
	defer to.Close()
	if !r.enter(from, to) {
		return
	}
	defer r.leave(from, to)
	go func() {
		_, _ = io.Copy(to, from)
		_ = to.Close()
	}()
	_, _ = io.Copy(from, to)
}

func (r *road) enter(conns ...net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	for _, c := range conns {
		r.open[c] = struct{}{}
	}
	return true
}

func (r *road) leave(conns ...net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range conns {
		delete(r.open, c)
	}
}

// close cuts whoever is on the road.
func (r *road) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for c := range r.open {
		_ = c.Close()
	}
}

// reopen lets everybody pass again.
func (r *road) reopen() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = false
}
