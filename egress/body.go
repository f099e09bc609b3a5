package egress

import (
	"errors"
	"io"
	"sync"
)

var errDetached = errors.New("egress: request body is no longer there")

// payload lends a pooled buffer to net/http. The transport may go on reading a body after the answer has come
// or the attempt was given up, so the buffer must be taken back explicitly: after detach no Read touches it.
type payload struct {
	mu   sync.Mutex
	data []byte
}

// open returns a reader over the whole payload. The transport may ask for a second one if a kept connection
// turns out to be closed before anything was written.
func (p *payload) open() (io.ReadCloser, error) { return &payloadReader{from: p}, nil }

func (p *payload) detach() {
	p.mu.Lock()
	p.data = nil
	p.mu.Unlock()
}

type payloadReader struct {
	from *payload
	off  int
}

func (r *payloadReader) Read(b []byte) (int, error) {
	r.from.mu.Lock()
	defer r.from.mu.Unlock()
	if r.from.data == nil {
		return 0, errDetached
	}
	if r.off >= len(r.from.data) {
		return 0, io.EOF
	}
	n := copy(b, r.from.data[r.off:])
	r.off += n
	return n, nil
}

func (r *payloadReader) Close() error { return nil }
