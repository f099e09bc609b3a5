package config

import (
	"strings"
	"testing"
)

// secretsAll has a secret at every place that holds one.
const secretsAll = `
remote_write:
  - name: a
    url: http://u:SECRET@x/w?token=SECRET&extra_label=visible
    headers: {X-Api-Thing: SECRET, X-Scope-OrgID: tenant}
    http_headers: {X-B: {values: [SECRET], secrets: [SECRET]}}
    basic_auth: {username: u, password: SECRET}
    tls_config: {cert: visible, key: SECRET}
    proxy_url: http://u:SECRET@proxy
    proxy_connect_header: {X-C: [SECRET]}
  - name: b
    url: http://x
    authorization: {credentials: SECRET}
  - name: c
    url: http://x
    bearer_token: SECRET
  - name: d
    url: http://x
    oauth2: {client_id: i, client_secret: SECRET, token_url: 'http://u:SECRET@t', endpoint_params: {password: SECRET}, claims: {a: SECRET}}
`

// C4.
func TestMarshalMasks(t *testing.T) {
	c := mustParse(t, secretsAll)
	out, err := c.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(out), "SECRET") {
		t.Errorf("a secret is shown:\n%s", out)
	}
	for _, want := range []string{"X-Scope-OrgID: tenant", "extra_label=visible", "client_id: i", "username: u"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%q is not shown:\n%s", want, out)
		}
	}
	// The configuration itself still has them.
	r := c.RemoteWrite[0]
	if !strings.Contains(r.URL, "SECRET") || r.Headers["X-Api-Thing"] != "SECRET" || r.HTTP.BasicAuth.Password != "SECRET" ||
		r.HTTP.HTTPHeaders.Headers["X-B"].Values[0] != "SECRET" || c.RemoteWrite[3].HTTP.OAuth2.EndpointParams["password"] != "SECRET" {
		t.Error("masking changed the configuration")
	}
}

func TestMarshalReadsBack(t *testing.T) {
	c := mustParse(t, strings.ReplaceAll(full, "password: p", "password_file: /p"))
	out, err := c.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	again, _, err := Parse(out)
	if err != nil {
		t.Fatalf("%v in\n%s", err, out)
	}
	if again.Hash() != c.Hash() {
		t.Errorf("another configuration came back:\n%s", out)
	}
	for _, s := range Settings() {
		if got, want := s.get(&again), s.get(&c); got != want {
			t.Errorf("%s: got %q, want %q", s.Key, got, want)
		}
	}
}

func TestRedactURL(t *testing.T) {
	for raw, want := range map[string]string{
		"http://x/w":                  "http://x/w",
		"http://u:p@x/w":              "http://u:xxxxx@x/w",
		"http://u@x/w":                "http://u@x/w",
		"http://x/w?b=2&a=1":          "http://x/w?b=2&a=1",
		"http://x/w?api_key=1&a=2":    "http://x/w?a=2&api_key=xxxxx",
		"http://x/w?Access_Token=abc": "http://x/w?Access_Token=xxxxx",
		"http://u:p@x:port/":          "<secret>",
	} {
		if got := RedactURL(raw); got != want {
			t.Errorf("%s: got %s, want %s", raw, got, want)
		}
	}
}
