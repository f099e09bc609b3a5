package egress

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// retryAfterMax bounds what a Retry-After can ask for: a mistyped date must not stop a drain for a year.
const retryAfterMax = time.Hour

// backoff yields the pauses between failed attempts: doubling from low to high, each shortened by at most a
// tenth at random so that several nodes or destinations do not beat in step. Shortened, not lengthened: high
// is a promise.
type backoff struct {
	low, high time.Duration
	streak    int // failures since the last success
	next      time.Duration
}

// pause returns how long to wait now. asked is the server's Retry-After; it is honoured where it is longer.
func (b *backoff) pause(asked time.Duration) time.Duration {
	b.streak++
	if b.next < b.low {
		b.next = b.low
	}
	d := b.next
	b.next = min(2*b.next, b.high)
	d -= time.Duration(rand.Int64N(int64(d)/10 + 1))
	return max(d, min(asked, retryAfterMax))
}

func (b *backoff) reset() { b.streak, b.next = 0, 0 }

// retryAfter reads a Retry-After header (RFC 9110, section 10.2.3): seconds or a date. Zero: none, or unreadable.
func retryAfter(h http.Header, now time.Time) time.Duration {
	v := strings.TrimSpace(h.Get("Retry-After"))
	if v == "" {
		return 0
	}
	if s, err := strconv.ParseUint(v, 10, 32); err == nil {
		return min(time.Duration(s)*time.Second, retryAfterMax)
	}
	t, err := http.ParseTime(v)
	if err != nil {
		return 0
	}
	return min(max(t.Sub(now), 0), retryAfterMax)
}
