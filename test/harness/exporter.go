package harness

import (
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
)

// Exporter is a scrape target whose counters follow a known rule: the n-th scrape by a scraper finds 16*n plus
// the scraper's number (URL parameter `scraper`) in every series. What a Prometheus server stores is thereby
// numbered, and tells which server scraped it.
type Exporter struct {
	Address string

	server *http.Server
	series int
	mu     sync.Mutex
	scrape map[int]int // number of scraper → scrapes so far
}

// StartExporter serves that many series.
func StartExporter(t testing.TB, series int) *Exporter {
	t.Helper()
	e := &Exporter{series: series, scrape: map[int]int{}}
	e.Address = Address(FreePort())
	l, err := net.Listen("tcp", e.Address)
	if err != nil {
		t.Fatal(err)
	}
	e.server = &http.Server{Handler: e}
	go func() { _ = e.server.Serve(l) }()
	t.Cleanup(e.Stop)
	return e
}

// Stop ends the target: there is nothing more to scrape.
func (e *Exporter) Stop() { _ = e.server.Close() }

// Scrapes says how often a scraper has been here.
func (e *Exporter) Scrapes(scraper int) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.scrape[scraper]
}

// ServeHTTP answers a scrape.
func (e *Exporter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	scraper, err := strconv.Atoi(r.URL.Query().Get("scraper"))
	if err != nil || scraper < 1 || scraper > 15 {
		http.Error(w, "parameter scraper must be 1 to 15", http.StatusBadRequest)
		return
	}
	e.mu.Lock()
	e.scrape[scraper]++
	n := e.scrape[scraper]
	e.mu.Unlock()
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	fmt.Fprintln(w, "# TYPE numbered_total counter")
	for i := range e.series {
		fmt.Fprintf(w, "numbered_total{series=\"%d\"} %d\n", i, 16*n+scraper)
	}
}
