package ingest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"

	"github.com/highlander-io/highlander/fsm"
)

// replace makes a source current, as another request's election would.
func (d *desk) replace(group, source string, epoch uint64) {
	d.Helper()
	entry, err := fsm.Encode(&fsm.Elect{
		Group: fsm.GroupID{Name: group}, FromEpoch: epoch, To: source, Reason: fsm.ReasonPromote, Time: d.clock.Now().UnixMilli(),
	})
	if err != nil {
		d.Fatal(err)
	}
	if response := d.node.apply(entry).response; response != nil {
		d.Fatal(response)
	}
}

// once runs fn before the next batch is applied.
func (d *desk) once(fn func()) {
	var once sync.Once
	d.node.mu.Lock()
	defer d.node.mu.Unlock()
	d.node.before = func(entry []byte) error {
		if kind, _ := fsm.PeekKind(entry); kind == fsm.KindBatch {
			once.Do(fn)
		}
		return nil
	}
}

func TestReplacedWhileItsBatchIsOnTheWay(t *testing.T) {
	d := newDesk(t)
	d.say("a")
	d.clock.advance(time.Second)
	d.once(func() { d.replace("g", "b", 1) })
	if code := d.say("a"); code != 202 {
		t.Errorf("status %d", code)
	}
	if d.node.confirmed() != 0 {
		t.Error("Apply's own refusal needs no confirmation")
	}
	d.flush()
	g := d.group("g")
	if g.Standby.Requests != 1 || g.Books.Accepted != 1 {
		t.Errorf("standby %+v, samples %+v", g.Standby, g.Books)
	}
}

func TestReplacedAndBackWhileItsBatchIsOnTheWay(t *testing.T) {
	d := newDesk(t)
	d.say("a")
	d.once(func() {
		d.replace("g", "b", 1)
		d.replace("g", "a", 2)
	})
	d.clock.advance(time.Second)
	if code := d.say("a"); code != 204 {
		t.Errorf("status %d", code)
	}
	if b := d.node.batches(t); len(b) != 2 || b[1].Epoch != 3 {
		t.Errorf("batches %+v", b)
	}
}

func TestEpochThatNeverStandsStill(t *testing.T) {
	d := newDesk(t)
	d.say("a")
	epoch := uint64(1)
	d.node.before = func(entry []byte) error {
		if kind, _ := fsm.PeekKind(entry); kind == fsm.KindBatch {
			d.replace("g", "b", epoch)
			d.replace("g", "a", epoch+1)
			epoch += 2
		}
		return nil
	}
	d.clock.advance(time.Second)
	if code := d.say("a"); code != 503 {
		t.Errorf("status %d", code)
	}
}

func TestReplacedBetweenParts(t *testing.T) {
	d := newDesk(t)
	var all []prompb.TimeSeries
	for i := range 800 {
		all = append(all, series(d.clock.Now(), "__name__", "m", "i", fmt.Sprint(i), "noise", noise(4 << 10)[i:]))
	}
	body := bodyV1(t, all...)
	n := 0
	d.node.before = func(entry []byte) error {
		if kind, _ := fsm.PeekKind(entry); kind == fsm.KindBatch {
			if n++; n == 2 {
				d.replace("g", "b", 1)
			}
		}
		return nil
	}
	d.expect(d.post(body, by("g", "a")), 202)
	d.node.before = nil
	// It comes back, and the client sends the same once more: the part that was accepted is not accepted again.
	d.replace("g", "a", 2)
	d.expect(d.post(body, by("g", "a")), 204)
	if got := d.group("g").Books; got.Accepted != 800 || got.Duplicate == 0 {
		t.Errorf("books %+v", got)
	}
}

func TestRetryAfterPartlyCommitted(t *testing.T) {
	d := newDesk(t)
	at := d.clock.Now()
	body := bodyV1(t,
		series(at, "__name__", "one", "cluster", "g1", "__replica__", "a"),
		series(at, "__name__", "two", "cluster", "g2", "__replica__", "a"),
		series(at, "cluster", "g2", "__replica__", "a"), // a bad one
	)
	failing := true
	d.node.before = func(entry []byte) error {
		if kind, _ := fsm.PeekKind(entry); kind != fsm.KindBatch {
			return nil
		}
		if b, err := fsm.DecodeBatch(entry); err != nil || failing && b.Group.Name == "g2" {
			return errNotCommitted
		}
		return nil
	}
	d.expect(d.post(body), 503)
	failing = false
	d.expect(d.post(body), 400)
	d.expect(d.post(body), 400)
	d.flush()
	g1, g2 := d.group("g1").Books, d.group("g2").Books
	if g1.Accepted != 1 || g1.Duplicate != 2 {
		t.Errorf("g1: %+v", g1)
	}
	if g2.Accepted != 1 || g2.Duplicate != 1 || g2.Rejected["missing_name"] != 2 {
		t.Errorf("g2: %+v (I3: the first attempt was answered 503 and is not counted)", g2)
	}
}

func TestLostAnswerAndRetry(t *testing.T) {
	d := newDesk(t)
	d.say("a")
	d.clock.advance(time.Second)
	body := bodyV1(t, series(d.clock.Now(), "__name__", "up"))
	d.node.uncertain = true
	d.expect(d.post(body, by("g", "a")), 503)
	d.node.uncertain = false
	d.expect(d.post(body, by("g", "a")), 204)
	if n := len(d.node.batches(t)); n != 2 {
		t.Errorf("%d batches", n)
	}
}

func TestRetryAfterTheOptionsChanged(t *testing.T) {
	d := newDesk(t)
	var all []prompb.TimeSeries
	for i := range 800 {
		all = append(all, series(d.clock.Now(), "__name__", "m", "i", fmt.Sprint(i), "replica", noise(4 << 10)[i:i+1000], "noise", noise(4 << 10)[i:]))
	}
	body := bodyV1(t, all...)
	n := 0
	d.node.before = func(entry []byte) error {
		if kind, _ := fsm.PeekKind(entry); kind == fsm.KindBatch {
			if n++; n == 2 {
				return errNotCommitted
			}
		}
		return nil
	}
	d.expect(d.post(body, by("g", "a")), 503)
	d.node.before = nil
	o := testOptions()
	o.Pairs[0].Replica = "replica" // now a label goes, and the cuts are elsewhere
	d.Reload(o)
	d.expect(d.post(body, by("g", "a")), 204)
	seen := make(map[string]bool)
	for _, b := range d.node.batches(t) {
		for _, s := range decode(t, b.Body).Timeseries {
			for _, l := range s.Labels {
				if l.Name == "i" {
					seen[l.Value] = true
				}
			}
		}
	}
	if len(seen) != 800 {
		t.Errorf("I1: %d of 800 series are in the log", len(seen))
	}
}

func TestRequestIDs(t *testing.T) {
	id := func(tenant, groupName, sourceName, body string) fsm.RequestID {
		wk := &work{request: &request{body: []byte(body)}}
		return wk.requestID(&claim{group: &group{id: fsm.GroupID{Tenant: tenant, Name: groupName}}, source: &source{name: sourceName}})
	}
	seen := make(map[fsm.RequestID]string)
	for _, c := range [][4]string{
		{"", "g", "a", "x"},
		{"t", "g", "a", "x"},
		{"", "h", "a", "x"},
		{"", "g", "b", "x"},
		{"", "g", "a", "y"},
		{"", "ga", "", "x"},
		{"", "", "ga", "x"},
		{"g", "", "a", "x"},
	} {
		got := id(c[0], c[1], c[2], c[3])
		if other, known := seen[got]; known {
			t.Errorf("%q has the id of %s", c, other)
		}
		if got != id(c[0], c[1], c[2], c[3]) {
			t.Errorf("%q has two ids", c)
		}
		seen[got] = fmt.Sprintf("%q", c)
	}
}

func TestWrittenHeaders(t *testing.T) {
	d := newDesk(t)
	body := encode(t, requestV2(d.clock.Now(), 5))
	w := d.post(body, asV2, by("g", "a"))
	d.expect(w, 204)
	writtenHeaders(t, w.Header(), "5", "1", "5")
	w = d.post(body, asV2, by("g", "a")) // a second copy is answered like the first
	d.expect(w, 204)
	writtenHeaders(t, w.Header(), "5", "1", "5")

	broken := requestV2(d.clock.Now(), 5)
	broken.Timeseries[2].LabelsRefs = []uint32{1}
	w = d.post(encode(t, broken), asV2, by("g", "a"))
	d.expect(w, 400)
	writtenHeaders(t, w.Header(), "4", "1", "4")

	w = d.post(encode(t, &writev2.Request{Symbols: []string{""}}), asV2, by("g", "a"))
	d.expect(w, 204)
	writtenHeaders(t, w.Header(), "0", "0", "0")

	d.node.uncertain = true
	w = d.post(encode(t, requestV2(d.clock.Now(), 6)), asV2, by("g", "a"))
	d.expect(w, 503)
	writtenHeaders(t, w.Header(), "", "", "") // senders add up the counts of all attempts
	d.node.uncertain = false

	w = d.post(bodyV1(t, series(d.clock.Now(), "__name__", "up")), by("g", "a"))
	d.expect(w, 204)
	writtenHeaders(t, w.Header(), "", "", "")
}

func TestMixedWrittenHeaders(t *testing.T) {
	d := newDesk(t)
	d.expect(d.post(bodyV1(t, series(d.clock.Now(), "__name__", "up", "cluster", "g2", "__replica__", "b"))), 204)
	one := requestV2(d.clock.Now(), 2, "__replica__", "a", "cluster", "g1")
	two := requestV2(d.clock.Now(), 3, "__replica__", "a", "cluster", "g2")
	offset := uint32(len(one.Symbols))
	one.Symbols = append(one.Symbols, two.Symbols...)
	for _, s := range two.Timeseries {
		for i := range s.LabelsRefs {
			s.LabelsRefs[i] += offset
		}
		for i := range s.Exemplars {
			for k := range s.Exemplars[i].LabelsRefs {
				s.Exemplars[i].LabelsRefs[k] += offset
			}
		}
		one.Timeseries = append(one.Timeseries, s)
	}
	w := d.post(encode(t, one), asV2)
	d.expect(w, 204)
	writtenHeaders(t, w.Header(), "5", "2", "5") // what is a standby's counts as well: Prometheus compares the sums
}

// TestPrometheusClient sends with the client that Prometheus' library offers, which checks the Written headers.
func TestPrometheusClient(t *testing.T) {
	d := newDesk(t)
	server := httptest.NewServer(d.Handler)
	defer server.Close()
	client := func(source string) *remote.API {
		transport := &http.Transport{DisableKeepAlives: true}
		api, err := remote.NewAPI(server.URL+"/api/v1/write?highlander_group=g&highlander_source="+source,
			remote.WithAPIHTTPClient(&http.Client{Transport: transport}), remote.WithAPIPath(""))
		if err != nil {
			t.Fatal(err)
		}
		return api
	}
	for _, source := range []string{"a", "b"} { // 204, then 202
		stats, err := client(source).Write(t.Context(), remote.WriteV2MessageType, requestV2(d.clock.Now(), 7))
		if err != nil {
			t.Fatalf("source %s: %v", source, err)
		}
		if stats.Samples != 7 || stats.Histograms != 1 || stats.Exemplars != 7 {
			t.Errorf("source %s: %+v", source, stats)
		}
		if _, err := client(source).Write(t.Context(), remote.WriteV1MessageType, &prompb.WriteRequest{
			Timeseries: []prompb.TimeSeries{series(d.clock.Now(), "__name__", "up")},
		}); err != nil {
			t.Errorf("source %s: %v", source, err)
		}
	}
	if got := d.group("g").Books.Accepted; got != 9 {
		t.Errorf("accepted %d samples", got)
	}
}
