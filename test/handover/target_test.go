package handover

import (
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"
)

// counterSeries is the number of counters that the target shows.
const counterSeries = 50

// target is what both servers scrape: counters that show the milliseconds since it started, times 16, plus the number
// of the scraper (URL parameter `scraper`, 1 to 15).
type target struct {
	address string

	start time.Time
	mu    sync.Mutex
	count map[int]int // scraper → scrapes so far
}

func startTarget(t testing.TB, host string) *target {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	g := &target{address: l.Addr().String(), start: time.Now(), count: map[int]int{}}
	server := &http.Server{Handler: g}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	return g
}

// scrapes says how often a scraper has been here.
func (g *target) scrapes(scraper int) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.count[scraper]
}

// value is what a scraper would find now.
func (g *target) value(scraper int) float64 {
	return float64(16*time.Since(g.start).Milliseconds() + int64(scraper))
}

// ServeHTTP answers a scrape.
func (g *target) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	scraper, err := strconv.Atoi(r.URL.Query().Get("scraper"))
	if err != nil || scraper < 1 || scraper > 15 {
		http.Error(w, "parameter scraper must be 1 to 15", http.StatusBadRequest)
		return
	}
	g.mu.Lock()
	g.count[scraper]++
	g.mu.Unlock()
	value := g.value(scraper)
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	fmt.Fprintln(w, "# TYPE clock_total counter")
	for i := range counterSeries {
		fmt.Fprintf(w, "clock_total{series=\"%d\"} %.0f\n", i, value)
	}
}
