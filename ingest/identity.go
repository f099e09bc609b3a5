package ingest

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Names by which a request says where it comes from. Parameters win over headers.
const (
	paramGroup  = "highlander_group"
	paramSource = "highlander_source"
	paramWeight = "highlander_weight"

	headerTenant = "X-Scope-Orgid" // in the canonical form of net/http
	headerGroup  = "X-Highlander-Group"
	headerSource = "X-Highlander-Source"
	headerWeight = "X-Highlander-Weight"
)

// named is what URL and headers say about a whole request. Without a source the labels of each series decide,
// within the group if that is named.
type named struct {
	tenant, group, source string
	weight                uint64
}

// nameOf reads a request's identity from URL and headers. The error names the parameter or header at fault.
func nameOf(r *http.Request, o *Options) (n named, err error) {
	if n.tenant, err = lookUp(r, "", headerTenant, o.MaxNameBytes); err != nil {
		return named{}, err
	}
	if n.group, err = lookUp(r, paramGroup, headerGroup, o.MaxNameBytes); err != nil {
		return named{}, err
	}
	if n.source, err = lookUp(r, paramSource, headerSource, o.MaxNameBytes); err != nil {
		return named{}, err
	}
	if !o.RequestWeight {
		return n, nil
	}
	weight, err := lookUp(r, paramWeight, headerWeight, o.MaxNameBytes)
	if err != nil || weight == "" {
		return n, err
	}
	n.weight, err = strconv.ParseUint(weight, 10, 64)
	if err != nil {
		return named{}, fmt.Errorf("%s or %s: not a number from 0 to 18446744073709551615: %q", paramWeight, headerWeight, weight)
	}
	return n, nil
}

// lookUp returns the value of a parameter or else of a header, if it can be a name.
func lookUp(r *http.Request, param, header string, bytesMax int) (string, error) {
	value, from, err := find(r, param, header)
	if err != nil {
		return "", err
	}
	if err := checkName(value, bytesMax); err != nil {
		return "", fmt.Errorf("%s: %w", from, err)
	}
	return value, nil
}

// find returns the value of a parameter or else of a header, and which of the two it was. Two different values
// under one name are an error: whichever won, one Prometheus would speak for another.
func find(r *http.Request, param, header string) (value, from string, err error) {
	if param != "" {
		value, found, err := queryValue(r.URL.RawQuery, param)
		if err != nil || found && value != "" {
			return value, param, err
		}
	}
	values := r.Header[header]
	if len(values) == 0 {
		return "", header, nil
	}
	for _, other := range values[1:] {
		if other != values[0] {
			return "", header, fmt.Errorf("%s: given twice with different values", header)
		}
	}
	return values[0], header, nil
}

// queryValue finds one parameter without building a map of all of them, as every request passes here.
func queryValue(query, param string) (value string, found bool, err error) {
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		key, raw, _ := strings.Cut(pair, "=")
		if strings.ContainsAny(key, "%+") {
			unescaped, err := url.QueryUnescape(key)
			if err != nil {
				continue // cannot be one of ours
			}
			key = unescaped
		}
		if key != param {
			continue
		}
		got, err := url.QueryUnescape(raw)
		if err != nil {
			return "", true, fmt.Errorf("%s: %w", param, err)
		}
		if found && got != value {
			return "", true, fmt.Errorf("%s: given twice with different values", param)
		}
		value, found = got, true
	}
	return value, found, nil
}

var (
	errNameUTF8    = errors.New("not valid UTF-8")
	errNameControl = errors.New("holds a control character")
)

// checkName says whether a string can be a tenant, group or source: it will be a metric label, a log field, a table
// cell and (the tenant) a header.
func checkName(s string, bytesMax int) error {
	if len(s) > bytesMax {
		return fmt.Errorf("longer than %d bytes", bytesMax)
	}
	if !utf8.ValidString(s) {
		return errNameUTF8
	}
	for _, c := range s {
		if unicode.IsControl(c) || c == '\u2028' || c == '\u2029' {
			return errNameControl
		}
	}
	return nil
}

// hostOf returns the host of a client's address without its port, which changes with every connection.
func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		host = ip.Unmap().String() // the same host whether the listener is dual-stack or not; its zone may be any text
	}
	if host == "" || checkName(host, 255) != nil {
		return "unknown"
	}
	return host
}
