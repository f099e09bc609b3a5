package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/highlander-io/highlander/cmd/server"
)

// fakeAdmin is a node's admin socket that remembers what it was asked.
type fakeAdmin struct {
	dir     string
	asked   []string // "POST /path body"
	status  int
	answers map[string]any // by "METHOD path"
}

func newFakeAdmin(t *testing.T) *fakeAdmin {
	t.Helper()
	dir, err := os.MkdirTemp("", "hl") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	a := &fakeAdmin{dir: dir, status: http.StatusOK, answers: map[string]any{}}
	listener, err := net.Listen("unix", filepath.Join(dir, "admin.sock"))
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: listener, Config: &http.Server{Handler: a}}
	s.Start()
	t.Cleanup(s.Close)
	return a
}

func (a *fakeAdmin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	a.asked = append(a.asked, strings.TrimSpace(r.Method+" "+r.URL.String()+" "+string(body)))
	answer, ok := a.answers[r.Method+" "+r.URL.Path]
	if !ok {
		answer = struct{}{}
	}
	w.WriteHeader(a.status)
	_ = json.NewEncoder(w).Encode(answer)
}

// do runs a command against the node.
func (a *fakeAdmin) do(line ...string) (status int, out, errOut string) {
	p := newTestProgram()
	status = p.run(append(line, "--storage.path", a.dir))
	return status, p.out.String(), p.errOut.String()
}

func TestAdminCommands(t *testing.T) {
	tests := []struct{ line, asked, out string }{
		{"cluster join 10.0.0.1:6746", `POST /v1/cluster/join {"address":"10.0.0.1:6746"}`, "joined the cluster at 10.0.0.1:6746"},
		{"cluster leave", `POST /v1/cluster/leave {}`, "left the cluster; a restart needs --cluster.rejoin"},
		{"cluster remove n2", `POST /v1/cluster/remove {"force":false,"node":"n2"}`, "removed node n2"},
		{"cluster remove n2 --force", `POST /v1/cluster/remove {"force":true,"node":"n2"}`, "removed node n2"},
		{"--force cluster remove n2", `POST /v1/cluster/remove {"force":true,"node":"n2"}`, "removed node n2"},
		{"cluster transfer-leadership", `POST /v1/cluster/transfer-leadership {"node":""}`, "handed leadership over"},
		{"cluster transfer-leadership n3", `POST /v1/cluster/transfer-leadership {"node":"n3"}`, "handed leadership to n3"},
		{"source promote prod a", `POST /v1/source {"op":"promote","tenant":"","group":"prod","source":"a","weight":0}`, "source a of group prod is current"},
		{"source promote --tenant t prod a", `POST /v1/source {"op":"promote","tenant":"t","group":"prod","source":"a","weight":0}`, "source a of group prod is current"},
		{"source pin prod a --tenant=t", `POST /v1/source {"op":"pin","tenant":"t","group":"prod","source":"a","weight":0}`, "group prod is pinned to source a"},
		{"source unpin prod", `POST /v1/source {"op":"unpin","tenant":"","group":"prod","source":"","weight":0}`, "group prod is not pinned any more"},
		{"source weight prod a 18446744073709551615", `POST /v1/source {"op":"weight","tenant":"","group":"prod","source":"a","weight":18446744073709551615}`, "source a of group prod has weight 18446744073709551615"},
		{"source forget SOURCE GROUP", `POST /v1/source {"op":"forget","tenant":"","group":"SOURCE","source":"GROUP","weight":0}`, "source GROUP of group SOURCE is forgotten"},
		{"destination pause lts", `POST /v1/destination {"name":"lts","op":"pause"}`, "destination lts is paused"},
		{"destination resume lts", `POST /v1/destination {"name":"lts","op":"resume"}`, "destination lts is resumed"},
		{"destination skip lts", `POST /v1/destination {"name":"lts","op":"skip","to":0}`, "skipped the backlog of destination lts"},
		{"destination skip lts --to 9", `POST /v1/destination {"name":"lts","op":"skip","to":9}`, "skipped the backlog of destination lts up to entry 9"},
		{"destination --to=9 skip lts", `POST /v1/destination {"name":"lts","op":"skip","to":9}`, "skipped the backlog of destination lts up to entry 9"},
		{"destination forget lts", `POST /v1/destination {"name":"lts","op":"forget"}`, "destination lts is forgotten"},
		{"dead-letter replay x1", `POST /v1/dead-letter {"id":"x1","op":"replay"}`, "dead letter x1 is in the backlog again"},
		{"dead-letter purge", `POST /v1/dead-letter {"op":"purge"}`, "dead letters are purged"},
	}
	for _, tt := range tests {
		t.Run(tt.line, func(t *testing.T) {
			a := newFakeAdmin(t)
			status, out, errOut := a.do(strings.Fields(tt.line)...)
			if status != exitDone || out != tt.out+"\n" {
				t.Errorf("status %d, %q; want %q; %s", status, out, tt.out, errOut)
			}
			if len(a.asked) != 1 || a.asked[0] != tt.asked {
				t.Errorf("asked %q, want %q", a.asked, tt.asked)
			}
			if status, out, _ = a.do(append(strings.Fields(tt.line), "--output", "json")...); status != exitDone || !json.Valid([]byte(out)) {
				t.Errorf("as JSON: status %d, %q", status, out)
			}
		})
	}
}

// What comes after "--" is an argument, whatever it looks like; the group "help" is one, too.
func TestArgumentsThatLookLikeSomethingElse(t *testing.T) {
	a := newFakeAdmin(t)
	p := newTestProgram()
	if status := p.run([]string{"source", "promote", "--storage.path", a.dir, "--", "--output", "-x"}); status != exitDone {
		t.Errorf("status %d: %s", status, p.errOut.String())
	}
	if status, _, errOut := a.do("source", "promote", "help", "storage.path"); status != exitDone {
		t.Errorf("status %d: %s", status, errOut)
	}
	want := []string{
		`POST /v1/source {"op":"promote","tenant":"","group":"--output","source":"-x","weight":0}`,
		`POST /v1/source {"op":"promote","tenant":"","group":"help","source":"storage.path","weight":0}`,
	}
	if fmt.Sprint(a.asked) != fmt.Sprint(want) {
		t.Errorf("asked %q, want %q", a.asked, want)
	}
}

func TestRefusals(t *testing.T) {
	a := newFakeAdmin(t)
	a.status = http.StatusNotFound
	a.answers["POST /v1/source"] = map[string]string{"error": `group "prdo": want one of: prod`}
	if status, out, errOut := a.do("source", "promote", "prdo", "a"); status != exitFailed || out != "" || errOut != "highlander: group \"prdo\": want one of: prod\n" {
		t.Errorf("status %d, %q, %q", status, out, errOut)
	}
	a.status = http.StatusServiceUnavailable
	if status, _, errOut := a.do("cluster", "leave"); status != exitFailed || errOut != "highlander: the node answered 503 Service Unavailable\n" {
		t.Errorf("status %d, %q", status, errOut)
	}
	a.answers["POST /v1/source"] = map[string]string{"error": "evil \x1b[2J"}
	if _, _, errOut := a.do("source", "promote", "prdo", "a"); strings.Contains(errOut, "\x1b") {
		t.Errorf("L4: %q", errOut)
	}
	a.status = http.StatusOK
	a.answers["GET /v1/status"] = "not a document"
	if status, _, errOut := a.do("source", "list"); status != exitFailed || !strings.Contains(errOut, "answered something else than JSON") {
		t.Errorf("status %d, %q", status, errOut)
	}
}

// A value that cannot be read must not be noticed only after the node has done what it was told.
func TestOutputIsCheckedFirst(t *testing.T) {
	a := newFakeAdmin(t)
	if status, _, _ := a.do("dead-letter", "purge", "--output", "yaml"); status != exitUsage || len(a.asked) > 0 {
		t.Errorf("status %d, asked %q", status, a.asked)
	}
}

func TestNoNode(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "admin.sock")
	for _, tt := range []struct {
		name string
		env  map[string]string
		line []string
		want string
	}{
		{"directory", nil, []string{"status", "--storage.path", dir}, "no node seems to run here: there is no socket " + socket},
		{"socket", nil, []string{"status", "--admin.socket", dir + "/x"}, "there is no socket " + dir + "/x"},
		{"default", nil, []string{"status"}, "there is no socket data/admin.sock"},
		{"directory variable", map[string]string{"HIGHLANDER_STORAGE_PATH": "/e"}, []string{"status"}, "there is no socket /e/admin.sock"},
		{"socket variable", map[string]string{"HIGHLANDER_ADMIN_SOCKET": "/e/s"}, []string{"status"}, "there is no socket /e/s"},
		{"directory beats socket variable", map[string]string{"HIGHLANDER_ADMIN_SOCKET": "/e/s"}, []string{"status", "--storage.path", dir}, "there is no socket " + socket},
		{"flags before", nil, []string{"--storage.path", dir, "status"}, "there is no socket " + socket},
	} {
		p := newTestProgram()
		p.env = tt.env
		if status := p.run(tt.line); status != exitFailed || !strings.Contains(p.errOut.String(), tt.want) {
			t.Errorf("%s: status %d, %q; want %q", tt.name, status, p.errOut.String(), tt.want)
		}
	}
}

func TestAbandonedSocket(t *testing.T) {
	dir, err := os.MkdirTemp("", "hl")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "admin.sock"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false)
	listener.Close()
	p := newTestProgram()
	if status := p.run([]string{"status", "--storage.path", dir}); status != exitFailed || !strings.Contains(p.errOut.String(), "nobody listens on the socket") {
		t.Errorf("status %d, %q", status, p.errOut.String())
	}
}

// sampleDocument has something of everything, and names that want to move the cursor.
func sampleDocument() server.Document {
	seen := testNow.Add(-2 * time.Second)
	ms := func(d time.Duration) int64 { return testNow.Add(d).UnixMilli() }
	return server.Document{
		Node: server.NodeStatus{ID: "n1", UUID: "u1", Role: "leader", Version: "0.1.0", ConfigHash: "abcd"},
		Cluster: server.ClusterStatus{UUID: "cu", Leader: "n1", Term: 3, FeatureLevel: 1, Nodes: []server.MemberStatus{
			{ID: "n1", UUID: "u1", Address: "10.0.0.1:6746", Voter: true, Reachable: true, AppliedIndex: 812, Version: "0.1.0", ConfigHash: "abcd", FreeBytes: 5 << 30},
			{ID: "n2", UUID: "u2", Address: "10.0.0.2:6746", Voter: true, Reachable: true, AppliedIndex: 811, Version: "0.1.0", ConfigHash: "abcd", FreeBytes: 1 << 20, Full: true},
			{ID: "n3", UUID: "u3", Address: "10.0.0.3:6746", Voter: false, Reachable: true, AppliedIndex: 5, Version: "0.1.1", ConfigHash: "abce", FreeBytes: 9 << 30},
			{ID: "n4", UUID: "u4", Address: "10.0.0.4:6746", Voter: true},
		}},
		Groups: []server.GroupStatus{{
			Name: "prod", Current: "a", Epoch: 4, Since: testNow.Add(-3 * time.Hour), Pinned: true, PinnedTo: "a", WatermarkMS: ms(-3 * time.Second),
			Sources: []server.SourceStatus{
				{Name: "a", Weight: 100, State: "current", LastSeen: &seen, NewestSampleMS: ms(-3 * time.Second), Coverage: 1, Received: 123},
				{Name: "b\n\x1b[2J", State: "standby", LastSeen: &seen, NewestSampleMS: ms(1500 * time.Millisecond), Coverage: 0.5, OutOfOrder: 7},
				{Name: "c", State: "silent"},
			},
			Samples: server.SampleBooks{Received: 123, Accepted: 117, Covered: 2, Duplicate: 1, Rejected: map[string]uint64{"missing_name": 1, "invalid_utf8": 2, "none": 0}},
			Standby: server.StandbyBooks{Requests: 60, Kept: 3, Discarded: 57},
		}},
		Destinations: []server.DestinationStatus{
			{Name: "lts", State: "up", Cursor: 811, Backlog: server.Backlog{Entries: 1, Samples: 2000, Bytes: 31000, OldestSeconds: 0.4}, Samples: server.DestinationBooks{Accepted: 9000, Delivered: 7000}},
			{Name: "other", State: "held", Cursor: 3, Error: "401 Unauthorized: no\nentry", Samples: server.DestinationBooks{DeadLetter: 5, RelabelDropped: 2, Dropped: map[string]uint64{"purged": 4}}},
		},
		Storage:  server.StorageStatus{FirstIndex: 1, LastIndex: 812, WALBytes: 12345678, FreeBytes: 5 << 30},
		Warnings: []string{"n3 has another configuration"},
	}
}

func TestStatusTables(t *testing.T) {
	a := newFakeAdmin(t)
	doc := sampleDocument()
	a.answers["GET /v1/status"] = doc
	for name, line := range map[string]string{
		"status": "status", "cluster_status": "cluster status", "source_list": "source list", "destination_list": "destination list",
	} {
		status, out, errOut := a.do(strings.Fields(line)...)
		if status != exitDone || errOut != "" {
			t.Errorf("%s: status %d, %s", line, status, errOut)
		}
		golden(t, name+".golden", out)
		if strings.Contains(out, "\x1b") {
			t.Errorf("L4: %s lets an escape through", line)
		}
	}
	doc.Groups[0].Tenant, doc.Stale, doc.Storage.Full, doc.Cluster.Leader, doc.Destinations = "team", true, true, "", nil
	a.answers["GET /v1/status"] = doc
	_, out, _ := a.do("status")
	golden(t, "status_stale.golden", out)
	a.answers["GET /v1/status"] = server.Document{}
	_, out, _ = a.do("source", "list")
	if out != "no sources yet\n" {
		t.Errorf("no sources: %q", out)
	}
}

// L5: the document passes through whole, with keys that this program does not know.
func TestStatusJSON(t *testing.T) {
	a := newFakeAdmin(t)
	a.answers["GET /v1/status"] = json.RawMessage(`{"node":{"id":"n1","future":[1,2]},"new":"é"}`)
	_, out, _ := a.do("status", "--output", "json")
	var compact bytes.Buffer
	if err := json.Compact(&compact, []byte(out)); err != nil {
		t.Fatal(err)
	}
	if compact.String() != `{"node":{"id":"n1","future":[1,2]},"new":"é"}` {
		t.Errorf("got %s", out)
	}
}

func TestListsAsJSON(t *testing.T) {
	a := newFakeAdmin(t)
	doc := sampleDocument()
	a.answers["GET /v1/status"] = doc
	a.answers["GET /v1/dead-letters"] = []server.DeadLetter{}
	a.answers["GET /v1/source/history"] = nil
	for _, tt := range []struct {
		line string
		into any
		want string
	}{
		{"source list", new([]sourceRow), `prod a current`},
		{"cluster status", new(server.ClusterStatus), `n1`},
		{"destination list", new([]server.DestinationStatus), `lts`},
		{"dead-letter list", new([]server.DeadLetter), `[]`},
	} {
		status, out, errOut := a.do(append(strings.Fields(tt.line), "--output=json")...)
		if err := json.Unmarshal([]byte(out), tt.into); err != nil || status != exitDone {
			t.Errorf("%s: status %d, %v: %s%s", tt.line, status, err, out, errOut)
		}
		for _, word := range strings.Fields(tt.want) {
			if !strings.Contains(out, word) {
				t.Errorf("%s: no %q in %s", tt.line, word, out)
			}
		}
	}
	_, out, _ := a.do("source", "list", "--tenant", "other", "--output=json")
	if strings.TrimSpace(out) != "[]" {
		t.Errorf("sources of a tenant without any: %s", out)
	}
	_, out, _ = a.do("source", "history", "prod", "--output=json")
	if strings.TrimSpace(out) == "" || !json.Valid([]byte(out)) {
		t.Errorf("history: %s", out)
	}
}

func TestHistoryAndDeadLetterTables(t *testing.T) {
	a := newFakeAdmin(t)
	a.answers["GET /v1/source/history"] = []server.Change{
		{At: testNow, Epoch: 1, To: "a", Reason: "first"},
		{At: testNow, Epoch: 2, From: "a", To: "b", Reason: "silence", BoundaryMS: testNow.UnixMilli(), KeptUsed: 3, Fenced: 4, LargestGapMS: 15000},
	}
	letter := server.DeadLetter{
		ID: "x1", Destination: "lts", Tenant: "team", Group: "prod", Source: "a", Index: 7, At: testNow.Add(-time.Minute), Samples: 2, Bytes: 2048,
		Status: 400, Answer: "out of bounds\n",
	}
	replaying := letter
	replaying.ID, replaying.Tenant, replaying.Replaying = "x2", "", true
	a.answers["GET /v1/dead-letters"] = []server.DeadLetter{letter, replaying}
	letter.Series = []server.LetterSeries{
		{Labels: map[string]string{"__name__": "up", "job": "x\n", "instance": "y"}, Samples: 1, OldestMS: 1, NewestMS: 2},
		{Labels: map[string]string{"__name__": "alone"}, Histograms: 1},
	}
	a.answers["GET /v1/dead-letters/x1"] = letter
	for name, line := range map[string]string{"history": "source history prod --tenant team", "letters": "dead-letter list", "letter": "dead-letter show x1"} {
		status, out, errOut := a.do(strings.Fields(line)...)
		if status != exitDone || errOut != "" {
			t.Errorf("%s: status %d, %s", line, status, errOut)
		}
		golden(t, name+".golden", out)
	}
	found := false
	for _, asked := range a.asked {
		found = found || asked == "GET /v1/source/history?group=prod&tenant=team"
	}
	if !found {
		t.Errorf("asked %q", a.asked)
	}
}

// What goes wrong on the way to a node is said in words that help.
func TestExplain(t *testing.T) {
	a := &admin{socket: "/d/admin.sock"}
	for _, tt := range []struct {
		err  error
		want string
	}{
		{syscall.ENOENT, "no node seems to run here: there is no socket /d/admin.sock"},
		{syscall.ECONNREFUSED, "nobody listens on the socket /d/admin.sock"},
		{syscall.EACCES, "not allowed to use the socket /d/admin.sock"},
		{context.DeadlineExceeded, "the node at /d/admin.sock does not answer"},
		{io.ErrUnexpectedEOF, "the node at /d/admin.sock: dial: unexpected EOF"},
	} {
		if got := a.explain(fmt.Errorf("dial: %w", tt.err)).Error(); !strings.Contains(got, tt.want) {
			t.Errorf("%v: got %q, want %q", tt.err, got, tt.want)
		}
	}
}
