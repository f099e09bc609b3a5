package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/highlander-io/highlander/config"
	"github.com/highlander-io/highlander/fsm"
	"github.com/highlander-io/highlander/fsm/wire"
	"github.com/highlander-io/highlander/wal"
)

// sampleEntries has an entry of every kind that `wal dump` tells apart.
func sampleEntries(t testing.TB) []*raft.Log {
	t.Helper()
	encode := func(command any) []byte {
		entry, err := fsm.Encode(command)
		if err != nil {
			t.Fatal(err)
		}
		return entry
	}
	at := testNow.UnixMilli()
	group := fsm.GroupID{Tenant: "team", Name: "prod"}
	batch := fsm.Batch{
		Group: group, Source: "a\n", Epoch: 4, RequestID: fsm.RequestID{1, 2, 3}, Part: 1, Parts: 2, Protocol: wire.V2,
		Counts: wire.Counts{Series: 2, Floats: 3, Histograms: 1, Exemplars: 5, MinTime: at - 15000, MaxTime: at}, Time: at,
		Flags: fsm.FlagKept, Body: []byte("body"),
	}
	plain := batch
	plain.Group, plain.Source, plain.Flags, plain.Protocol = fsm.GroupID{Name: "prod"}, "a", fsm.FlagUnelected, wire.V1
	entries := []*raft.Log{
		{Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(raft.Configuration{Servers: []raft.Server{{Suffrage: raft.Voter, ID: "n1", Address: "a:1"}}})},
		{Type: raft.LogNoop},
		{Type: raft.LogBarrier},
		{Type: raft.LogCommand, Data: encode(&fsm.DestinationOp{Op: "register", Name: "lts", URL: "http://lts", Time: at})},
		{Type: raft.LogCommand, Data: encode(&fsm.Elect{Group: group, To: "a", Reason: "first", Time: at})},
		{Type: raft.LogCommand, Data: batch.Append(nil)},
		{Type: raft.LogCommand, Data: plain.Append(nil)},
		{Type: raft.LogCommand, Data: encode(&fsm.SourceOp{Op: "unpin", Group: group, Time: at})},
		{Type: raft.LogCommand, Data: encode(&fsm.Cursor{Destination: "lts", From: 4, To: 6, Time: at})},
		{Type: raft.LogCommand, Data: encode(&fsm.DeadLetter{ID: "x1", Destination: "lts", Group: group, Source: "a", Index: 6, Protocol: wire.V1, Samples: 1, Status: 400, Answer: "no", Time: at, Body: []byte("body")})},
		{Type: raft.LogCommand, Data: encode(&fsm.LetterOp{Op: "purge", Time: at})},
		{Type: raft.LogCommand, Data: encode(&fsm.Books{Origin: "n1/1", Seq: 1, Time: at})},
		{Type: raft.LogCommand, Data: encode(&fsm.ClusterOp{FeatureLevel: 1, Time: at})},
		{Type: raft.LogCommand, Data: []byte{9, 1, 0}},
	}
	for i, e := range entries {
		e.Index, e.Term = uint64(i+1), 2
	}
	return entries
}

// sampleLog writes a node's log and returns the data directory.
func sampleLog(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	log, err := wal.Open(wal.Options{Dir: filepath.Join(dir, "wal"), SegmentBytes: 16 << 10})
	if err != nil {
		t.Fatal(err)
	}
	entries := sampleEntries(t)
	for _, commit := range [][]*raft.Log{entries[:5], entries[5:]} {
		if err := log.StoreLogs(commit); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func runWAL(dir string, line ...string) (status int, out, errOut string) {
	p := newTestProgram()
	status = p.run(append(append([]string{"wal"}, line...), "--storage.path", dir))
	return status, strings.ReplaceAll(p.out.String(), dir, "DIR"), p.errOut.String()
}

func TestWALCommands(t *testing.T) {
	dir := sampleLog(t)
	for name, line := range map[string][]string{
		"wal_dump": {"dump"}, "wal_dump_json": {"dump", "--output", "json"}, "wal_dump_part": {"dump", "--from", "2", "--to", "3"},
	} {
		status, out, errOut := runWAL(dir, line...)
		if status != exitDone || errOut != "" {
			t.Errorf("%s: status %d, %s", line, status, errOut)
		}
		golden(t, name+".golden", out)
	}
	if status, out, _ := runWAL(dir, "info"); status != exitDone || !strings.HasPrefix(out, "DIR/wal: entries 1 to 14 in 1 segments, ") {
		t.Errorf("info: status %d, %s", status, out)
	}
	if status, out, _ := runWAL(dir, "verify"); status != exitDone || !strings.HasPrefix(out, "ok: read 14 entries, 1 to 14, ") {
		t.Errorf("verify: status %d, %s", status, out)
	}
	var summary walSummary
	_, out, _ := runWAL(dir, "info", "--output=json")
	if err := json.Unmarshal([]byte(out), &summary); err != nil || summary.LastIndex != 14 || len(summary.Segments) != 1 || summary.Segments[0].LastIndex != 14 {
		t.Errorf("info as JSON: %v, %+v", err, summary)
	}
	var verdict walVerdict
	_, out, _ = runWAL(dir, "verify", "--output=json")
	if err := json.Unmarshal([]byte(out), &verdict); err != nil || !verdict.OK || verdict.Entries != 14 {
		t.Errorf("verify as JSON: %v, %+v", err, verdict)
	}
}

func TestWALWithoutALog(t *testing.T) {
	dir := t.TempDir()
	for _, command := range []string{"info", "verify", "dump"} {
		status, out, errOut := runWAL(dir, command)
		if status != exitFailed || out != "" || !strings.Contains(errOut, "there is no log in "+dir+"/wal") {
			t.Errorf("%s: status %d, %q, %q", command, status, out, errOut)
		}
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
		t.Errorf("looking made %v, %v", files, err)
	}
}

// Damage inside the log is status 1, with the place.
func TestWALVerifyFindsDamage(t *testing.T) {
	dir := sampleLog(t)
	paths, err := filepath.Glob(filepath.Join(dir, "wal", "*"))
	if err != nil {
		t.Fatal(err)
	}
	damaged := false
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if i := bytes.Index(data, []byte("http://lts")); i >= 0 {
			data[i] ^= 1
			damaged = os.WriteFile(path, data, 0o600) == nil
		}
	}
	if !damaged {
		t.Fatal("found nothing to damage")
	}
	// Entries were acknowledged behind it, so this is no torn tail.
	status, out, errOut := runWAL(dir, "verify")
	if status != exitFailed || !strings.Contains(out, "corrupt segment") || !strings.Contains(errOut, "the log is damaged") {
		t.Errorf("status %d, %q, %q", status, out, errOut)
	}
	var verdict walVerdict
	status, out, _ = runWAL(dir, "verify", "--output", "json")
	if err := json.Unmarshal([]byte(out), &verdict); err != nil || status != exitFailed || verdict.OK || len(verdict.Problems) != 1 {
		t.Errorf("as JSON: status %d, %v, %s", status, err, out)
	}
}

func TestEntriesOfUnknownVersions(t *testing.T) {
	e := describe(wal.Entry{Index: 1, Term: 1, Type: raft.LogCommand, Data: []byte{9, 1, 0}})
	if e.Error == "" || e.Kind != "unknown" {
		t.Errorf("got %+v", e)
	}
	e = describe(wal.Entry{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: []byte{0xc1}})
	if e.Error == "" || e.Kind != "configuration" {
		t.Errorf("got %+v", e)
	}
	if e = describe(wal.Entry{Type: raft.LogType(77)}); e.Kind != "raft type 77" {
		t.Errorf("got %+v", e)
	}
	if kindName(77) != "kind 77" || protocolName(77) != "protocol 77" {
		t.Error("unknown numbers are not shown as such")
	}
	var out bytes.Buffer
	if err := showEntry(&out, walEntry{Index: 1, Detail: map[string]time.Time{}}); err != nil || !strings.HasPrefix(out.String(), "1 ") {
		t.Errorf("%v, %q", err, out.String())
	}
}

// The configuration refuses what the log would silently cut to its own bounds.
func TestHandoverBoundsAgree(t *testing.T) {
	if time.Duration(config.HandoverMarginMax) != fsm.MarginMax || config.HandoverWindowBytesMax != fsm.WindowBytesMax {
		t.Errorf("configuration: %s, %s; log: %s, %d", config.HandoverMarginMax, config.HandoverWindowBytesMax, fsm.MarginMax, fsm.WindowBytesMax)
	}
}

func TestEveryKindHasAName(t *testing.T) {
	for kind := fsm.KindBatch; kind <= fsm.KindFenceEnd; kind++ {
		if name := kindName(kind); strings.HasPrefix(name, "kind ") {
			t.Errorf("kind %d is shown as %q", kind, name)
		}
	}
}
