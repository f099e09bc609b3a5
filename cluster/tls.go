package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// TLSFiles are PEM files: the cluster's certificate authority, and this node's certificate and key. They are
// read again at every handshake, so replacing them needs no restart.
type TLSFiles struct{ CAFile, CertFile, KeyFile string }

func (f TLSFiles) enabled() bool { return f.CAFile != "" || f.CertFile != "" || f.KeyFile != "" }

func (f TLSFiles) check() error {
	if !f.enabled() {
		return nil
	}
	if f.CAFile == "" || f.CertFile == "" || f.KeyFile == "" {
		return errors.New("cluster.tls needs all of ca_file, cert_file and key_file")
	}
	_, err := f.load()
	return err
}

// load makes a configuration for one handshake. Both sides prove that the cluster's authority signed them.
// Host names are not compared: who a peer is, is decided by the UUIDs of the handshake that follows, and
// nodes may be reached by any name or address. The authority must therefore sign nothing but cluster nodes.
func (f TLSFiles) load() (*tls.Config, error) {
	pem, err := os.ReadFile(f.CAFile)
	if err != nil {
		return nil, fmt.Errorf("cluster TLS: %w", err)
	}
	authority := x509.NewCertPool()
	if !authority.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("cluster TLS: %s holds no certificate", f.CAFile)
	}
	own, err := tls.LoadX509KeyPair(f.CertFile, f.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("cluster TLS: %w", err)
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		Certificates:       []tls.Certificate{own},
		ClientAuth:         tls.RequireAnyClientCert,
		InsecureSkipVerify: true, // replaced by VerifyConnection, which checks the chain on both sides
		VerifyConnection:   func(state tls.ConnectionState) error { return verifyChain(state, authority) },
	}, nil
}

func verifyChain(state tls.ConnectionState, authority *x509.CertPool) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("the peer sent no certificate")
	}
	between := x509.NewCertPool()
	for _, certificate := range state.PeerCertificates[1:] {
		between.AddCert(certificate)
	}
	_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{
		Roots:         authority,
		Intermediates: between,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	return err
}
