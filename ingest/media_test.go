package ingest

import (
	"net/http"
	"testing"

	"github.com/highlander-io/highlander/fsm/wire"
)

func TestProtocolOf(t *testing.T) {
	const missing = "\x00"
	for _, c := range []struct {
		contentType, encoding string
		want                  wire.Protocol // 0: refused
	}{
		{missing, missing, wire.V1},
		{"", "", wire.V1},
		{"application/x-protobuf", "snappy", wire.V1},
		{"APPLICATION/X-Protobuf", "Snappy", wire.V1},
		{" application/x-protobuf ; charset=utf-8", " snappy\t", wire.V1},
		{"application/x-protobuf;proto=prometheus.WriteRequest", "snappy", wire.V1},
		{"application/x-protobuf;proto=io.prometheus.write.v2.Request", "snappy", wire.V2},
		{"application/x-protobuf; proto=io.prometheus.write.v2.Request", "SNAPPY", wire.V2},
		{"application/x-protobuf ;\tPROTO=\"io.prometheus.write.v2.Request\"", "snappy", wire.V2},
		{"application/x-protobuf; a=b; proto=\"io.prometheus.write.v2.Request\"; c=d", "snappy", wire.V2},
		{"application/x-protobuf;", "snappy,", wire.V1},
		{"application/x-protobuf", ", snappy ,,", wire.V1},

		{"application/x-protobuf; proto=io.prometheus.write.v3.Request", "snappy", 0},
		{"application/x-protobuf; proto=IO.prometheus.write.v2.Request", "snappy", 0},
		{"application/x-protobuf; proto=", "snappy", 0},
		{"application/x-protobuf; proto=prometheus.WriteRequest; proto=io.prometheus.write.v2.Request", "snappy", 0},
		{"application/x-protobuf, application/json", "snappy", 0},
		{"application/x-protobuf/1", "snappy", 0},
		{"application/json", "snappy", 0},
		{"application/x-www-form-urlencoded", "snappy", 0},
		{";", "snappy", 0},
		{"application/x-protobuf", "gzip", 0},
		{"application/x-protobuf", "identity", 0},
		{"application/x-protobuf", "zstd", 0},
		{"application/x-protobuf", "x-snappy-framed", 0},
		{"application/x-protobuf", "snappy, snappy", 0},
		{"application/x-protobuf", "snappy, gzip", 0},
		{"application/x-protobuf", "\"snappy\"", 0},
	} {
		header := http.Header{}
		if c.contentType != missing {
			header["Content-Type"] = []string{c.contentType}
		}
		if c.encoding != missing {
			header["Content-Encoding"] = []string{c.encoding}
		}
		got, reason := protocolOf(header)
		if got != c.want || (reason == "") != (c.want != 0) {
			t.Errorf("Content-Type %q, Content-Encoding %q: protocol %v, reason %q; want %v", c.contentType, c.encoding, got, reason, c.want)
		}
	}
}

func TestProtocolOfRepeatedHeaders(t *testing.T) {
	if _, reason := protocolOf(http.Header{"Content-Type": {mediaType, mediaType}}); reason == "" {
		t.Error("two Content-Types were taken")
	}
	if _, reason := protocolOf(http.Header{"Content-Encoding": {"snappy", "gzip"}}); reason == "" {
		t.Error("two Content-Encodings were taken")
	}
	if _, reason := protocolOf(http.Header{"Content-Encoding": {"", "snappy"}}); reason != "" {
		t.Errorf("an empty list element was not ignored: %s", reason)
	}
}

func TestProtocolOfAllocatesNothingForPrometheus(t *testing.T) {
	header := http.Header{"Content-Type": {mediaTypeV2}, "Content-Encoding": {"snappy"}}
	if n := testing.AllocsPerRun(100, func() { _, _ = protocolOf(header) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
