package system

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang/snappy"

	"github.com/highlander-io/highlander/test/harness"
	"github.com/highlander-io/highlander/test/history"
)

// request is one write with everything under the test's control.
type request struct {
	method, query, contentType, encoding string
	body                                 []byte
}

func (r *rig) write(n *harness.Node, in request) (status int, answer string, header http.Header) {
	r.t.Helper()
	if in.method == "" {
		in.method = http.MethodPost
	}
	req, err := http.NewRequest(in.method, n.WriteURL()+"?"+in.query, bytes.NewReader(in.body))
	if err != nil {
		r.t.Fatal(err)
	}
	if in.contentType != "" {
		req.Header.Set("Content-Type", in.contentType)
	}
	if in.encoding != "" {
		req.Header.Set("Content-Encoding", in.encoding)
	}
	client := http.Client{Timeout: harness.Patience, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		// A server may answer and close before it has read a large body; the client then may see only the close.
		return 0, err.Error(), nil
	}
	defer resp.Body.Close()
	data, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(data), resp.Header
}

// insist is write, again while the cluster has trouble of its own: an election may fall anywhere.
func (r *rig) insist(n *harness.Node, in request) (status int, answer string, header http.Header) {
	r.t.Helper()
	harness.Eventually(r.t, "an answer but 503", func() error {
		status, answer, header = r.write(n, in)
		return unless(status != http.StatusServiceUnavailable, func() string { return answer })
	})
	return status, answer, header
}

func point(labels ...string) harness.Point {
	p := harness.Point{Time: time.Now().UnixMilli(), Value: 1}
	for i := 0; i < len(labels); i += 2 {
		p.Labels = append(p.Labels, harness.Label{Name: labels[i], Value: labels[i+1]})
	}
	return p
}

// framed is the snappy framing format, which remote write does not use.
func framed(data []byte) []byte {
	var b bytes.Buffer
	w := snappy.NewBufferedWriter(&b)
	_, _ = w.Write(data)
	_ = w.Close()
	return b.Bytes()
}

// lying declares a decoded length of 4 GiB less one and holds nothing.
func lying() []byte { return binary.AppendUvarint(nil, 1<<32-1) }

// Every bad request has a defined answer that says why, on the leader and on a follower, and costs a good source
// nothing.
func TestBadInput(t *testing.T) {
	r := startRig(t, 3)
	a := r.source("a", 1)
	a.Start(t)
	r.flowing(a)

	good := []harness.Point{point("__name__", "up", "job", "x")}
	v1, v2 := harness.EncodeV1(good), harness.EncodeV2(good)
	const c1, c2 = harness.ContentV1, harness.ContentV2
	tests := []struct {
		name   string
		in     request
		status int
		says   string // part of the answer, in lower case
	}{
		{"truncated snappy", request{contentType: c1, encoding: "snappy", body: v1[:len(v1)-3]}, 400, "snappy"},
		{"framed snappy", request{contentType: c1, encoding: "snappy", body: framed(v1)}, 400, "fram"},
		{"no snappy", request{contentType: c1, encoding: "snappy", body: []byte("hello")}, 400, ""},
		{"lying snappy", request{contentType: c1, encoding: "snappy", body: lying()}, 400, "declares"},
		{"broken protobuf", request{contentType: c1, encoding: "snappy", body: snappy.Encode(nil, []byte{0x0a, 0x7f, 1})}, 400, ""},
		{"broken protobuf 2.0", request{contentType: c2, encoding: "snappy", body: snappy.Encode(nil, []byte{0x2a, 0x7f, 1})}, 400, ""},
		{"1.0 bytes under 2.0", request{contentType: c2, encoding: "snappy", body: v1}, 400, ""},
		{"2.0 bytes under 1.0", request{contentType: c1, encoding: "snappy", body: v2}, 400, ""},
		{"no name", request{contentType: c1, encoding: "snappy", body: harness.EncodeV1([]harness.Point{point("job", "x")})}, 400, "name"},
		{"empty name", request{contentType: c1, encoding: "snappy", body: harness.EncodeV1([]harness.Point{point("__name__", "")})}, 400, "name"},
		{"duplicate label", request{contentType: c1, encoding: "snappy", body: harness.EncodeV1([]harness.Point{point("__name__", "x", "a", "1", "a", "2")})}, 400, "duplicate"},
		{"invalid UTF-8", request{contentType: c1, encoding: "snappy", body: harness.EncodeV1([]harness.Point{point("__name__", "x", "a", "\xff")})}, 400, "utf"},
		{"33 MiB body", request{contentType: c1, encoding: "snappy", body: make([]byte, 33<<20)}, 413, ""},
		{"GET", request{method: http.MethodGet}, 405, ""},
		{"gzip", request{contentType: c1, encoding: "gzip", body: v1}, 415, ""},
		{"JSON", request{contentType: "application/json", encoding: "snappy", body: v1}, 415, ""},
		{"unknown message", request{contentType: "application/x-protobuf;proto=prometheus.Nonsense", encoding: "snappy", body: v1}, 415, ""},
		{"weight that is no number", request{query: "highlander_group=x&highlander_source=x&highlander_weight=heavy", contentType: c1, encoding: "snappy", body: v1}, 400, "weight"},
		{"source with a newline", request{query: "highlander_group=x&highlander_source=a%0Ab", contentType: c1, encoding: "snappy", body: v1}, 400, "source"},
		{"no content type, no encoding", request{query: "highlander_group=plain&highlander_source=x", body: v1}, 204, ""},
		{"media type in capitals", request{query: "highlander_group=plain2&highlander_source=x", contentType: `Application/X-Protobuf; proto="io.prometheus.write.v2.Request"`, encoding: "Snappy", body: v2}, 204, ""},
	}
	leader, follower := r.cluster.Leader(), r.cluster.Followers()[0]
	for _, tt := range tests {
		for _, n := range []*harness.Node{leader, follower} {
			t.Run(tt.name+" "+map[bool]string{true: "leader", false: "follower"}[n == leader], func(t *testing.T) {
				in := tt.in
				if in.query != "" && tt.status == 204 {
					in.query = strings.Replace(in.query, "=plain", "="+n.ID+"plain", 1)
				}
				status, answer, header := r.insist(n, in)
				if status == 0 && tt.status == 413 {
					return // closed before the body was read
				}
				if status != tt.status || !strings.Contains(strings.ToLower(answer), tt.says) {
					t.Errorf("answer %d %q, want %d and %q in it", status, answer, tt.status, tt.says)
				}
				if status >= 400 && strings.TrimSpace(answer) == "" {
					t.Error("a refusal without a reason")
				}
				if in.contentType == c2 && status == 204 && header.Get(harness.SamplesWritten) == "" {
					t.Errorf("no counts in %v", header)
				}
			})
		}
	}
	r.sources = []*harness.Source{a}
	a.Stop()
	r.cluster.WaitDrained(r.lts.Name)
	r.cluster.WaitBooks()
	r.check(onlyJob(r, "g"), history.Rules{Counters: true})
}

// onlyJob is the LTS with what it received of one job.
func onlyJob(r *rig, job string) *harness.LTS {
	log := &history.Log{}
	for _, s := range r.log.History().Received {
		if strings.Contains(s.Series, fmt.Sprintf("job=%q", job)) {
			log.Receive([]history.Sample{s})
		}
	}
	return &harness.LTS{Name: r.lts.Name, Log: log}
}

// One bad series among good ones: the good ones arrive, the sender learns why the other did not.
func TestOneBadSeries(t *testing.T) {
	r := startRig(t, 1)
	n := r.cluster.Nodes[0]
	for protocol, encode := range map[int]func([]harness.Point) []byte{1: harness.EncodeV1, 2: harness.EncodeV2} {
		job := fmt.Sprintf("bad%d", protocol)
		content := map[int]string{1: harness.ContentV1, 2: harness.ContentV2}[protocol]
		body := encode([]harness.Point{point("__name__", "one", "job", job), point("job", job), point("__name__", "two", "job", job)})
		status, _, header := r.insist(n, request{query: "highlander_source=x&highlander_group=" + job, contentType: content, encoding: "snappy", body: body})
		if status != 400 {
			t.Errorf("protocol %d: answer %d, want 400", protocol, status)
		}
		if got := header.Get(harness.SamplesWritten); protocol == 2 && got != "2" {
			t.Errorf("%s is %q, want 2", harness.SamplesWritten, got)
		}
		harness.Eventually(t, "the good series", func() error {
			got := onlyJob(r, job).Log.History().Received
			return unless(len(got) == 2, func() string { return fmt.Sprint(got) })
		})
	}
	r.cluster.WaitBooks()
	harness.Eventually(t, "one sample rejected for missing_name in the books", func() error {
		s, err := n.Status()
		if err != nil {
			return err
		}
		g, _ := s.Group("bad1")
		return unless(g.Samples.Rejected["missing_name"] == 1, func() string { return fmt.Sprintf("%+v", g.Samples) })
	})
}

// Two servers without a name are one group's sources by their addresses; a third of the same address is the same
// source. Several unnamed hosts are a loud warning.
func TestTwoUnnamedServers(t *testing.T) {
	r := startRig(t, 1)
	n := r.cluster.Nodes[0]
	from := func(host string, value float64) int {
		dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(host)}}
		client := http.Client{Timeout: harness.Patience, Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}}
		p := point("__name__", "unnamed", "job", host)
		p.Value = value
		var status int
		harness.Eventually(t, "an answer for "+host, func() error {
			req, _ := http.NewRequest(http.MethodPost, n.WriteURL(), bytes.NewReader(harness.EncodeV1([]harness.Point{p})))
			resp, err := client.Do(req)
			if err != nil {
				return err
			}
			resp.Body.Close()
			status = resp.StatusCode
			return unless(status != 503, func() string { return resp.Status })
		})
		return status
	}
	if got := from("127.0.0.1", 1); got != 204 {
		t.Errorf("first unnamed server: %d, want 204", got)
	}
	if got := from("127.0.0.2", 2); got != 202 {
		t.Errorf("second unnamed server: %d, want 202", got)
	}
	if got := from("127.0.0.1", 3); got != 204 {
		t.Errorf("first unnamed server again: %d, want 204", got)
	}
	harness.Eventually(t, "a warning", func() error {
		s, err := n.Status()
		if err != nil {
			return err
		}
		text := strings.ToLower(strings.Join(s.Warnings, "\n") + n.Process.Output())
		return unless(strings.Contains(text, "unnamed") || strings.Contains(text, "name themselves") || strings.Contains(text, "unidentified"), func() string { return text })
	})
}

// Thousands of groups, and a client that sends a byte now and then, do not keep others from writing.
func TestManyGroupsAndSlowClients(t *testing.T) {
	r := startRig(t, 1)
	n := r.cluster.Nodes[0]
	for range 50 {
		conn, err := net.Dial("tcp", n.Web)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "POST /api/v1/write HTTP/1.1\r\nHost: x\r\nContent-Length: 33000000\r\n\r\nx")
	}
	const groups, each = 3000, 50
	for first := 0; first < groups; first += each {
		var points []harness.Point
		for i := first; i < first+each; i++ {
			points = append(points, point("__name__", "many", "__replica__", "a", "cluster", fmt.Sprintf("c%d", i), "job", "many"))
		}
		body := harness.EncodeV1(points)
		harness.Eventually(t, "204", func() error {
			status, answer, _ := r.write(n, request{contentType: harness.ContentV1, encoding: "snappy", body: body})
			return unless(status == 204, func() string { return fmt.Sprint(status, answer) })
		})
	}
	r.cluster.WaitDrained(r.lts.Name)
	if got := r.log.ReceivedCount(); got != groups {
		t.Errorf("%d samples arrived, want %d", got, groups)
	}
	s, err := n.Status()
	if err != nil || len(s.Groups) != groups {
		t.Errorf("status shows %d groups, want %d (%v)", len(s.Groups), groups, err)
	}
	r.source("a", 1).Burst(t, 5)
	n.Stop()
	n.Start().WaitReady()
	if s, err = n.Status(); err != nil || len(s.Groups) != groups+1 {
		t.Errorf("after a restart status shows %d groups, want %d (%v)", len(s.Groups), groups+1, err)
	}
}
