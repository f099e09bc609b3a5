package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/prompb"

	"github.com/highlander-io/highlander/test/harness"
)

// seriesPerRequest is Prometheus' default for max_samples_per_send.
const seriesPerRequest = 2000

// traffic makes requests like those of a Prometheus server that scrapes a cluster: the same series in every one,
// with labels of usual number and length, values that change by little and new timestamps. Requests differ, as the
// same one sent twice is a duplicate.
type traffic struct {
	template []byte // a marshalled request
	values   []int  // where each sample's value begins in it; its timestamp follows
	start    int64
	step     int64 // milliseconds of its samples from one request to the next
	seed     int64
}

// A marshalled sample of this kind is a value of 8 bytes and, after a tag, a timestamp that takes 6 bytes until 2109.
const (
	timestampBytes  = 6
	timestampOffset = 9
)

// newTraffic makes requests with that replica label, or without one if it is empty.
func newTraffic(replica string, seed int64) *traffic {
	t := &traffic{start: time.Now().UnixMilli() - int64(time.Hour/time.Millisecond), step: 1, seed: seed}
	var req prompb.WriteRequest
	for i := range seriesPerRequest {
		req.Timeseries = append(req.Timeseries, prompb.TimeSeries{
			Labels: seriesLabels(i, replica), Samples: []prompb.Sample{{Value: marker(i), Timestamp: t.start}},
		})
	}
	raw, err := req.Marshal()
	if err != nil {
		panic("BUG: " + err.Error())
	}
	t.template = raw
	at := 0
	for i := range seriesPerRequest {
		var want [8]byte
		binary.LittleEndian.PutUint64(want[:], math.Float64bits(marker(i)))
		found := bytes.Index(raw[at:], want[:])
		if found < 0 {
			panic("BUG: a value is not where it should be")
		}
		at += found
		t.values = append(t.values, at)
		at += timestampOffset + timestampBytes
	}
	return t
}

func marker(i int) float64 { return 1.2345e300 + float64(i)*1e290 }

func seriesLabels(i int, replica string) []prompb.Label {
	labels := []prompb.Label{
		{Name: "__name__", Value: []string{"container_cpu_usage_seconds_total", "container_memory_working_set_bytes", "http_request_duration_seconds_bucket", "node_network_receive_bytes_total"}[i%4]},
		{Name: "cluster", Value: "production-eu-west-1"},
	}
	if replica != "" {
		labels = []prompb.Label{labels[0], {Name: "__replica__", Value: replica}, labels[1]}
	}
	return append(labels,
		prompb.Label{Name: "container", Value: fmt.Sprintf("application-%d", i%37)},
		prompb.Label{Name: "instance", Value: fmt.Sprintf("10.%d.%d.%d:9100", i%7, i%61, i%251)},
		prompb.Label{Name: "job", Value: fmt.Sprintf("kubernetes-pods-%d", i%11)},
		prompb.Label{Name: "le", Value: fmt.Sprint(float64(i%20) / 4)},
		prompb.Label{Name: "namespace", Value: fmt.Sprintf("team-%d", i%23)},
		prompb.Label{Name: "pod", Value: fmt.Sprintf("application-%d-%08x-%05d", i%37, i*2654435761%(1<<32), i)},
	)
}

// body is the i-th request.
func (t *traffic) body(i int) []byte {
	raw := bytes.Clone(t.template)
	r := rand.New(rand.NewPCG(uint64(t.seed), uint64(i)))
	for k, at := range t.values {
		value := float64(1000*k) + float64(i) + float64(r.IntN(1000))/8
		binary.LittleEndian.PutUint64(raw[at:], math.Float64bits(value))
		binary.PutUvarint(raw[at+timestampOffset:], uint64(t.start+int64(i)*t.step))
	}
	return snappy.Encode(nil, raw)
}

var client = &http.Client{
	Timeout:   time.Minute,
	Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true},
}

// send writes n requests over some connections and repeats what is not taken. Without a pace (0, requests per second)
// each connection goes as fast as it is answered.
func send(s *harness.Stage, address string, connections, n, pace int, body func(int) []byte) {
	started := time.Now()
	var next atomic.Int64
	var all sync.WaitGroup
	for range connections {
		all.Add(1)
		go func() {
			defer all.Done()
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if pace > 0 {
					time.Sleep(time.Until(started.Add(time.Duration(i) * time.Second / time.Duration(pace))))
				}
				post(s, address, body(i))
			}
		}()
	}
	all.Wait()
}

// post sends one request until it is taken.
func post(s *harness.Stage, address string, body []byte) {
	var last error
	for deadline := time.Now().Add(harness.Patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if last = attempt(address, body); last == nil {
			return
		}
	}
	s.Errorf("no acknowledgement: %v", last)
}

func attempt(address string, body []byte) error {
	req, err := http.NewRequest(http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", harness.ContentV1)
	req.Header.Set("Content-Encoding", "snappy")
	req.Header.Set("X-Prometheus-Remote-Write-Version", "0.1.0")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("%s: %s", resp.Status, answer)
	}
	return err
}

func readAll(r io.Reader) (string, error) {
	data, err := io.ReadAll(r)
	return string(data), err
}
