package cluster

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// authority signs certificates for tests.
type authority struct {
	t           *testing.T
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	caFile      string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{t: t, certificate: certificate, key: key, caFile: filepath.Join(t.TempDir(), "ca.pem")}
	a.write(a.caFile, "CERTIFICATE", der)
	return a
}

func (a *authority) write(path, kind string, der []byte) {
	a.t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

func (a *authority) node(notAfter time.Time) TLSFiles {
	a.t.Helper()
	dir := a.t.TempDir()
	files := TLSFiles{CAFile: a.caFile, CertFile: filepath.Join(dir, "node.pem"), KeyFile: filepath.Join(dir, "node.key")}
	a.sign(files, notAfter)
	return files
}

func (a *authority) sign(files TLSFiles, notAfter time.Time) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "node"},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: notAfter,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(files.CertFile, "CERTIFICATE", der)
	a.write(files.KeyFile, "EC PRIVATE KEY", keyDER)
}

func TestClusterOverTLS(t *testing.T) {
	room := newRoom(t)
	ca := newAuthority(t)
	boxes := room.boxes(3)
	for _, b := range boxes {
		files := ca.node(time.Now().Add(time.Hour))
		b.edit = func(o *Options) { o.TLS = files }
	}
	startAll(boxes)
	leader := room.whole(boxes...)
	room.fill("a", 20, 100, boxes...)

	strangers := map[string]TLSFiles{
		"no TLS":  {},
		"expired": ca.node(time.Now().Add(-time.Hour)),
	}
	other := newAuthority(t).node(time.Now().Add(time.Hour))
	other.CAFile = ca.caFile
	strangers["another authority's certificate"] = other
	for name, files := range strangers {
		stranger := &port{files: files, identity: leader.node.dir.Identity, dialNet: leader.node.port.dialNet}
		report, err := stranger.hello(within(t), leader.address)
		if name == "no TLS" && (err == nil || !strings.Contains(err.Error(), "only with cluster.tls")) {
			t.Errorf("%s: not told what is missing: %v", name, err)
		}
		if err == nil {
			t.Errorf("%s: got a report of %s", name, report.Name)
		}
	}
}

// Certificates are read at each handshake: an expired one that was replaced works without a restart.
func TestCertificatesAreReadAgain(t *testing.T) {
	room := newRoom(t)
	ca := newAuthority(t)
	one, two := room.box("n1", "n1.test:6746", "n2.test:6746"), room.box("n2", "n1.test:6746", "n2.test:6746")
	good, expired := ca.node(time.Now().Add(time.Hour)), ca.node(time.Now().Add(-time.Hour))
	one.edit = func(o *Options) { o.TLS = good }
	two.edit = func(o *Options) { o.TLS = expired }
	startAll([]*box{one, two})
	eventually(t, "the expired certificate is named", func() error {
		if why := one.node.Ready(); !strings.Contains(why.Error(), "certificate") {
			return why
		}
		return nil
	})
	ca.sign(expired, time.Now().Add(time.Hour))
	room.whole(one, two)
}

func TestBindAndAdvertiseAddresses(t *testing.T) {
	cases := []struct {
		bind, advertise string
		insecure        bool
		want            string // error, or the address that results
		fails           bool
	}{
		{"127.0.0.1:0", "", false, "127.0.0.1:", false},
		{"127.0.0.1:0", "n1.example:7000", false, "n1.example:7000", false},
		{"127.0.0.1:0", "n1.example", false, "n1.example:", false},
		{"localhost:0", "", false, "127.0.0.1:", false},
		{"0.0.0.0:0", "n1.example:7000", false, "cluster.insecure", true},
		{":0", "n1.example:7000", false, "cluster.insecure", true},
		{":0", "", true, "unspecified", true},
		{"0.0.0.0:0", "0.0.0.0:7000", true, "unspecified", true},
		{":0", "[::]:7000", true, "unspecified", true},
		{":0", "n1.example:7000", true, "n1.example:7000", false},
		{"nonsense", "", false, "host:port", true},
	}
	for _, test := range cases {
		dir, err := OpenDir(t.TempDir(), "n1", false)
		if err != nil {
			t.Fatal(err)
		}
		node, err := Open(t.Context(), Options{
			Dir: dir, BindAddress: test.bind, AdvertiseAddress: test.advertise, Insecure: test.insecure,
			Log: newMemoryLog(), FSM: &ledger{},
		})
		switch {
		case (err != nil) != test.fails:
			t.Errorf("%s, %s: error %v", test.bind, test.advertise, err)
		case err != nil && !strings.Contains(err.Error(), test.want):
			t.Errorf("%s, %s: error %q, want %q", test.bind, test.advertise, err, test.want)
		case err == nil && !strings.HasPrefix(node.Address(), test.want):
			t.Errorf("%s, %s: address %s, want %s", test.bind, test.advertise, node.Address(), test.want)
		}
		if err == nil {
			err = node.Shutdown(t.Context())
		} else {
			err = nil
		}
		if err := errors.Join(err, dir.Close()); err != nil {
			t.Error(err)
		}
	}
}

func TestExamine(t *testing.T) {
	member := Identity{Name: "n1", UUID: "u1", Cluster: "c1"}
	empty := Identity{Name: "n2", UUID: "u2"}
	cases := []struct {
		own  Identity
		g    greeting
		want string
	}{
		{member, greeting{Stream: streamRaft, Target: "u1", Cluster: "c1"}, ""},
		{member, greeting{Stream: streamRaft, Target: "u9", Cluster: "c1"}, "this is node n1 (uuid u1), not uuid u9"},
		{member, greeting{Stream: streamRaft, Target: "", Cluster: "c1"}, "not uuid"},
		{member, greeting{Stream: streamRaft, Target: "u1", Cluster: "c2"}, `belongs to cluster "c1", not to "c2"`},
		{member, greeting{Stream: streamHTTP, Target: "u1", Cluster: "c2"}, `belongs to cluster "c1", not to "c2"`},
		{member, greeting{Stream: streamHTTP, Target: "u1", Cluster: "c1"}, ""},
		{member, greeting{Stream: streamHello}, ""},
		{member, greeting{Stream: streamHello, Target: "u1"}, ""},
		{member, greeting{Stream: streamHello, Target: "u9"}, "not uuid u9"},
		{member, greeting{Stream: "gossip", Target: "u1", Cluster: "c1"}, `unknown stream "gossip"`},
		{empty, greeting{Stream: streamRaft, Target: "u2"}, "belongs to no cluster yet"},
		{empty, greeting{Stream: streamRaft, Target: "u2", Cluster: "c1"}, "belongs to no cluster yet"},
		{empty, greeting{Stream: streamHTTP, Target: "u2"}, ""},
	}
	for _, test := range cases {
		got := examine(test.g, test.own)
		if (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
			t.Errorf("%+v at %s: %q, want %q", test.g, test.own.Name, got, test.want)
		}
	}
}

// Whatever strangers send, the port answers or hangs up, and goes on.
func TestStrangersAtThePort(t *testing.T) {
	room := newRoom(t)
	one := room.box("n1").start()
	room.whole(one)
	bound := one.node.port.listener.Addr().String()
	for _, text := range []string{"", "GET / HTTP/1.1\r\n\r\n", "HLDR\x01\xff\xff\xff\xff", "HLDR\x01\x00\x00\x00\x02{]", "HLDR\x07\x00\x00\x00\x02{}"} {
		conn, err := net.Dial("tcp", bound)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(err)
		}
		_ = conn.(*net.TCPConn).CloseWrite()
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		answer, _ := io.ReadAll(conn)
		if strings.HasPrefix(text, "HLDR\x07") != strings.Contains(string(answer), "unknown handshake version 7, want 1") {
			t.Errorf("%q was answered %q", text, answer)
		}
		conn.Close()
	}
	room.fill("a", 1, 1, one)
}

func TestAddresses(t *testing.T) {
	whole := target{UUID: "u", Cluster: "c", HostPort: "[::1]:6746"}
	got, err := parseAddress(whole.address())
	if err != nil || got != whole {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"", "h:1", "u@h:1", ".c@h:1"} {
		if got, err := parseAddress(raft.ServerAddress(bad)); err == nil {
			t.Errorf("%q parsed to %+v", bad, got)
		}
	}
	if name, uuid := splitServerID(serverID("n1", "u-1")); name != "n1" || uuid != "u-1" {
		t.Errorf("%s, %s", name, uuid)
	}
}

// Members reach each other's handlers, know who asks, and follow the leader.
func TestRequestsBetweenMembers(t *testing.T) {
	room := newRoom(t)
	boxes := room.boxes(3)
	for _, b := range boxes {
		b.edit = func(o *Options) {
			o.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				peer, _ := PeerOf(r.Context())
				fmt.Fprintf(w, "%s to %s at %s", peer.Name, b.name, r.URL.Path)
			})
		}
	}
	startAll(boxes)
	get := func(follower *box, member string) (string, error) {
		client := http.Client{Transport: follower.node.RoundTripper(member)}
		response, err := client.Get("http://whoever/write")
		if err != nil {
			return "", err
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		return string(text), err
	}
	leader, _ := room.undisturbed(boxes, func(leader *box, _ any) error {
		follower := others(boxes, leader)[0]
		for _, member := range []string{LeaderHost, leader.node.UUID()} {
			if got, err := get(follower, member); err != nil || got != follower.name+" to "+leader.name+" at /write" {
				return fmt.Errorf("%s: %q, %w", member, got, err)
			}
		}
		return nil
	})
	follower := others(boxes, leader)[0]
	if got, err := get(follower, "nobody"); err == nil {
		t.Errorf("nobody: %q", got)
	}
	if got, err := get(follower, follower.node.UUID()); err == nil {
		t.Errorf("itself: %q", got)
	}
}

// A node that is not where the configuration says is found at an address of the join list.
func TestDialTriesTheJoinList(t *testing.T) {
	room := newRoom(t)
	boxes := startAll(room.boxes(2))
	room.whole(boxes...)
	wrong := target{UUID: boxes[1].node.UUID(), Cluster: boxes[1].node.ClusterUUID(), HostPort: "elsewhere.test:1"}
	here := boxes[0].node.port
	fresh := &port{identity: here.identity, dialNet: here.dialNet, join: here.join, advertise: here.advertise, book: make(map[string]addresses)}
	conn, err := fresh.dial(context.Background(), wrong, streamHTTP)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

func TestTLSFilesMustBeWhole(t *testing.T) {
	ca := newAuthority(t)
	good := ca.node(time.Now().Add(time.Hour))
	for _, files := range []TLSFiles{
		{CAFile: good.CAFile},
		{CAFile: good.CAFile, CertFile: good.CertFile, KeyFile: good.CertFile},
		{CAFile: good.KeyFile, CertFile: good.CertFile, KeyFile: good.KeyFile},
		{CAFile: "/nowhere", CertFile: good.CertFile, KeyFile: good.KeyFile},
	} {
		if err := files.check(); err == nil {
			t.Errorf("%+v: accepted", files)
		}
	}
	if err := good.check(); err != nil {
		t.Error(err)
	}
	if config, err := good.load(); err != nil || config.MinVersion < tls.VersionTLS13 {
		t.Errorf("%v", err)
	}
}

// Whoever may knock cannot fill the memory with names.
func TestAddressBookIsBounded(t *testing.T) {
	p := &port{book: make(map[string]addresses)}
	for i := range bookMax + 10 {
		p.learn(Peer{UUID: fmt.Sprint(i), Cluster: "c", Address: "10.0.0.1:1"}, "c")
	}
	p.learn(Peer{UUID: "0", Cluster: "c", Address: "10.0.0.2:1"}, "c")
	if len(p.book) != bookMax || p.book["0"].announced != "10.0.0.2:1" {
		t.Errorf("%d of %d addresses, that of a known node is %q", len(p.book), bookMax, p.book["0"].announced)
	}
}

// Of those who have not said who they are, the first make room for the last.
func TestPendingConnectionsAreBounded(t *testing.T) {
	set := newConnSet()
	var ends []net.Conn
	for range 5 {
		here, there := net.Pipe()
		ends = append(ends, there)
		if !set.add(here) {
			t.Fatal("an open set takes nothing")
		}
	}
	set.evict(3)
	if len(set.conns) != 3 {
		t.Errorf("%d connections are left, want 3", len(set.conns))
	}
	for i, end := range ends {
		_ = end.SetReadDeadline(time.Now().Add(10 * time.Millisecond)) // what is closed says so at once
		if _, err := end.Read(make([]byte, 1)); errors.Is(err, io.EOF) != (i < 2) {
			t.Errorf("connection %d: %v", i, err)
		}
	}
	set.close()
}
