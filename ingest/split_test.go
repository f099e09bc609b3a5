package ingest

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/prompb"

	"github.com/highlander-io/highlander/fsm"
	"github.com/highlander-io/highlander/fsm/wire"
)

// stored lists group/source of every accepted batch, with its series' names.
func (d *desk) stored() map[string][]string {
	d.Helper()
	found := make(map[string][]string)
	for _, b := range d.node.batches(d) {
		key := b.Group.Name + "/" + b.Source
		for _, s := range decode(d, b.Body).Timeseries {
			for _, l := range s.Labels {
				if l.Name == "__name__" {
					found[key] = append(found[key], l.Value)
				}
			}
		}
	}
	return found
}

func same(t *testing.T, got, want map[string][]string) {
	t.Helper()
	for key, names := range want {
		if strings.Join(got[key], " ") != strings.Join(names, " ") {
			t.Errorf("%s: %v, want %v", key, got[key], names)
		}
	}
	if len(got) != len(want) {
		t.Errorf("stored %v, want %v", got, want)
	}
}

func TestIdentityByLabels(t *testing.T) {
	d := newDesk(t)
	at := d.clock.Now()
	d.expect(d.post(bodyV1(t, series(at, "__name__", "up", "__replica__", "a", "cluster", "g"))), 204)
	same(t, d.stored(), map[string][]string{"g/a": {"up"}})
	s := decode(t, d.node.batches(t)[0].Body).Timeseries[0]
	if len(s.Labels) != 2 || s.Labels[0].Name != "__name__" || s.Labels[1].Name != "cluster" {
		t.Errorf("labels %v: the replica label goes, the group label stays", s.Labels)
	}
}

func TestMixedRequestIsSplit(t *testing.T) {
	d := newDesk(t)
	at := d.clock.Now()
	d.expect(d.post(bodyV1(t, series(at, "__name__", "first", "__replica__", "a", "cluster", "g1"))), 204)
	d.expect(d.post(bodyV1(t, series(at, "__name__", "first", "__replica__", "b", "cluster", "g2"))), 204)
	mixed := bodyV1(t,
		series(at, "__name__", "one", "__replica__", "a", "cluster", "g1"),
		series(at, "__name__", "two", "__replica__", "a", "cluster", "g2"), // a standby's
		series(at, "__name__", "three", "__replica__", "b", "cluster", "g2"),
		series(at, "__name__", "four", "cluster", "g2"), // has a cluster label of its own and names nobody
		series(at, "__name__", "five", "__replica__", "c"),
		series(at, "__name__", "six", "__replica__", "a", "cluster", "g1"),
		series(at, "__name__", "seven", "__replica__", "b", "cluster", "g1"), // a standby's
	)
	d.expect(d.post(mixed, from("10.0.0.7:1234")), 204)
	same(t, d.stored(), map[string][]string{
		"g1/a": {"first", "one", "six"},
		"g2/b": {"first", "three"},
		// Both name no group: the unnamed host came first and is current, so c is its standby.
		"default/10.0.0.7": {"four"},
	})
	if d.node.confirmed() != 0 {
		t.Error("the batches of the request prove the verdicts about its standbys")
	}
	d.flush()
	for _, name := range []string{"g1", "g2", "default"} {
		if got := d.group(name).Standby; got.Requests != 1 || got.Kept != 1 {
			t.Errorf("standby books of %s: %+v", name, got)
		}
	}
}

func TestNamedRequestKeepsLabelsOutOfIt(t *testing.T) {
	d := newDesk(t)
	at := d.clock.Now()
	d.expect(d.post(bodyV1(t,
		series(at, "__name__", "one", "__replica__", "x", "cluster", "g1"),
		series(at, "__name__", "two", "__replica__", "y", "cluster", "g2"),
	), set("X-Highlander-Source", "a"), set("X-Highlander-Group", "g")), 204)
	same(t, d.stored(), map[string][]string{"g/a": {"one", "two"}})
}

func TestNamedSourceWithoutGroup(t *testing.T) {
	d := newDesk(t, func(o *Options) { o.DefaultGroup = "rest" })
	d.expect(d.post(bodyV1(t, series(d.clock.Now(), "__name__", "one")), query("highlander_source=a")), 204)
	same(t, d.stored(), map[string][]string{"rest/a": {"one"}})
}

func TestNamedGroupLeavesSourceToLabels(t *testing.T) {
	d := newDesk(t)
	d.expect(d.post(bodyV1(t, series(d.clock.Now(), "__name__", "one", "__replica__", "a", "cluster", "x")), query("highlander_group=g")), 204)
	same(t, d.stored(), map[string][]string{"g/a": {"one"}})
}

func TestTenants(t *testing.T) {
	d := newDesk(t)
	body := bodyV1(t, series(d.clock.Now(), "__name__", "one"))
	d.expect(d.post(body, by("g", "a"), set("X-Scope-OrgID", "t1")), 204)
	d.expect(d.post(body, by("g", "b"), set("X-Scope-OrgID", "t2")), 204)
	for tenant, want := range map[string]string{"t1": "a", "t2": "b"} {
		if got, _, _ := d.node.fsm.Current(fsm.GroupID{Tenant: tenant, Name: "g"}); got != want {
			t.Errorf("tenant %s: current %q, want %q", tenant, got, want)
		}
	}
}

func TestUnidentified(t *testing.T) {
	body := func(d *desk) []byte { return bodyV1(d, series(d.clock.Now(), "__name__", "one")) }
	t.Run("elect", func(t *testing.T) {
		d := newDesk(t)
		d.expect(d.post(body(d), from("10.0.0.1:1111")), 204)
		d.clock.advance(1e9)
		d.expect(d.post(body(d), from("10.0.0.1:2222")), 204)
		d.expect(d.post(body(d), from("10.0.0.2:1111")), 202)
		d.expect(d.post(body(d), from("10.0.0.3:1111")), 202)
		d.current("default", "10.0.0.1")
		if n := strings.Count(d.logs.String(), "several hosts send without saying who they are"); n != 1 {
			t.Errorf("warned %d times", n)
		}
	})
	t.Run("pass", func(t *testing.T) {
		d := newDesk(t, func(o *Options) { o.Unidentified = Pass })
		d.expect(d.post(body(d), from("10.0.0.1:1111")), 204)
		d.expect(d.post(body(d), from("10.0.0.2:1111")), 204)
		for _, b := range d.node.batches(t) {
			if b.Flags&fsm.FlagUnelected == 0 {
				t.Error("a batch without the flag")
			}
		}
		if n := len(d.node.batches(t)); n != 2 {
			t.Errorf("%d batches", n)
		}
		d.tick()
		if _, _, elected := d.node.fsm.Current(fsm.GroupID{Name: "default"}); elected {
			t.Error("an election was held")
		}
	})
	t.Run("reject", func(t *testing.T) {
		d := newDesk(t, func(o *Options) { o.Unidentified = Reject })
		w := d.post(bodyV1(t,
			series(d.clock.Now(), "__name__", "one"),
			series(d.clock.Now(), "__name__", "two", "__replica__", "a", "cluster", "g")))
		d.expect(w, 400)
		if !strings.Contains(w.Body.String(), "unidentified in 1") {
			t.Errorf("reason %q", w.Body)
		}
		same(t, d.stored(), map[string][]string{"g/a": {"two"}})
		d.flush()
		if got := d.group("default").Books; got.Rejected["unidentified"] != 1 || got.Received != 1 {
			t.Errorf("books %+v", got)
		}
	})
}

func TestLabelThatCannotBeAName(t *testing.T) {
	d := newDesk(t)
	for _, bad := range []string{"a\nb", strings.Repeat("x", 300)} {
		w := d.post(bodyV1(t,
			series(d.clock.Now(), "__name__", "one", "__replica__", bad, "cluster", "g"),
			series(d.clock.Now(), "__name__", "two", "__replica__", "a", "cluster", "g")), from("10.0.0.1:1"))
		d.expect(w, 400)
		if !strings.Contains(w.Body.String(), "bad_identity") || strings.Contains(strings.TrimSpace(w.Body.String()), "\n") {
			t.Errorf("reason %q", w.Body)
		}
		d.clock.advance(1e9)
	}
	if names := d.stored()["g/a"]; len(names) != 2 {
		t.Errorf("the good series: %v", names)
	}
}

func TestTooManyGroupsAndSources(t *testing.T) {
	d := newDesk(t, func(o *Options) { o.MaxGroups, o.MaxSources = 2, 2 })
	body := bodyV1(t, series(d.clock.Now(), "__name__", "one"))
	d.expect(d.post(body, by("g1", "a")), 204)
	d.expect(d.post(body, by("g1", "b")), 202)
	d.expect(d.post(body, by("g1", "c")), 503)
	d.expect(d.post(body, by("g2", "a")), 204)
	d.expect(d.post(body, by("g3", "a")), 503)
	d.expect(d.post(body, by("g1", "a")), 204)
}

func TestManyIdentitiesInOneRequest(t *testing.T) {
	d := newDesk(t)
	var all []prompb.TimeSeries
	for i := range 300 {
		name := string(rune('a'+i%26)) + string(rune('a'+i/26))
		all = append(all, series(d.clock.Now(), "__name__", "m", "__replica__", "r", "cluster", name))
	}
	d.expect(d.post(bodyV1(t, all...)), 204)
	if got := d.stored(); len(got) != 300 {
		t.Errorf("%d sources", len(got))
	}
}

func TestStrayMetadata(t *testing.T) {
	d := newDesk(t)
	one, other := metadataV1(t, "m1", "m2", "m3"), metadataV1(t, "m3", "m1", "m2")
	d.expect(d.post(one, from("10.0.0.1:1")), 204)
	d.expect(d.post(other, from("10.0.0.2:1")), 204) // the same, in another order, by the replica
	batches := d.node.batches(t)
	if len(batches) != 1 || batches[0].Flags&fsm.FlagUnelected == 0 || !bytes.Equal(batches[0].Body, one) {
		t.Fatalf("%d batches", len(batches))
	}
	d.expect(d.post(metadataV1(t, "m4")), 204)
	d.expect(d.post(one, set("X-Scope-OrgID", "t")), 204)
	if n := len(d.node.batches(t)); n != 3 {
		t.Errorf("%d batches; other content and other tenants pass", n)
	}
	d.clock.advance(61 * 60e9)
	d.forget(d.lead)
	d.expect(d.post(other), 204)
	if n := len(d.node.batches(t)); n != 4 {
		t.Errorf("%d batches; it passes again after an hour", n)
	}
	if _, _, elected := d.node.fsm.Current(fsm.GroupID{Name: "default"}); elected {
		t.Error("metadata of nobody elected somebody")
	}
}

// Content that begins with an unknown field is told apart like any other.
func TestStrayMetadataBehindAnUnknownField(t *testing.T) {
	d := newDesk(t)
	for n, name := range []string{"m1", "m2"} {
		raw, err := snappy.Decode(nil, metadataV1(t, name))
		if err != nil {
			t.Fatal(err)
		}
		d.expect(d.post(snappy.Encode(nil, append([]byte{12 << 3, 7}, raw...))), 204)
		if got := len(d.node.batches(t)); got != n+1 {
			t.Errorf("%s: %d batches", name, got)
		}
	}
}

func TestNamedMetadataBelongsToItsSource(t *testing.T) {
	d := newDesk(t)
	d.expect(d.post(bodyV1(t, series(d.clock.Now(), "__name__", "up")), by("g", "a")), 204)
	d.expect(d.post(metadataV1(t, "m"), by("g", "a")), 204)
	d.expect(d.post(metadataV1(t, "m"), by("g", "b")), 202)
	batches := d.node.batches(t)
	if len(batches) != 2 || batches[1].Source != "a" || batches[1].Flags != 0 || batches[1].Counts.Metadata != 1 {
		t.Errorf("batches %+v", batches)
	}
}

func TestMetadataBesidesSeriesIsKeptOnce(t *testing.T) {
	d := newDesk(t)
	at := d.clock.Now()
	d.expect(d.post(encode(t, &prompb.WriteRequest{
		Timeseries: []prompb.TimeSeries{
			series(at, "__name__", "one", "__replica__", "a", "cluster", "g1"),
			series(at, "__name__", "two", "__replica__", "a", "cluster", "g2"),
		},
		Metadata: []prompb.MetricMetadata{{MetricFamilyName: "one", Help: "helps"}},
	})), 204)
	n := 0
	for _, b := range d.node.batches(t) {
		n += len(decode(t, b.Body).Metadata)
	}
	if n != 1 {
		t.Errorf("metadata was kept %d times", n)
	}
}

func TestSplitV2(t *testing.T) {
	d := newDesk(t)
	body := encode(t, requestV2(d.clock.Now(), 3, "__replica__", "a", "cluster", "g"))
	w := d.post(body, asV2)
	d.expect(w, 204)
	writtenHeaders(t, w.Header(), "3", "1", "3")
	b := d.node.batches(t)
	if len(b) != 1 || b[0].Protocol != wire.V2 || b[0].Source != "a" || b[0].Counts.Histograms != 1 {
		t.Errorf("batches %+v", b)
	}
}

func writtenHeaders(t *testing.T, header http.Header, samples, histograms, exemplars string) {
	t.Helper()
	for name, want := range map[string]string{
		headerWrittenSamples: samples, headerWrittenHistograms: histograms, headerWrittenExemplars: exemplars,
	} {
		if got := header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
