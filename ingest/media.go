package ingest

import (
	"mime"
	"net/http"
	"strings"

	"github.com/highlander-io/highlander/fsm/wire"
)

const (
	mediaType   = "application/x-protobuf"
	mediaTypeV2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request"
	protoV1     = "prometheus.WriteRequest"
	protoV2     = "io.prometheus.write.v2.Request"
)

// protocolOf reads Content-Type and Content-Encoding as RFC 9110 writes them: names in any case, optional white
// space, quoted parameters, empty list elements. A missing Content-Type means 1.0 and a missing Content-Encoding
// means snappy: 1.0 senders predate the parameter, and no other encoding was ever allowed. The names of
// protobuf messages are compared exactly, because protobuf's are. The text is empty if all is well.
func protocolOf(header http.Header) (wire.Protocol, string) {
	if reason := checkEncoding(header["Content-Encoding"]); reason != "" {
		return 0, reason
	}
	values := header["Content-Type"]
	if len(values) == 0 {
		return wire.V1, ""
	}
	if len(values) > 1 {
		return 0, "more than one Content-Type"
	}
	switch values[0] { // what Prometheus sends; the general case allocates
	case "", mediaType:
		return wire.V1, ""
	case mediaTypeV2:
		return wire.V2, ""
	}
	media, params, err := mime.ParseMediaType(values[0])
	if err != nil {
		return 0, "Content-Type cannot be read: " + err.Error()
	}
	if media != mediaType {
		return 0, "Content-Type must be " + mediaType
	}
	proto, ok := params["proto"]
	switch {
	case !ok, proto == protoV1:
		return wire.V1, ""
	case proto == protoV2:
		return wire.V2, ""
	}
	return 0, "Content-Type: proto must be " + protoV1 + " or " + protoV2
}

func checkEncoding(values []string) string {
	if len(values) == 1 && values[0] == "snappy" {
		return ""
	}
	seen := 0
	for _, value := range values {
		for coding := range strings.SplitSeq(value, ",") {
			coding = strings.Trim(coding, " \t")
			if coding == "" {
				continue // RFC 9110, section 5.6.1.2: empty list elements are ignored
			}
			if !strings.EqualFold(coding, "snappy") {
				return "Content-Encoding must be snappy (block format)"
			}
			seen++
		}
	}
	if seen > 1 {
		return "Content-Encoding must be snappy once"
	}
	return ""
}
