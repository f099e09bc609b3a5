package handover

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// road carries connections to a node until it is closed: whoever comes then is turned away, and who is on it is cut. It can be
// slow.
type road struct {
	address, to string
	delay       atomic.Int64 // time.Duration

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
		r.haul(to, from)
		_ = to.Close()
	}()
	r.haul(from, to)
}

// haul carries what comes, each piece after the delay of the road.
func (r *road) haul(to io.Writer, from io.Reader) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if d := time.Duration(r.delay.Load()); d > 0 && n > 0 {
			timer := time.NewTimer(d)
			<-timer.C
		}
		if _, failed := to.Write(buf[:n]); failed != nil || err != nil {
			return
		}
	}
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
