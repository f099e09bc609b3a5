package ingest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/highlander-io/highlander/fsm"
)

// TestEverythingAtOnce lets many clients, elections, books, status and a new leadership run into each other, and compares
// what was answered with what the log holds.
func TestEverythingAtOnce(t *testing.T) {
	d := newDesk(t, func(o *Options) { o.ForgetAfter = time.Hour })
	const clients, requests = 12, 40
	var accepted atomic.Int64
	stop := make(chan struct{})
	var background, foreground sync.WaitGroup
	background.Add(1)
	go func() {
		defer background.Done()
		for {
			select {
			case <-stop:
				return
			default:
			}
			d.clock.advance(100 * time.Millisecond)
			d.tick()
			d.flush()
			d.forget(d.lead)
			d.Sources(fsm.GroupID{Name: "g0"})
			d.Reload(testOptions())
		}
	}()
	for client := range clients {
		foreground.Add(1)
		go func() {
			defer foreground.Done()
			for i := range requests {
				at := d.clock.Now()
				replica := string(rune('a' + client%3))
				named := bodyV1(t, series(at, "__name__", "m", "client", fmt.Sprint(client), "i", fmt.Sprint(i)))
				w := d.insist(named, by(fmt.Sprintf("g%d", client%4), replica))
				switch w.Code {
				case 204:
					accepted.Add(1)
				case 202:
				default:
					t.Errorf("named: status %d: %s", w.Code, w.Body)
				}
				one := series(at, "__name__", "m", "client", fmt.Sprint(client), "i", fmt.Sprint(i), "__replica__", replica, "cluster", "l1")
				two := series(at, "__name__", "m", "client", fmt.Sprint(client), "i", fmt.Sprint(i), "__replica__", replica, "cluster", "l2")
				if w := d.insist(bodyV1(t, one, two)); w.Code != 204 && w.Code != 202 {
					t.Errorf("by labels: status %d: %s", w.Code, w.Body)
				}
			}
		}()
	}
	foreground.Wait()
	close(stop)
	background.Wait()
	d.flush()
	var stored int64
	for i := range 4 {
		g := d.group(fmt.Sprintf("g%d", i))
		stored += int64(g.Books.Accepted+g.Books.Covered) - int64(g.Standby.Used) // the clock may have made a silence
		if !g.Standby.Balanced() || g.Standby.Discarded > 0 {
			t.Errorf("standby books of g%d: %+v", i, g.Standby)
		}
	}
	if stored != accepted.Load() {
		t.Errorf("%d requests were answered 204, %d are in the log", accepted.Load(), stored)
	}
	for _, name := range []string{"l1", "l2"} {
		g := d.group(name)
		if n := g.Books.Accepted + g.Books.Covered + g.Standby.Requests - g.Standby.Used; n != clients*requests {
			t.Errorf("%s: %d accepted, %d standby requests of %d", name, g.Books.Accepted, g.Standby.Requests, clients*requests)
		}
	}
	if used := d.budget.used.Load(); used != 0 {
		t.Errorf("%d bytes in flight", used)
	}
}

// insist sends a request again where its source became the current one just then, as a sender would.
func (d *desk) insist(body []byte, change ...func(*http.Request)) *httptest.ResponseRecorder {
	for range 10 {
		if w := d.post(body, change...); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), errTurned.Error()) {
			return w
		}
	}
	return d.post(body, change...)
}
