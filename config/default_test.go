package config

import (
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// C6.
func TestDefaultFileIsTheDefault(t *testing.T) {
	c := mustParse(t, DefaultFile())
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	for _, s := range Settings() {
		if _, ok := c.origins[s.Key]; !ok {
			t.Errorf("%s is not in the file", s.Key)
		}
	}
	c.origins, c.RemoteWrite, c.Cluster.Join = nil, nil, nil // an empty list and none mean the same
	if want := Default(); !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
}

var commented = regexp.MustCompile(`(?m)^#(  .*)$`)

// The example destination in the comments is right, too.
func TestDefaultFileExampleDestination(t *testing.T) {
	text := strings.Replace(DefaultFile(), "remote_write: []", "remote_write:", 1)
	_, section, _ := strings.Cut(text, "remote_write:")
	c := mustParse(t, "remote_write:"+commented.ReplaceAllString(section, "$1"))
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	want := DefaultRemoteWrite()
	want.Name, want.URL = "lts", "http://lts.example/api/v1/write"
	got := c.RemoteWrite[0]
	got.Headers, got.WriteRelabelConfigs = nil, nil
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	for key := range mustFields(t) {
		if _, ok := c.origins["remote_write[0]."+key]; !ok {
			t.Errorf("remote_write.%s is not in the example", key)
		}
	}
}

// mustFields are the keys of a destination that are this package's own.
func mustFields(t *testing.T) map[string]bool {
	t.Helper()
	own := map[string]bool{}
	for i := range reflect.TypeFor[RemoteWrite]().NumField() {
		f := reflect.TypeFor[RemoteWrite]().Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if name != "-" && options != "inline" {
			own[name] = true
		}
	}
	return own
}
