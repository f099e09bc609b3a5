package main

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/raft"

	"github.com/highlander-io/highlander/fsm"
	"github.com/highlander-io/highlander/fsm/wire"
	"github.com/highlander-io/highlander/wal"
)

// FuzzDumpEntry prints whatever an entry of a log may hold: one line that a terminal can show, and one JSON value.
func FuzzDumpEntry(f *testing.F) {
	for _, e := range sampleEntries(f) {
		f.Add(byte(e.Type), e.Data)
	}
	late := fsm.Batch{Part: 1, Parts: 1, Protocol: wire.V1, Counts: wire.Counts{MinTime: math.MinInt64, MaxTime: math.MaxInt64}, Time: math.MaxInt64}
	f.Add(byte(raft.LogCommand), late.Append(nil))
	f.Fuzz(func(t *testing.T, kind byte, data []byte) {
		entry := describe(wal.Entry{Index: 7, Term: 2, Type: raft.LogType(kind), Data: data})
		var line, text bytes.Buffer
		if err := showEntry(&line, entry); err != nil {
			t.Fatal(err)
		}
		shown, ended := strings.CutSuffix(line.String(), "\n")
		if !ended || !utf8.ValidString(shown) || strings.IndexFunc(shown, func(r rune) bool { return !unicode.IsPrint(r) }) >= 0 {
			t.Fatalf("not a line: %q", line.String())
		}
		if err := showEntryJSON(&text, entry); err != nil || !json.Valid(text.Bytes()) || bytes.Count(text.Bytes(), []byte("\n")) != 1 {
			t.Fatalf("%q, %v", text.String(), err)
		}
	})
}
