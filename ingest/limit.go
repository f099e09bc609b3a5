package ingest

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// budget bounds the memory that requests in flight hold: bodies as received and as decoded.
type budget struct {
	used atomic.Int64
	max  atomic.Int64
}

func (b *budget) take(n int64) bool {
	if b.used.Add(n) <= b.max.Load() {
		return true
	}
	b.used.Add(-n)
	return false
}

func (b *budget) give(n int64) { b.used.Add(-n) }

// pooledMax is the largest buffer that is kept for the next request; what an exceptional request needed is freed.
const pooledMax = 4 << 20

var buffers = sync.Pool{New: func() any { return new(buffer) }}

// buffer is memory whose use is charged to a budget. It has one owner at a time, except while a request is being
// forwarded: then the HTTP client holds it as well, possibly for longer than the handler.
type buffer struct {
	b       []byte
	budget  *budget
	charged int64
	holders atomic.Int32
}

func newBuffer(b *budget) *buffer {
	buf := buffers.Get().(*buffer)
	buf.b, buf.budget, buf.charged = buf.b[:0], b, 0
	buf.holders.Store(1)
	return buf
}

// charge accounts for memory up to n bytes in total, before it is used.
func (buf *buffer) charge(n int64) bool {
	if n <= buf.charged {
		return true
	}
	if !buf.budget.take(n - buf.charged) {
		return false
	}
	buf.charged = n
	return true
}

func (buf *buffer) hold() { buf.holders.Add(1) }

func (buf *buffer) release() {
	if buf.holders.Add(-1) > 0 {
		return
	}
	buf.budget.give(buf.charged)
	buf.budget, buf.charged = nil, 0
	if cap(buf.b) > pooledMax {
		buf.b = nil
	}
	buffers.Put(buf)
}

const (
	// firstRead is the room that a body gets before anything of it has arrived, whatever length it declares: else a few
	// clients that declare much and send nothing would use up the budget.
	firstRead = 4 << 10
	// readGrowth is by how much more room than has been filled the next read gets.
	readGrowth = 8
)

const overloaded = "too many bytes in flight; try again"

// readBody reads a request's body, bounded in size and time. The answer is only meaningful if the buffer is nil.
func (h *Handler) readBody(w http.ResponseWriter, r *http.Request, o *Options) (*buffer, answer) {
	if r.ContentLength > o.MaxBodyBytes {
		return nil, bodyTooLarge(o)
	}
	// Not every ResponseWriter has a deadline (those of tests do not); a server's has.
	conn := http.NewResponseController(w)
	bounded := conn.SetReadDeadline(time.Now().Add(o.BodyTimeout)) == nil
	buf := newBuffer(&h.budget)
	a, ok := fill(buf, r, o)
	if !ok { // the deadline stays: net/http reads what is left of a body before it lets go of the connection
		buf.release()
		return nil, a
	}
	if bounded { // it must be gone before the answer: when it passes, net/http takes the connection for broken and cancels the request
		_ = conn.SetReadDeadline(time.Time{})
	}
	return buf, answer{}
}

func bodyTooLarge(o *Options) answer {
	a := refuse(tooLarge, fmt.Sprintf("the body is larger than %d bytes", o.MaxBodyBytes))
	a.hangUp = true
	return a
}

func fill(buf *buffer, r *http.Request, o *Options) (answer, bool) {
	whole := r.ContentLength
	if whole < 0 {
		whole = o.MaxBodyBytes + 1 // so that one byte too many is seen
	}
	if a, ok := grow(buf, min(firstRead, whole)); !ok {
		return a, false
	}
	for {
		if len(buf.b) == cap(buf.b) || int64(len(buf.b)) == buf.charged {
			if r.ContentLength >= 0 && int64(len(buf.b)) >= r.ContentLength {
				return answer{}, true
			}
			if a, ok := grow(buf, min(readGrowth*int64(len(buf.b)), whole)); !ok {
				return a, false
			}
		}
		room := buf.b[len(buf.b):min(int64(cap(buf.b)), buf.charged)]
		n, err := r.Body.Read(room)
		buf.b = buf.b[:len(buf.b)+n]
		if int64(len(buf.b)) > o.MaxBodyBytes {
			return bodyTooLarge(o), false
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return answer{}, true
		default:
			return unread(err, o), false
		}
	}
}

// grow makes room for size bytes and charges for them first.
func grow(buf *buffer, size int64) (answer, bool) {
	if !buf.charge(size) {
		return refuse(unavailable, overloaded), false
	}
	if int64(cap(buf.b)) < size {
		buf.b = append(make([]byte, 0, size), buf.b...)
	}
	return answer{}, true
}

// unread answers a body that did not arrive whole. 503 keeps it with the sender, if there still is one.
func unread(err error, o *Options) answer {
	a := refuse(unavailable, "the body ended early: "+err.Error())
	if errors.Is(err, os.ErrDeadlineExceeded) {
		a.reason = fmt.Sprintf("the body did not arrive within %v", o.BodyTimeout)
	}
	a.hangUp = true
	return a
}

// inflight counts requests being served, so that a shutdown can wait for them.
type inflight struct {
	mu     sync.Mutex
	n      int
	closed bool
	idle   chan struct{} // closed when closed and n is 0
}

func newInflight() *inflight { return &inflight{idle: make(chan struct{})} }

// enter is false once no more requests are taken.
func (f *inflight) enter() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return false
	}
	f.n++
	return true
}

func (f *inflight) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n--
	if f.closed && f.n == 0 {
		close(f.idle)
	}
}

// close lets nobody enter any more and returns a channel that is closed when the last one has left.
func (f *inflight) close() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.closed = true
		if f.n == 0 {
			close(f.idle)
		}
	}
	return f.idle
}
