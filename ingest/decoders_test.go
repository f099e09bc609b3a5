package ingest

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"

	"github.com/highlander-io/highlander/fsm"
	"github.com/highlander-io/highlander/fsm/wire"
)

// FuzzQueryValue compares the scan for one parameter with the parser of net/url.
func FuzzQueryValue(f *testing.F) {
	for _, q := range []string{"", "a=b&highlander_source=x", "highlander_source=%41&b", "highlander%5fsource=1+2", "&&=&%zz=1&highlander_source=%zz"} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, q string) {
		if strings.Contains(q, ";") {
			return // net/url refuses the whole pair
		}
		got, found, err := queryValue(q, paramSource)
		values, _ := url.ParseQuery(q) // goes on after errors, as queryValue does
		all := values[paramSource]
		if err != nil {
			return // bad escapes and contradictions are refused, which net/url leaves to its users
		}
		if found != (len(all) > 0) || found && got != all[0] {
			t.Fatalf("%q: got %q, %v; net/url says %q", q, got, found, all)
		}
	})
}

// FuzzHeaders reads what a sender may write into headers and addresses: a protocol is one that RFC 9110 would find there,
// and whatever becomes a name can be one.
func FuzzHeaders(f *testing.F) {
	for _, contentType := range []string{"", mediaType, mediaTypeV2, `Application/X-Protobuf ; Proto="io.prometheus.write.v2.Request"`, "text/plain", mediaType + ";proto=x", ";"} {
		f.Add(contentType, "snappy", "10.0.0.1:1234", "7")
	}
	f.Add(mediaType, " Snappy , ,", "[::ffff:10.0.0.1]:80", "1767366245000")
	f.Add(mediaType, "snappy,snappy", "[fe80::1%eth0]:80", "-9223372036854775808")
	f.Add(mediaType, "gzip", "a\nb", "9223372036854775807")
	f.Fuzz(func(t *testing.T, contentType, encoding, address, number string) {
		p, reason := protocolOf(http.Header{"Content-Type": {contentType}, "Content-Encoding": {encoding}})
		if (reason == "") != (p == wire.V1 || p == wire.V2) {
			t.Fatalf("protocol %d and reason %q", p, reason)
		}
		if media, params, err := mime.ParseMediaType(contentType); reason == "" && contentType != "" &&
			(err != nil || media != mediaType || (params["proto"] == protoV2) != (p == wire.V2)) {
			t.Fatalf("%q is taken for %s", contentType, p)
		}
		host := hostOf(address)
		if host == "" || checkName(host, 255) != nil || hostOf(host) != host {
			t.Fatalf("%q is host %q", address, host)
		}
		checkNumber(t, number)
	})
}

// checkNumber puts a text into every header that holds a number.
func checkNumber(t *testing.T, number string) {
	t.Helper()
	now := newClock().Now()
	var c clock
	c.learn(number, now)
	c.leader(now)
	r := newPost(nil, set(headerDeadline, number), set(headerWeight, number))
	if left, err := forwardedDeadline(r, now); err == nil && (left <= 0 || left > commitTimeout) {
		t.Fatalf("deadline %q leaves %v", number, left)
	}
	o := testOptions().withDefaults()
	if n, err := nameOf(r, &o); err != nil && n != (named{}) {
		t.Fatalf("%+v along with %v", n, err)
	}
}

// FuzzFirstSeries cuts a body behind its first series. A body that the generated decoder takes is one up to there, with a
// series in it.
func FuzzFirstSeries(f *testing.F) {
	at := newClock().Now()
	one, err := (&prompb.WriteRequest{Timeseries: []prompb.TimeSeries{series(at, "__name__", "a"), series(at, "__name__", "b")}}).Marshal()
	if err != nil {
		f.Fatal(err)
	}
	two, err := requestV2(at, 2).Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(one)
	f.Add(two)
	f.Add(append([]byte{0x1a, 0, 0x08, 1}, one...))
	f.Fuzz(func(t *testing.T, raw []byte) {
		sumMetadata(raw)
		if end := firstSeries(raw, wire.V1); end > 0 && new(prompb.WriteRequest).Unmarshal(raw) == nil {
			var cut prompb.WriteRequest
			if err := cut.Unmarshal(raw[:end]); err != nil || len(cut.Timeseries) == 0 {
				t.Fatalf("%d of %d bytes hold %d series: %v", end, len(raw), len(cut.Timeseries), err)
			}
		}
		if end := firstSeries(raw, wire.V2); end > 0 && new(writev2.Request).Unmarshal(raw) == nil {
			var cut writev2.Request
			if err := cut.Unmarshal(raw[:end]); err != nil || len(cut.Timeseries) == 0 {
				t.Fatalf("%d of %d bytes hold %d series: %v", end, len(raw), len(cut.Timeseries), err)
			}
		}
	})
}

// FuzzParseNote reads what a leader's answer tells a follower to keep.
func FuzzParseNote(f *testing.F) {
	f.Add(keptNote{"g", "a", 1767366245000000, 12}.header())
	f.Add("group=%zz&source=a&arrived=1&share=-1")
	f.Fuzz(func(t *testing.T, header string) {
		n, err := parseNote(header)
		if err != nil {
			return
		}
		if again, err := parseNote(n.header()); err != nil || again != n {
			t.Fatalf("%+v is read again as %+v, %v", n, again, err)
		}
	})
}

// FuzzKeptFrames reads a stream of kept bodies, as a new leader does. A frame takes no more memory than was sent, and is
// written and read again as the same.
func FuzzKeptFrames(f *testing.F) {
	const bodyMax = 32 << 20
	one := keptFrame{Tenant: "t", Group: "g", Client: "10.0.0.1", Protocol: wire.V1, Notes: []keptNote{{"g", "a", 1767366245000000, 4}, {"g", "b", 1767366245000001, 0}}}
	two := keptFrame{Source: "a", Protocol: wire.V2, Notes: []keptNote{{"default", "a", -1, 0}}}
	f.Add(two.append(one.append(nil, []byte("body")), nil))
	f.Add(one.append(nil, []byte("body"))[:20])
	f.Add([]byte("\x00\x00\x00\x02\x01\xff\xff\xff{}"))
	f.Add([]byte("\x00\x0f\xff\xff\x00\x00\x00\x00{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		frames, bodies := readFrames(t, data, bodyMax)
		runtime.ReadMemStats(&after)
		// Two buffers of a first size, what they grow by, and what JSON makes of the rest.
		if got, most := after.TotalAlloc-before.TotalAlloc, uint64(3*sizedAtOnce+200*len(data)); got > most {
			t.Fatalf("%d bytes were allocated for %d", got, len(data))
		}
		var stream []byte
		for i := range frames {
			stream = frames[i].append(stream, bodies[i])
		}
		again, _ := readFrames(t, stream, bodyMax)
		if len(again) != len(frames) || len(frames) > 0 && !reflect.DeepEqual(again, frames) {
			t.Fatalf("%+v is read again as %+v", frames, again)
		}
	})
}

// readFrames reads up to the first frame that is not right.
func readFrames(t *testing.T, data []byte, bodyMax int64) (frames []keptFrame, bodies [][]byte) {
	r := bufio.NewReader(bytes.NewReader(data))
	for {
		f, body, err := readFrame(r, bodyMax)
		if errors.Is(err, io.EOF) && r.Buffered() > 0 {
			t.Fatal("the end of the stream, with bytes left")
		}
		if err != nil {
			return frames, bodies
		}
		if cap(body) > len(body) {
			t.Fatalf("a body of %d bytes holds %d", len(body), cap(body))
		}
		frames, bodies = append(frames, f), append(bodies, body)
	}
}

// FuzzKept gives a member copies, and orders to release them, as anybody on the cluster port could, and then has it lead.
// The window stays within its bound, and the books that the new leader commits balance.
func FuzzKept(f *testing.F) {
	at := newClock().Now()
	frame := keptFrame{Group: "g", Source: "b", Protocol: wire.V1, Notes: []keptNote{{"g", "b", at.UnixMicro(), 9}}}
	unnamed := keptFrame{Protocol: wire.V1, Notes: []keptNote{{"g", "b", at.UnixMicro(), 9}, {"g", "a", at.UnixMicro() + 1, 3}}}
	body := bodyV1(f, series(at, "__name__", "up", "cluster", "g", "__replica__", "b"), series(at, "__name__", "up", "cluster", "g", "__replica__", "a"))
	f.Add(frame.append(nil, body), []byte(`{"before":0,"sources":[{"group":"g","source":"b","before":1}],"paces":[{"group":"g","source":"b","interval_us":15000000}]}`))
	f.Add(unnamed.append(nil, body), []byte(`{"before":9223372036854775807,"sources":null,"paces":null}`))
	negative := keptFrame{Group: "g", Source: "b", Protocol: wire.V1, Notes: []keptNote{{"g", "b", at.UnixMicro(), -9}}}
	f.Add(negative.append(nil, body), []byte(`{"before":0}`))
	long := keptFrame{Protocol: wire.V1, Notes: []keptNote{{"g", strings.Repeat("x", fsm.NameBytesMax+1), at.UnixMicro(), 0}}}
	f.Add(long.append(nil, body), []byte(`{"before":0}`))
	f.Add(frame.append(nil, []byte("body")), []byte(`{"before":-1,"paces":[{"group":"x","source":"y","interval_us":-9223372036854775808}]}`))
	f.Fuzz(func(t *testing.T, frame, order []byte) {
		d := newDesk(t, func(o *Options) { o.WindowBytes = 1 << 20 })
		d.expect(d.post(bodyV1(t, series(at, "__name__", "up")), by("g", "a")), 204)
		d.node.follower.Store(true)
		d.Handler.lead.Store(nil)
		d.tell(t, KeptPath, frame, 204, 400, 503)
		if items, used := d.window.held(); used > 1<<20 || (items == 0) != (used == 0) {
			t.Fatalf("I16: %d items of %d bytes", items, used)
		}
		d.tell(t, KeptReleasePath, order, 204, 400)
		d.node.follower.Store(false)
		d.takeOver()
		for range 3 {
			d.clock.advance(time.Minute)
			d.tick()
			d.flush()
		}
		for _, g := range d.node.fsm.Groups() {
			if !g.Books.Balanced() || !g.Standby.Balanced() || g.Standby.Kept < 0 || g.Standby.KeptBytes < 0 {
				t.Fatalf("books of %q: %+v %+v", g.ID.Name, g.Books, g.Standby)
			}
		}
	})
}

// tell posts to the cluster port and expects one of the statuses.
func (d *desk) tell(t *testing.T, path string, body []byte, want ...int) {
	t.Helper()
	w := httptest.NewRecorder()
	d.Kept().ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body)))
	for _, status := range want {
		if w.Code == status {
			return
		}
	}
	t.Fatalf("%s answered %d: %s", path, w.Code, w.Body)
}

// What the books could not take is refused where it comes in, and by whoever is told by its leader to keep it.
func TestKeptFrameIsChecked(t *testing.T) {
	good := keptFrame{Group: "g", Protocol: wire.V1, Notes: []keptNote{{"g", "b", 1, 4}}}
	for name, spoil := range map[string]func(*keptFrame){
		"good":           func(*keptFrame) {},
		"negative share": func(f *keptFrame) { f.Notes[0].Share = -1 },
		"large share":    func(f *keptFrame) { f.Notes[0].Share = 5 },
		"long name":      func(f *keptFrame) { f.Notes[0].Source = strings.Repeat("x", fsm.NameBytesMax+1) },
		"long tenant":    func(f *keptFrame) { f.Tenant = strings.Repeat("x", fsm.NameBytesMax+1) },
		"protocol":       func(f *keptFrame) { f.Protocol = 3 },
	} {
		d := newDesk(t)
		f := good
		f.Notes = slices.Clone(good.Notes)
		spoil(&f)
		want := 400
		if name == "good" {
			want = 204
		}
		d.tell(t, KeptPath, f.append(nil, []byte("body")), want)
		rq := &request{named: named{tenant: f.Tenant, group: f.Group}, protocol: f.Protocol, body: []byte("BODY")}
		err := d.keepRelayed(rq, http.Header{headerKept: {f.Notes[0].header()}})
		if items, _ := d.window.held(); (err == nil) != (want == 204) || (items > 0) != (want == 204) {
			t.Errorf("%s: %d items, %v", name, items, err)
		}
	}
}
