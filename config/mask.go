package config

import (
	"net/http"
	"net/url"
	"regexp"

	promconfig "github.com/prometheus/common/config"
	"go.yaml.in/yaml/v3"
)

// Marshal writes the configuration as a file, with every secret masked.
func (c *Config) Marshal() ([]byte, error) {
	masked := *c
	masked.RemoteWrite = make([]RemoteWrite, len(c.RemoteWrite))
	for i, r := range c.RemoteWrite {
		masked.RemoteWrite[i] = r.masked()
	}
	return yaml.Marshal(&masked)
}

const secretMask = "<secret>"

// masked is a copy to show. Values of Prometheus' secret types mask themselves; here goes what is a secret
// without being of such a type.
func (r RemoteWrite) masked() RemoteWrite {
	r.URL = RedactURL(r.URL)
	r.Headers = maskHeaders(r.Headers)
	r.HTTP.HTTPHeaders = maskHTTPHeaders(r.HTTP.HTTPHeaders)
	if r.HTTP.OAuth2 != nil {
		o := *r.HTTP.OAuth2
		o.EndpointParams = maskValues(o.EndpointParams)
		o.TokenURL = RedactURL(o.TokenURL)
		o.Claims = nil
		r.HTTP.OAuth2 = &o
	}
	return r
}

// tenantHeader names a tenant. It decides where samples go and is no secret; any other header may be one.
const tenantHeader = "X-Scope-Orgid"

func maskHeaders(headers map[string]string) map[string]string {
	masked := maskValues(headers)
	for name, value := range headers {
		if http.CanonicalHeaderKey(name) == tenantHeader {
			masked[name] = value
		}
	}
	return masked
}

func maskValues(values map[string]string) map[string]string {
	if values == nil {
		return nil
	}
	masked := make(map[string]string, len(values))
	for name := range values {
		masked[name] = secretMask
	}
	return masked
}

func maskHTTPHeaders(h *promconfig.Headers) *promconfig.Headers {
	if h == nil {
		return nil
	}
	masked := &promconfig.Headers{Headers: make(map[string]promconfig.Header, len(h.Headers))}
	for name, header := range h.Headers {
		if http.CanonicalHeaderKey(name) != tenantHeader {
			header.Secrets = append(make([]promconfig.Secret, 0, len(header.Values)+len(header.Secrets)), header.Secrets...)
			for range header.Values {
				header.Secrets = append(header.Secrets, secretMask)
			}
			header.Values = nil
		}
		masked.Headers[name] = header
	}
	return masked
}

// sensitiveParameter matches names of URL parameters whose values are not shown.
var sensitiveParameter = regexp.MustCompile(`(?i)(pass|pwd|secret|token|key|auth|cred|sig)`)

// RedactURL is a URL to show, to log and to commit: without a password, and without the values of
// parameters that sound like one. Something that is no URL is masked whole.
func RedactURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return secretMask
	}
	if _, ok := u.User.Password(); ok {
		u.User = url.UserPassword(u.User.Username(), "xxxxx")
	}
	query := u.Query()
	changed := false
	for name, values := range query {
		if !sensitiveParameter.MatchString(name) {
			continue
		}
		for i := range values {
			values[i] = "xxxxx"
		}
		changed = true
	}
	if changed {
		u.RawQuery = query.Encode()
	}
	return u.String()
}
