package ingest

import (
	"net/http"
	"strconv"

	"github.com/highlander-io/highlander/fsm/wire"
)

// outcome is what became of a request, or of one source's share of it. The order is the precedence of mixed
// requests: the largest one decides the answer.
type outcome uint8

const (
	standby     outcome = iota // of a source that is not current
	accepted                   // committed, now or by an earlier copy of the request
	refused                    // the sender's fault; the good part of the request, if any, was accepted
	badMethod                  // not POST
	tooLarge                   // over a limit on sizes
	unsupported                // Content-Type or Content-Encoding
	unavailable                // highlander's own trouble; nothing is lost if the sender tries again
)

// table is the only place where an outcome becomes a status. There is no 429 in it: Prometheus drops what is
// answered 429 unless told otherwise. Written says whether a remote write 2.0 request gets its counts: not with a
// 503, because senders add up the counts of all attempts, and everything will be counted by the next one.
var table = [...]struct {
	status     int
	written    bool
	retryAfter string
	allow      string
}{
	standby:     {status: http.StatusAccepted, written: true},
	accepted:    {status: http.StatusNoContent, written: true},
	refused:     {status: http.StatusBadRequest, written: true},
	badMethod:   {status: http.StatusMethodNotAllowed, allow: http.MethodPost},
	tooLarge:    {status: http.StatusRequestEntityTooLarge, written: true},
	unsupported: {status: http.StatusUnsupportedMediaType},
	unavailable: {status: http.StatusServiceUnavailable, retryAfter: "1"},
}

// answer is an outcome with what the sender should know about it.
type answer struct {
	outcome  outcome
	reason   string // for a person; only where the status is 400 or above
	protocol wire.Protocol
	written  written
	kept     []keptNote // for the follower that the request came through
	// relayed is the leader's answer when this node only passed the request on; it replaces all of the above.
	relayed *relayed
	// hangUp closes the connection: what is left of the body was not read.
	hangUp bool
}

// written counts what a 2.0 sender is told to have been written.
type written struct{ samples, histograms, exemplars uint64 }

func (w *written) add(c wire.Counts) {
	w.samples += uint64(c.Floats)
	w.histograms += uint64(c.Histograms)
	w.exemplars += uint64(c.Exemplars)
}

func refuse(o outcome, reason string) answer { return answer{outcome: o, reason: reason} }

func (a answer) status() int {
	if a.relayed != nil {
		return a.relayed.status
	}
	return table[a.outcome].status
}

// Names of the headers by which a 2.0 receiver says what it took (remote write 2.0, "Required Written Response Headers").
const (
	headerWrittenSamples    = "X-Prometheus-Remote-Write-Samples-Written"
	headerWrittenHistograms = "X-Prometheus-Remote-Write-Histograms-Written"
	headerWrittenExemplars  = "X-Prometheus-Remote-Write-Exemplars-Written"
)

func (a answer) write(w http.ResponseWriter) {
	if a.relayed != nil {
		a.relayed.write(w)
		return
	}
	row, header := &table[a.outcome], w.Header()
	if row.written && a.protocol == wire.V2 {
		header[headerWrittenSamples] = []string{strconv.FormatUint(a.written.samples, 10)}
		header[headerWrittenHistograms] = []string{strconv.FormatUint(a.written.histograms, 10)}
		header[headerWrittenExemplars] = []string{strconv.FormatUint(a.written.exemplars, 10)}
	}
	for _, note := range a.kept {
		header[headerKept] = append(header[headerKept], note.header())
	}
	if row.retryAfter != "" {
		header.Set("Retry-After", row.retryAfter)
	}
	if row.allow != "" {
		header.Set("Allow", row.allow)
	}
	if a.hangUp {
		header.Set("Connection", "close")
	}
	if a.reason == "" {
		w.WriteHeader(row.status)
		return
	}
	header.Set("Content-Type", "text/plain; charset=utf-8")
	header.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(row.status)
	_, _ = w.Write([]byte(a.reason + "\n")) // the sender may be gone; there is nobody left to tell
}
