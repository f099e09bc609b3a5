package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"time"
)

// pemPair is a certificate and its private key, as files hold them.
type pemPair struct{ certificate, key []byte }

// authority signs nodes.
type authority struct {
	certificate *x509.Certificate
	key         any
}

// clockSkew lets a certificate be used by nodes whose clocks are a little behind.
const clockSkew = time.Hour

// newAuthority makes a self-signed CA that can sign end certificates only.
func newAuthority(now time.Time, validity time.Duration) (pemPair, error) {
	template, key, err := newTemplate("highlander cluster CA", now, validity)
	if err != nil {
		return pemPair{}, err
	}
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.MaxPathLenZero = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	return sign(template, template, key, key)
}

// newNode makes a certificate for both ends of a connection: nodes dial and are dialled.
func (a *authority) newNode(name string, hosts []string, now time.Time, validity time.Duration) (pemPair, error) {
	template, key, err := newTemplate(name, now, validity)
	if err != nil {
		return pemPair{}, err
	}
	if template.NotAfter.After(a.certificate.NotAfter) {
		template.NotAfter = a.certificate.NotAfter // nothing outlives what signs it
	}
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	for _, host := range append([]string{name, "localhost", "127.0.0.1", "::1"}, hosts...) {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	return sign(template, a.certificate, key, a.key)
}

func newTemplate(name string, now time.Time, validity time.Duration) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)) // RFC 5280: positive, at most 20 bytes
	if err != nil {
		return nil, nil, fmt.Errorf("make a serial number: %w", err)
	}
	return &x509.Certificate{
		SerialNumber: serial.Add(serial, big.NewInt(1)),
		Subject:      pkix.Name{CommonName: name, Organization: []string{"highlander"}},
		NotBefore:    now.Add(-clockSkew),
		NotAfter:     now.Add(validity),
	}, key, nil
}

func sign(template, parent *x509.Certificate, key *ecdsa.PrivateKey, parentKey any) (pemPair, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		return pemPair{}, fmt.Errorf("sign a certificate for %q: %w", template.Subject.CommonName, err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return pemPair{}, fmt.Errorf("write a key: %w", err)
	}
	return pemPair{
		certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		key:         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}, nil
}

func readAuthority(p paths) (*authority, error) {
	pair, err := tls.LoadX509KeyPair(p.certificate, p.key)
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	if pair.Leaf == nil || !pair.Leaf.IsCA {
		return nil, errors.New("certificate authority: " + p.certificate + " may not sign certificates")
	}
	return &authority{certificate: pair.Leaf, key: pair.PrivateKey}, nil
}
