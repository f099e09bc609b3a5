package prompeer

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/golang/snappy"
	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	commonconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/prometheus/prometheus/storage/remote"

	"github.com/highlander-io/highlander/test/harness"
)

const (
	v1 = remoteapi.WriteV1MessageType
	v2 = remoteapi.WriteV2MessageType
)

// same waits until the receiver holds what it should, that many entries, to the bit, and nothing else.
func same(t *testing.T, entries int, want func() content, r *receiver) {
	t.Helper()
	harness.Eventually(t, "equal databases", func() error {
		want := want()
		if len(want) != entries {
			return fmt.Errorf("%d entries to compare with, want %d", len(want), entries)
		}
		if diff := differences(want, read(t, r.db)); diff != "" {
			return errors.New(diff)
		}
		return nil
	})
}

// Each protocol and way of naming a source. Where Prometheus can do without highlander, the same queue also
// sends to a receiver of the same kind directly, and both receivers must end up with the same: what sender and
// receiver themselves do not pass on is not asked of highlander. Where a conversion is needed, the receiver must hold
// what the sender has.
func TestSenderToReceiver(t *testing.T) {
	both := []remoteapi.WriteMessageType{v1, v2}
	only1 := []remoteapi.WriteMessageType{v1}
	tests := []struct {
		name         string
		in, out      remoteapi.WriteMessageType
		receives     []remoteapi.WriteMessageType
		byLabels     bool
		converted    bool
		requestsOf20 bool
	}{
		{"1.0 to 1.0", v1, v1, only1, false, false, false},
		{"1.0 to 1.0, replica label removed", v1, v1, only1, true, false, false},
		{"2.0 to 2.0", v2, v2, both, false, false, true},
		{"2.0 to 2.0, replica label removed", v2, v2, both, true, false, true},
		{"2.0 to a destination of 1.0", v2, v1, only1, false, true, false},
		{"2.0 to a receiver without 2.0", v2, v2, only1, false, true, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newReceiver(t, tt.receives...)
			n := harness.NewNode(t, "n1", r.destination(tt.out))
			n.Start().WaitReady()
			external, address := labels.EmptyLabels(), n.WriteURL()+"?highlander_group=g&highlander_source=a"
			if tt.byLabels {
				external, address = labels.FromStrings("__replica__", "a", "cluster", "prod"), n.WriteURL()
			}
			// Prometheus sends no custom buckets by 1.0, and its receiver takes no exemplars by 2.0: 400 entries each.
			entries := 5000
			var s *sender
			var want func() content
			if tt.converted {
				entries = 5400
				s = newSender(t, tt.in, external, address)
				want = func() content { return read(t, s.db) }
			} else {
				direct := newReceiver(t, tt.receives...)
				s = newSender(t, tt.in, external, address, direct.url())
				want = func() content { return read(t, direct.db).without(`__replica__="a", `) }
			}
			s.fill(t, time.Now().Add(time.Second), 0, 200)
			same(t, entries, want, r)
			if got := len(r.v2()) > 0; got != tt.requestsOf20 {
				t.Errorf("the receiver got requests of 2.0: %v, want %v", got, tt.requestsOf20)
			}
			if tt.requestsOf20 {
				metadataArrived(t, r)
			}
			harness.WaitDrained(t, n, "lts")
		})
	}
}

// metadataArrived requires that the counters' type, help and unit came with their series.
func metadataArrived(t *testing.T, r *receiver) {
	t.Helper()
	for _, req := range r.v2() {
		for _, ts := range req.Timeseries {
			m := ts.Metadata
			if m.Type == writev2.Metadata_METRIC_TYPE_COUNTER && req.Symbols[m.HelpRef] == "Requests so far." && req.Symbols[m.UnitRef] == "requests" {
				return
			}
		}
	}
	t.Error("no metadata arrived")
}

// A TSDB without an out-of-order window is the LTS: across the death of the leader and of the LTS' answers nothing is
// missing, and what it refuses because it has it already is no dead letter.
func TestClusterToTSDB(t *testing.T) {
	r := newReceiver(t, v1, v2)
	c := harness.StartCluster(t, 3, r.destination(v2))
	followers := c.Followers()
	direct := newReceiver(t, v1, v2)
	s := newSender(t, v2, labels.EmptyLabels(), followers[0].WriteURL()+"?highlander_group=g&highlander_source=a", direct.url())
	base := time.Now().Add(time.Second)
	s.fill(t, base, 0, 200)
	leader := c.Leader()
	leader.Kill()
	s.fill(t, base, 200, 200)
	c.Leader()
	s.fill(t, base, 400, 200)
	leader.Start().WaitReady()
	same(t, 15000, func() content { return read(t, direct.db) }, r)
	c.WaitDrained("lts")
	c.WaitBooks()
	status, err := c.Leader().Status()
	if err != nil {
		t.Fatal(err)
	}
	d, _ := status.Destination("lts")
	if d.Samples.DeadLetter != 0 {
		t.Errorf("%d dead letters: %+v", d.Samples.DeadLetter, d)
	}
	t.Logf("books of the destination: %+v; %d requests refused by the receiver", d.Samples, r.refusals())
}

// One request with everything that 2.0 can say in a series, through Prometheus' write client: the counts in the answer
// are exact and confirmed, and the receiver gets each field, also those that a TSDB does not keep.
func TestEveryFieldOf20(t *testing.T) {
	r := newReceiver(t, v2)
	n := harness.NewNode(t, "n1", r.destination(v2))
	n.Start().WaitReady()
	now := time.Now().UnixMilli()
	symbols := []string{"", "__name__", "everything", "trace_id", "abc", "help text", "unit", "histogram", "only_metadata"}
	sent := writev2.Request{Symbols: symbols, Timeseries: []writev2.TimeSeries{
		{
			LabelsRefs: []uint32{1, 2},
			Samples:    []writev2.Sample{{Value: 1, Timestamp: now, StartTimestamp: now - 5000}, {Value: 2, Timestamp: now + 1, StartTimestamp: now - 5000}},
			Exemplars:  []writev2.Exemplar{{LabelsRefs: []uint32{3, 4}, Value: 1, Timestamp: now}},
			Metadata:   writev2.Metadata{Type: writev2.Metadata_METRIC_TYPE_COUNTER, HelpRef: 5, UnitRef: 6},
		},
		{
			LabelsRefs: []uint32{1, 7},
			Histograms: []writev2.Histogram{{
				Count: &writev2.Histogram_CountInt{CountInt: 3}, Sum: 7, Schema: -53, CustomValues: []float64{1, 2},
				PositiveSpans: []writev2.BucketSpan{{Length: 2}}, PositiveDeltas: []int64{1, 1},
				Timestamp: now, StartTimestamp: now - 7000, ResetHint: writev2.Histogram_RESET_HINT_YES,
			}},
		},
		{LabelsRefs: []uint32{1, 8}, Metadata: writev2.Metadata{Type: writev2.Metadata_METRIC_TYPE_GAUGE, HelpRef: 5}},
	}}
	raw, err := sent.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	client := writeClient(t, n.WriteURL()+"?highlander_group=g&highlander_source=a")
	harness.Eventually(t, "the answer", func() error {
		stats, err := client.Store(context.Background(), snappy.Encode(nil, raw), 0)
		if err == nil && (!stats.Confirmed || stats.Samples != 2 || stats.Histograms != 1 || stats.Exemplars != 1) {
			t.Errorf("the answer says %+v, want 2 samples, 1 histogram, 1 exemplar, confirmed", stats)
		}
		return err
	})
	harness.Eventually(t, "the request at the receiver", func() error {
		want, got := resolved(sent), map[string]string{}
		for _, req := range r.v2() {
			for k, v := range resolved(req) {
				got[k] = v
			}
		}
		if diff := differences(want, got); diff != "" {
			return errors.New(diff)
		}
		return nil
	})
}

func writeClient(t *testing.T, address string) remote.WriteClient {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	client, err := remote.NewWriteClient("peer", &remote.ClientConfig{
		URL: &commonconfig.URL{URL: u}, WriteProtoMsg: v2, Timeout: model.Duration(5 * time.Second),
	})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// resolved is each series of a request as text without references.
func resolved(req writev2.Request) content {
	out := content{}
	for _, ts := range req.Timeseries {
		name := ""
		for _, ref := range ts.LabelsRefs {
			name += req.Symbols[ref] + "\x00"
		}
		text := fmt.Sprintf("%v %v %s %s", ts.Samples, ts.Metadata.Type, req.Symbols[ts.Metadata.HelpRef], req.Symbols[ts.Metadata.UnitRef])
		for _, h := range ts.Histograms {
			text += h.String()
		}
		for _, e := range ts.Exemplars {
			text += fmt.Sprint(e.Value, e.Timestamp)
			for _, ref := range e.LabelsRefs {
				text += " " + req.Symbols[ref]
			}
		}
		out[name] = text
	}
	return out
}
