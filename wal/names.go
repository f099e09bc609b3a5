package wal

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// segmentName is what a segment's file name says.
type segmentName struct{ id, base uint64 }

func (n segmentName) String() string {
	return fmt.Sprintf("%020d-%020d%s", n.id, n.base, segmentSuffix)
}

func parseSegmentName(file string) (segmentName, bool) {
	id, base, ok := strings.Cut(strings.TrimSuffix(file, segmentSuffix), "-")
	if !ok || !strings.HasSuffix(file, segmentSuffix) {
		return segmentName{}, false
	}
	var n segmentName
	var idOK, baseOK bool
	n.id, idOK = parseDecimal(id)
	n.base, baseOK = parseDecimal(base)
	return n, idOK && baseOK && n.id > 0 && n.base > 0
}

func spareName(number uint64) string { return fmt.Sprintf("%020d%s", number, spareSuffix) }

func parseSpareName(file string) (uint64, bool) {
	if !strings.HasSuffix(file, spareSuffix) {
		return 0, false
	}
	return parseDecimal(strings.TrimSuffix(file, spareSuffix))
}

func parseDecimal(s string) (uint64, bool) {
	if len(s) != decimalsOfUint64 {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil
}

func spareFilePath(dir string, number uint64) string { return filepath.Join(dir, spareName(number)) }
