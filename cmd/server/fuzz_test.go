package server

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/prompb"

	"github.com/highlander-io/highlander/fsm"
	"github.com/highlander-io/highlander/fsm/wire"
)

// FuzzAdmin sends arbitrary commands to the admin socket of a running node. Each is answered by one JSON value and one of the
// known statuses, none stops the node (the state machine would panic), and the books balance.
func FuzzAdmin(f *testing.F) {
	paths := []string{"/v1/source", "/v1/destination", "/v1/dead-letter"}
	for _, seed := range []struct {
		path byte
		body string
	}{
		{0, `{"op":"promote","group":"g","source":"b"}`}, {0, `{"op":"weight","group":"g","source":"a","weight":18446744073709551615}`},
		{0, `{"op":"unpin","tenant":"","group":"g"}`}, {0, `{"op":"forget","group":"g","source":"a"}`},
		{1, `{"op":"pause","name":"lts"}`}, {1, `{"op":"resume","name":"lts"}`}, {1, `{"op":"skip","name":"lts","to":9}`},
		{2, `{"op":"purge"}`}, {2, `{"op":"replay","id":"x"}`}, {2, ``}, {0, `null`},
	} {
		f.Add(seed.path, seed.body, "group=g&tenant=")
	}
	f.Add(byte(0), `{}`, "group=%zz;tenant=\xff")
	n := start(f, withDestination(newLTS(f).URL))
	for _, source := range []string{"a", "b"} {
		n.write("?highlander_group=g&highlander_source="+source, time.Now().UnixMilli())
	}
	routes := n.socketRoutes()
	f.Fuzz(func(t *testing.T, path byte, body, query string) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		ask := func(method, path, body string, want ...int) {
			t.Helper()
			request := httptest.NewRequest(method, path, strings.NewReader(body)).WithContext(ctx)
			request.URL.RawQuery = query
			answer := httptest.NewRecorder()
			routes.ServeHTTP(answer, request)
			if !slices.Contains(want, answer.Code) || !json.Valid(answer.Body.Bytes()) {
				t.Fatalf("%s %s was answered %d %q", method, path, answer.Code, answer.Body)
			}
		}
		ask(http.MethodPost, paths[int(path)%len(paths)], body, 200, 400, 404, 409, 503)
		ask(http.MethodGet, "/v1/source/history", "", 200, 404)
		ask(http.MethodGet, "/v1/dead-letters", "", 200)
		for _, g := range n.state.Groups() {
			if !g.Books.Balanced() || !g.Standby.Balanced() {
				t.Fatalf("books of %q: %+v %+v", g.ID.Name, g.Books, g.Standby)
			}
		}
		for _, d := range n.state.Destinations() {
			if !d.Balanced() {
				t.Fatalf("books: %+v", d)
			}
		}
	})
}

// FuzzLetterSeries opens a dead letter, whatever is in it, for a person to read.
func FuzzLetterSeries(f *testing.F) {
	raw, err := (&prompb.WriteRequest{Timeseries: []prompb.TimeSeries{{
		Labels: []prompb.Label{{Name: "__name__", Value: "up"}, {Name: "a", Value: "b\n"}}, Samples: []prompb.Sample{{Value: 1, Timestamp: 2}},
	}}}).Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw, byte(wire.V1))
	f.Add([]byte("\x22\x00\x22\x08__name__\x22\x02up\x2a\x04\x0a\x02\x01\x02\x2a\x04\x0a\x02\x01\x09\x2a\x03\x0a\x01\x01"), byte(wire.V2))
	f.Fuzz(func(t *testing.T, raw []byte, protocol byte) {
		series, err := letterSeries(fsm.DeadLetter{ID: "x", Protocol: wire.Protocol(protocol), Body: wire.Compress(nil, raw)})
		if err != nil {
			return
		}
		if text, err := json.Marshal(series); err != nil || !json.Valid(text) {
			t.Fatalf("%q, %v", text, err)
		}
	})
}
