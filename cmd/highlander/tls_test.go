package main

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// makeCluster makes a CA and two nodes as a person would.
func makeCluster(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, line := range []string{
		"tls ca", "tls node n1 --host n1.example --host 10.0.0.1", "tls node n2",
	} {
		p := newTestProgram()
		p.now = time.Now
		if status := p.run(append(strings.Fields(line), "--dir", dir)); status != exitDone || !strings.HasPrefix(p.out.String(), "wrote "+dir) {
			t.Fatalf("%s: status %d, %s%s", line, status, p.out.String(), p.errOut.String())
		}
	}
	return dir
}

func tlsConfig(t *testing.T, dir, name string) *tls.Config {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		t.Fatal("no CA")
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13}
}

func TestMutualTLS(t *testing.T) {
	dir := makeCluster(t)
	for _, tt := range []struct {
		client, server, name string
		want                 bool
	}{
		{"n2", "n1", "n1", true},
		{"n2", "n1", "n1.example", true},
		{"n2", "n1", "10.0.0.1", true},
		{"n2", "n1", "127.0.0.1", true},
		{"n1", "n2", "n2", true},
		{"n1", "n2", "n1", false},
		{"n1", "n2", "10.0.0.1", false},
	} {
		c := tlsConfig(t, dir, tt.client)
		c.ServerName = tt.name
		if err := handshake(c, tlsConfig(t, dir, tt.server)); (err == nil) != tt.want {
			t.Errorf("%s dials %s as %s: %v", tt.client, tt.server, tt.name, err)
		}
	}
	// Another CA's node is a stranger to both.
	stranger := tlsConfig(t, makeCluster(t), "n2")
	stranger.RootCAs, stranger.ServerName = tlsConfig(t, dir, "n1").RootCAs, "n1"
	if err := handshake(stranger, tlsConfig(t, dir, "n1")); err == nil {
		t.Error("a stranger got in")
	}
}

func handshake(client, server *tls.Config) error {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	served := make(chan struct{})
	go func() {
		defer close(served)
		s := tls.Server(b, server)
		if err := s.Handshake(); err == nil {
			_, _ = s.Write([]byte("x")) // the client says what it got
		}
		_ = b.Close()
	}()
	c := tls.Client(a, client)
	err := c.Handshake()
	if err == nil {
		_, err = io.ReadFull(c, make([]byte, 1)) // TLS 1.3 refuses a client's certificate only after its handshake
	}
	_ = a.Close()
	<-served
	return err
}

func TestTLSFiles(t *testing.T) {
	dir := makeCluster(t)
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 6 {
		t.Errorf("%d files, want 6", len(files))
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", f.Name(), info.Mode())
		}
	}
	before, err := os.ReadFile(filepath.Join(dir, "n1.key"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		line, want string
		status     int
	}{
		{"tls ca", "ca.key exists; --force replaces it", exitFailed},
		{"tls node n1", "n1.key exists; --force replaces it", exitFailed},
		{"tls node n1 --force", "", exitDone},
		{"tls node ca", "NAME: expected the name of a node", exitUsage},
	} {
		p := newTestProgram()
		p.now = time.Now
		if status := p.run(append(strings.Fields(tt.line), "--dir", dir)); status != tt.status || !strings.Contains(p.errOut.String(), tt.want) {
			t.Errorf("%s: status %d, %s", tt.line, status, p.errOut.String())
		}
	}
	after, err := os.ReadFile(filepath.Join(dir, "n1.key"))
	if err != nil {
		t.Fatal(err)
	}
	if string(before) == string(after) {
		t.Error("--force replaced nothing")
	}
	p := newTestProgram()
	if status := p.run([]string{"tls", "node", "n1", "--dir", t.TempDir()}); status != exitFailed || !strings.Contains(p.errOut.String(), `"highlander tls ca" makes it`) {
		t.Errorf("without a CA: status %d, %s", status, p.errOut.String())
	}
}

// A node's certificate signs nothing, and none outlives its CA.
func TestCertificatesAreNarrow(t *testing.T) {
	dir := makeCluster(t)
	read := func(name string) *x509.Certificate {
		pair, err := tls.LoadX509KeyPair(filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key"))
		if err != nil {
			t.Fatal(err)
		}
		return pair.Leaf
	}
	ca, n1 := read("ca"), read("n1")
	if !ca.IsCA || !ca.MaxPathLenZero || n1.IsCA || n1.KeyUsage != x509.KeyUsageDigitalSignature || len(n1.ExtKeyUsage) != 2 {
		t.Errorf("CA %t, node %t, usage %v, %v", ca.IsCA, n1.IsCA, n1.KeyUsage, n1.ExtKeyUsage)
	}
	p := newTestProgram()
	p.now = time.Now
	if status := p.run([]string{"tls", "node", "n9", "--days", "36500", "--dir", dir}); status != exitDone {
		t.Fatal(p.errOut.String())
	}
	if n9 := read("n9"); n9.NotAfter.After(ca.NotAfter) {
		t.Errorf("a node is valid until %v, its CA until %v", n9.NotAfter, ca.NotAfter)
	}
	if _, err := readAuthority(pairPaths(dir, "n1")); err == nil {
		t.Error("a node's certificate was taken for a CA")
	}
}
