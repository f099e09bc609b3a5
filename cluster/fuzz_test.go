package cluster

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/hashicorp/raft"
)

// FuzzReadFrame reads what a stranger may send to the cluster port, as a greeting and as an answer. What is taken can be
// said again, and only what is meant for this node is let in.
func FuzzReadFrame(f *testing.F) {
	own := Identity{Version: identityVersion, Name: "n1", UUID: "u1", Cluster: "c1"}
	for _, message := range []any{
		greeting{Stream: streamRaft, Target: own.UUID, Cluster: own.Cluster, From: Peer{Name: "n2", UUID: "u2", Cluster: "c1", Address: "h:1"}},
		greeting{Stream: streamHello},
		greeting{Stream: streamHTTP, Target: own.UUID, Cluster: "another"},
		welcome{Accepted: true, UUID: "u1", Report: &Report{Peer: Peer{Name: "n1"}, Set: []string{"u1"}, Members: []Member{{Name: "n1", UUID: "u1"}}}},
		welcome{Reason: "this is another node", UUID: "u3"},
	} {
		var frame bytes.Buffer
		if err := writeFrame(&frame, message); err != nil {
			f.Fatal(err)
		}
		f.Add(frame.Bytes())
	}
	f.Add([]byte("HLDR\x01\xff\xff\xff\xff"))
	f.Add([]byte("HLDR\x02\x00\x00\x00\x02{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, message := range []any{&greeting{}, &welcome{}} {
			if err := readFrame(bytes.NewReader(data), message); err != nil {
				continue
			}
			if len(data) < handshakeHeader+2 {
				t.Fatalf("%q is a message", data)
			}
			var frame bytes.Buffer
			again := reflect.New(reflect.TypeOf(message).Elem()).Interface()
			if err := writeFrame(&frame, message); err != nil {
				t.Fatal(err)
			}
			if err := readFrame(&frame, again); err != nil || !sameMessage(message, again) {
				t.Fatalf("read %+v, and again %+v, %v", message, again, err)
			}
			if g, ok := message.(*greeting); ok {
				checkExamined(t, *g, own)
			}
		}
	})
}

// sameMessage compares what would be sent: absent and empty are the same.
func sameMessage(a, b any) bool {
	x, err := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err == nil && err2 == nil && bytes.Equal(x, y)
}

// I1: only a hello may be for whoever is there.
func checkExamined(t *testing.T, g greeting, own Identity) {
	t.Helper()
	if examine(g, own) != "" {
		return
	}
	hello := g.Stream == streamHello && (g.Target == "" || g.Target == own.UUID)
	meant := (g.Stream == streamRaft || g.Stream == streamHTTP) && g.Target == own.UUID && g.Cluster == own.Cluster
	if !hello && !meant {
		t.Fatalf("I1: let in: %+v", g)
	}
}

// FuzzDecodeIdentity reads node.json. What is taken is one JSON value, says who the node is, and is written and read again
// as the same.
func FuzzDecodeIdentity(f *testing.F) {
	for _, id := range []Identity{
		{Version: identityVersion, Name: "n1", UUID: "u1"},
		{Version: identityVersion, Name: "n1", UUID: "u1", Cluster: "c1", Held: true, Voter: true, Alone: true, Left: true, Join: []string{"h:1", "h:2"}},
	} {
		text, err := encodeIdentity(id)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
		unsigned, err := json.Marshal(id)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(unsigned)
	}
	f.Add([]byte(`{"version":2}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		id, err := decodeIdentity(text)
		if err != nil {
			return
		}
		if id.Version != identityVersion || id.Name == "" || id.UUID == "" || !json.Valid(text) {
			t.Fatalf("I6: %q passes for %+v", text, id)
		}
		again, err := encodeIdentity(id)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decodeIdentity(again); err != nil || !sameMessage(got, id) {
			t.Fatalf("%+v is read again as %+v, %v", id, got, err)
		}
	})
}

// FuzzBallot opens a file of term and vote whose sums are right. What is taken is in both copies afterwards.
func FuzzBallot(f *testing.F) {
	for _, values := range []map[string][]byte{nil, {string(currentTermKey): {0, 0, 0, 0, 0, 0, 0, 7}}, {string(lastVoteCandKey): []byte("u.c@h:1")}} {
		block, err := encodeBallot(3, values)
		if err != nil {
			f.Fatal(err)
		}
		block = bytes.TrimRight(block, "\x00")
		f.Add(block, block)
		f.Add(block, []byte{})
	}
	f.Fuzz(func(t *testing.T, one, two []byte) {
		path := filepath.Join(t.TempDir(), ballotFile)
		if err := os.WriteFile(path, append(ballotImage(one), ballotImage(two)...), 0o600); err != nil {
			t.Fatal(err)
		}
		b, _, err := openBallot(path)
		if err != nil {
			return
		}
		defer b.Close()
		for _, key := range [][]byte{currentTermKey, lastVoteTermKey, lastVoteCandKey} {
			_, _ = b.Get(key)
			_, _ = b.GetUint64(key)
		}
		again, mended, err := openBallot(path)
		if err != nil || mended {
			t.Fatalf("not the same any more: mended %v, %v", mended, err)
		}
		defer again.Close()
		if again.sequence != b.sequence || !sameMessage(again.values, b.values) {
			t.Fatalf("%d %q is read again as %d %q", b.sequence, b.values, again.sequence, again.values)
		}
	})
}

// ballotImage is a block that begins with data and has the right sum.
func ballotImage(data []byte) []byte {
	block := make([]byte, ballotBlock)
	copy(block, data)
	binary.BigEndian.PutUint32(block[ballotHeader-4:], ballotSum(block))
	return block
}

// FuzzSnapshotFile opens a snapshot whose sum is right. What is taken has the size and the name that it says, and nothing
// outside its directory is named by it.
func FuzzSnapshotFile(f *testing.F) {
	const name = "00000000000000000012-3-0"
	files, err := openSnapshots(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	for _, state := range []string{"", "state"} {
		w, err := files.create(raft.SnapshotMeta{Version: 1, Index: 12, Term: 3, Configuration: raft.Configuration{Servers: []raft.Server{{ID: "n1/u", Address: "u.c@h:1"}}}})
		if err != nil {
			f.Fatal(err)
		}
		if _, err := io.WriteString(w, state); err != nil {
			f.Fatal(err)
		}
		path := w.file.Name()
		if err := w.finish(); err != nil {
			f.Fatal(err)
		}
		data, err := os.ReadFile(path[:len(path)-len(snapshotTmp)] + snapshotSuffix)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data[:len(data)-4])
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		data = binary.BigEndian.AppendUint32(bytes.Clone(data), crc32.Checksum(data, castagnoli))
		if err := os.WriteFile(filepath.Join(dir, name+snapshotSuffix), data, 0o600); err != nil {
			t.Fatal(err)
		}
		files, err := openSnapshots(dir)
		if err != nil {
			return
		}
		for _, meta := range files.list() {
			if meta.ID != name {
				t.Fatalf("the snapshot in %s is called %q", name, meta.ID)
			}
			got, r, err := files.open(meta.ID)
			if err != nil {
				t.Fatal(err)
			}
			state, err := io.ReadAll(r)
			if err != nil || int64(len(state)) != got.Size || got.Size != meta.Size || len(state) > len(data) {
				t.Fatalf("%d bytes of %d, %v", len(state), got.Size, err)
			}
			r.Close()
		}
	})
}

// FuzzParseAddress reads what a Raft configuration calls an address, and makes one of what a node that is let in may say.
func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"u.c@h:1", "u.@[::1]:6746", ".c@h:1", "u@h:1", "u.c", "u.c@a@b"} {
		f.Add(s, "n1", "u")
	}
	f.Add("u.c@h:1", "n/1", "u.c@h")
	f.Fuzz(func(t *testing.T, s, name, uuid string) {
		if got, err := parseAddress(raft.ServerAddress(s)); err == nil && (got.UUID == "" || string(got.address()) != s) {
			t.Fatalf("%q is %+v, which is %q", s, got, got.address())
		}
		if checkName(name) != nil || checkUUID(uuid) != nil {
			return
		}
		if n, u := splitServerID(serverID(name, uuid)); n != name || u != uuid {
			t.Fatalf("%q, %q: %q, %q", name, uuid, n, u)
		}
		whole := target{UUID: uuid, Cluster: "c", HostPort: s}
		if got, err := parseAddress(whole.address()); err != nil || got != whole {
			t.Fatalf("%+v is %+v, %v", whole, got, err)
		}
	})
}
