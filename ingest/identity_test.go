package ingest

import (
	"net/http/httptest"
	"strings"
	"testing"
)

func TestNameOf(t *testing.T) {
	type header map[string][]string
	long := strings.Repeat("x", 257)
	for _, c := range []struct {
		name, query string
		header      header
		want        named
		err         string // part of the error
	}{
		{name: "nothing"},
		{name: "parameters", query: "highlander_group=g&highlander_source=a&highlander_weight=7", want: named{group: "g", source: "a", weight: 7}},
		{name: "headers", header: header{headerGroup: {"g"}, headerSource: {"a"}, headerWeight: {"9"}}, want: named{group: "g", source: "a", weight: 9}},
		{
			name: "parameters win", query: "highlander_source=a", header: header{headerGroup: {"g"}, headerSource: {"b"}},
			want: named{group: "g", source: "a"},
		},
		{name: "tenant", header: header{headerTenant: {"t1"}}, want: named{tenant: "t1"}},
		{name: "escaped", query: "highlander%5Fsource=a+b%2F%C3%BC&other=%zz", want: named{source: "a b/ü"}},
		{name: "strangers", query: "a=1&highlander_sources=x&xhighlander_source=y&&=&highlander_source", want: named{}},
		{name: "empty parameter", query: "highlander_source=", header: header{headerSource: {"b"}}, want: named{source: "b"}},
		{name: "same twice", query: "highlander_source=a&highlander_source=a", want: named{source: "a"}},
		{name: "largest weight", query: "highlander_weight=18446744073709551615", want: named{weight: 18446744073709551615}},

		{name: "two values", query: "highlander_source=a&highlander_source=b", err: "highlander_source: given twice"},
		{name: "two headers", header: header{headerSource: {"a", "b"}}, err: "X-Highlander-Source: given twice"},
		{name: "two tenants", header: header{headerTenant: {"a", "b"}}, err: "X-Scope-Orgid: given twice"},
		{name: "newline", query: "highlander_source=a%0Ab", err: "highlander_source: holds a control character"},
		{name: "delete", query: "highlander_group=a%7Fb", err: "highlander_group: holds a control character"},
		{name: "not UTF-8", query: "highlander_group=%ff", err: "highlander_group: not valid UTF-8"},
		{name: "tenant not UTF-8", header: header{headerTenant: {"\xff"}}, err: "X-Scope-Orgid: not valid UTF-8"},
		{name: "bad escape", query: "highlander_source=%zz", err: "highlander_source: invalid URL escape"},
		{name: "too long", query: "highlander_source=" + long, err: "highlander_source: longer than 256 bytes"},
		{name: "tenant too long", header: header{headerTenant: {long}}, err: "X-Scope-Orgid: longer than 256 bytes"},
		{name: "weight below zero", query: "highlander_weight=-1", err: "highlander_weight"},
		{name: "weight too large", query: "highlander_weight=18446744073709551616", err: "highlander_weight"},
		{name: "weight in words", header: header{headerWeight: {"heavy"}}, err: "X-Highlander-Weight"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest("POST", "/api/v1/write", nil)
			r.URL.RawQuery = c.query
			for name, values := range c.header {
				r.Header[name] = values
			}
			o := testOptions().withDefaults()
			got, err := nameOf(r, &o)
			switch {
			case c.err == "" && err != nil:
				t.Fatal(err)
			case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
				t.Fatalf("error %v, want %q", err, c.err)
			case got != c.want:
				t.Fatalf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestRequestWeightIgnored(t *testing.T) {
	r := httptest.NewRequest("POST", "/?highlander_weight=heavy", nil)
	o := testOptions().withDefaults()
	o.RequestWeight = false
	if got, err := nameOf(r, &o); err != nil || got.weight != 0 {
		t.Errorf("weight %d, err %v", got.weight, err)
	}
}

func TestHostOf(t *testing.T) {
	for address, want := range map[string]string{
		"10.0.0.1:1234":           "10.0.0.1",
		"[::ffff:10.0.0.1]:1234":  "10.0.0.1",
		"[2001:DB8::1]:80":        "2001:db8::1",
		"[fe80::1%eth0]:80":       "fe80::1%eth0",
		"[fe80::1%\xff]:80":       "unknown",
		"10.0.0.1":                "10.0.0.1",
		"prom-0.example:9090":     "prom-0.example",
		"":                        "unknown",
		"@":                       "@",
		"a\nb:1":                  "unknown",
		strings.Repeat("x", 1000): "unknown",
	} {
		if got := hostOf(address); got != want {
			t.Errorf("hostOf(%q) = %q, want %q", address, got, want)
		}
	}
}
