package egress

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/highlander-io/highlander/fsm/wire"
)

// FuzzAnswer classifies whatever an endpoint may answer. It costs a bounded pause and a bounded text, and only a 2xx is
// taken for delivered.
func FuzzAnswer(f *testing.F) {
	f.Add(204, "", "10", "0", "", "", uint64(10))
	f.Add(204, "", "4294967295", "4294967295", "x", "", uint64(1))
	f.Add(400, "", " 3 ", "-1", "99999999999999999999", "out of order\n\nsample", uint64(3))
	f.Add(429, "7", "", "", "", "", uint64(0))
	f.Add(503, "Fri, 02 Jan 2026 15:04:15 GMT", "", "", "", "<html>\xff", uint64(1))
	f.Add(503, "Thu, 01 Jan 1970 00:00:00 GMT", "", "", "", "", uint64(1))
	f.Add(302, "18446744073709551615", "", "", "", strings.Repeat("x", 3*answerBytesMax), uint64(1))
	now := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	f.Fuzz(func(t *testing.T, status int, after, samples, histograms, exemplars, body string, sent uint64) {
		stream := &endless{begin: []byte(body)}
		text := readAnswer(stream)
		if stream.read > answerBytesMax+drainBytesMax || len(text) > answerBytesMax || !utf8.ValidString(text) || strings.ContainsAny(text, "\n\r\t") {
			t.Fatalf("%d bytes were read of the answer, and %q kept", stream.read, text)
		}
		h := http.Header{
			"Retry-After": {after}, headerSamplesWritten: {samples}, headerHistogramsWritten: {histograms}, headerExemplarsWritten: {exemplars},
		}
		for _, p := range []wire.Protocol{wire.V1, wire.V2} {
			r := classify(status, h, text, p, sent, now)
			if r.after < 0 || r.after > retryAfterMax {
				t.Fatalf("a pause of %v", r.after)
			}
			if (r.outcome == delivered) != (status/100 == 2 && (p == wire.V1 || r.confirmed || sent == 0)) {
				t.Fatalf("HTTP %d, confirmed %v, is %d", status, r.confirmed, r.outcome)
			}
			if r.written > 0 && !r.confirmed {
				t.Fatalf("%d written, and nothing confirmed", r.written)
			}
			_ = r.String()
		}
	})
}

// endless is a body that begins like this and then never ends.
type endless struct {
	begin []byte
	read  int
}

func (e *endless) Read(b []byte) (int, error) {
	n := copy(b, e.begin)
	e.begin = e.begin[n:]
	if n == 0 {
		n = len(b)
		copy(b, bytes.Repeat([]byte(" "), n))
	}
	e.read += n
	return n, nil
}
