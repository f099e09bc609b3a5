package ingest

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"

	"github.com/highlander-io/highlander/fsm"
	"github.com/highlander-io/highlander/fsm/wire"
)

// FuzzServeHTTP sends arbitrary bodies. Whatever comes, the answer is one of the table and never a 5xx, as nothing is
// wrong with this node, and what is answered 2xx is in the log as the real unmarshaller sees it.
func FuzzServeHTTP(f *testing.F) {
	at := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	v1 := bodyV1(f, series(at, "__name__", "up", "cluster", "g", "__replica__", "a"), series(at, "__name__", "down"))
	f.Add(v1, false, "", false)
	f.Add(v1, false, "highlander_source=a", false)
	f.Add(v1, true, "highlander_source=a", false)
	f.Add(bodyV1(f, series(at, "x", "y"), series(at, "__name__", "up")), false, "highlander_group=g", false)
	f.Add(metadataV1(f, "m", "n"), false, "", false)
	f.Add(encode(f, requestV2(at, 3, "cluster", "g", "__replica__", "b")), true, "", false)
	raw, err := requestV2(at, 2).Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw, true, "", true)
	f.Add(raw, false, "highlander_source=b", true)
	f.Add([]byte{}, false, "", false)
	f.Fuzz(func(t *testing.T, body []byte, v2 bool, rawQuery string, compress bool) {
		if compress { // so that mutations get past snappy
			body = snappy.Encode(nil, body)
		}
		d := newDesk(t, func(o *Options) { o.MaxDecodedBytes = 1 << 20 })
		change := []func(*http.Request){query(rawQuery)}
		if v2 {
			change = append(change, asV2)
		}
		w := d.post(body, change...)
		switch w.Code {
		case 204, 202:
			d.checkTaken(t, w, body, v2)
		case 400, 413:
			if w.Body.Len() == 0 {
				t.Error("no reason")
			}
		default:
			t.Errorf("status %d: %s", w.Code, w.Body)
		}
		again := d.post(body, change...).Code
		if again != w.Code && (w.Code != 400 || !d.contested()) {
			t.Errorf("a second copy is answered %d, the first was %d", again, w.Code)
		}
		if third := d.post(body, change...).Code; third != again {
			t.Errorf("a third copy is answered %d, the second was %d", third, again)
		}
		d.flush()
		for _, g := range d.node.fsm.Groups() {
			if !g.Books.Balanced() {
				t.Errorf("books of %q: %+v", g.ID.Name, g.Books)
			}
		}
		if used := d.budget.used.Load(); used != 0 {
			t.Errorf("%d bytes in flight after the answer", used)
		}
	})
}

// contested says whether a body has named several sources of one group. The bad series of those that lost the election,
// which the first copy held, are those of standbys from then on, and not looked at.
func (d *desk) contested() bool {
	for _, g := range d.lead.all() {
		if len(g.sources) > 1 {
			return true
		}
	}
	return false
}

// tally counts what the real unmarshaller finds.
type tally struct{ floats, histograms, exemplars int }

func (d *desk) checkTaken(t *testing.T, w *httptest.ResponseRecorder, body []byte, v2 bool) {
	sent := count(t, body, v2)
	var stored tally
	for _, b := range d.node.batches(t) {
		got := count(t, b.Body, b.Protocol == wire.V2)
		if got != (tally{int(b.Counts.Floats), int(b.Counts.Histograms), int(b.Counts.Exemplars)}) {
			t.Errorf("a batch holds %+v, its header says %+v", got, b.Counts)
		}
		stored.floats += got.floats
		stored.histograms += got.histograms
		stored.exemplars += got.exemplars
		if b.Flags&fsm.FlagUnelected != 0 && b.Counts.Samples() > 0 {
			t.Error("samples passed without election")
		}
	}
	if w.Code == 204 && stored != sent {
		t.Errorf("I1: %+v was sent, %+v is in the log", sent, stored)
	}
	if v2 && w.Header().Get(headerWrittenSamples) != strconv.Itoa(sent.floats) {
		t.Errorf("%s samples written, want %d", w.Header().Get(headerWrittenSamples), sent.floats)
	}
}

func count(t *testing.T, body []byte, v2 bool) (n tally) {
	raw, err := snappy.Decode(nil, body)
	if err != nil {
		t.Fatalf("taken, but not snappy: %v", err)
	}
	if v2 {
		var rq writev2.Request
		if err := rq.Unmarshal(raw); err != nil {
			t.Fatalf("taken, but not a request: %v", err)
		}
		for _, s := range rq.Timeseries {
			n.floats += len(s.Samples)
			n.histograms += len(s.Histograms)
			n.exemplars += len(s.Exemplars)
		}
		return n
	}
	var rq prompb.WriteRequest
	if err := rq.Unmarshal(raw); err != nil {
		t.Fatalf("taken, but not a request: %v", err)
	}
	for _, s := range rq.Timeseries {
		n.floats += len(s.Samples)
		n.histograms += len(s.Histograms)
		n.exemplars += len(s.Exemplars)
	}
	return n
}
