package fsm

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/highlander-io/highlander/fsm/wire"
)

func goldenBatch() *Batch {
	return &Batch{
		Group: GroupID{Tenant: "t", Name: "prod"}, Source: "a", Epoch: 300,
		RequestID: RequestID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, Part: 2, Parts: 3, Protocol: wire.V2,
		Counts: wire.Counts{Series: 1, Floats: 200, Histograms: 3, Exemplars: 4, Metadata: 5, MinTime: -1, MaxTime: 1_700_000_000_000},
		Time:   1_700_000_000_500, Flags: FlagKept, Body: []byte("body"),
	}
}

func goldenLetter() *DeadLetter {
	return &DeadLetter{
		ID: "id", Destination: "lts", Group: GroupID{Name: "prod"}, Source: "a", Index: 300, Protocol: wire.V1, Samples: 2, Status: 400,
		Answer: "too old", Time: 1_700_000_000_500, Body: []byte("body"),
	}
}

type goldenCase struct {
	name    string
	command any
	hex     string // of a JSON kind the text after version and kind
}

// golden is the format of version 1. It never changes.
var golden = []goldenCase{
	{"batch", goldenBatch(), "0101" + "0174" + "0470726f64" + "0161" + "ac02" + "0102030405060708090a0b0c0d0e0f10" + "0203" + "02" +
		"01c801030405" + "01" + "80a0abfef962" + "e8a7abfef962" + "02" + "626f6479"},
	{"dead letter", goldenLetter(), "0106" + "026964" + "036c7473" + "00" + "0470726f64" + "0161" + "ac02" + "01" + "02" + "a006" +
		"07746f6f206f6c64" + "e8a7abfef962" + "626f6479"},
	{"elect", &Elect{Group: GroupID{Tenant: "t", Name: "prod"}, FromEpoch: 3, To: "b", Reason: ReasonSilence, Time: 5, Boundary: 4},
		`{"group":{"tenant":"t","group":"prod"},"from_epoch":3,"to":"b","reason":"silence","time":5,"boundary":4}`},
	{"elect with a fence", &Elect{Group: GroupID{Name: "prod"}, FromEpoch: 3, To: "b", Reason: ReasonLag, Time: 5, Boundary: 4, FenceFrom: 2},
		`{"group":{"tenant":"","group":"prod"},"from_epoch":3,"to":"b","reason":"lag","time":5,"boundary":4,"fence_from":2}`},
	{"fence end", &FenceEnd{Group: GroupID{Name: "prod"}, Epoch: 4, Time: 5},
		`{"group":{"tenant":"","group":"prod"},"epoch":4,"time":5}`},
	{"source", &SourceOp{Op: OpWeight, Group: GroupID{Name: "prod"}, Source: "b", Weight: 7, Time: 5},
		`{"op":"weight","group":{"tenant":"","group":"prod"},"source":"b","weight":7,"time":5}`},
	{"destination", &DestinationOp{Op: OpRegister, Name: "lts", URL: "http://lts/write", Time: 5},
		`{"op":"register","name":"lts","url":"http://lts/write","time":5}`},
	{"cursor", &Cursor{Destination: "lts", From: 3, To: 9, Entries: 2, Samples: 15, Bytes: 30, Delivered: 5, Redelivered: 1, DeadLetter: 4,
		RelabelDropped: 3, Dropped: map[string]uint64{"too_old": 2, "full": 1}, Time: 5},
		`{"destination":"lts","from":3,"to":9,"entries":2,"samples":15,"bytes":30,"delivered":5,"redelivered":1,"dead_letter":4,` +
			`"relabel_dropped":3,"dropped":{"full":1,"too_old":2},"time":5}`},
	{"letter op", &LetterOp{Op: OpRefused, ID: "id", Status: 400, Answer: "no", Time: 5}, `{"op":"refused","id":"id","status":400,"answer":"no","time":5}`},
	{"books", &Books{Origin: "node/7", Seq: 2, Groups: []GroupBooks{{
		Group: GroupID{Name: "prod"}, Received: map[string]uint64{"a": 6}, Covered: 1, Duplicate: 2, Rejected: map[string]uint64{"empty_name": 3},
		Standby: map[string]StandbyBooks{"b": {Requests: 6, Bytes: 60, Kept: 1, KeptBytes: 10, Discarded: 2, DiscardedBytes: 20, Used: 3, UsedBytes: 30}},
		Changes: []ChangeBooks{{Epoch: 4, KeptUsed: 1, Fenced: 2, LargestGap: 3}}}}, Time: 5},
		`{"origin":"node/7","seq":2,"groups":[{"group":{"tenant":"","group":"prod"},"received":{"a":6},"covered":1,"duplicate":2,` +
			`"rejected":{"empty_name":3},"standby":{"b":{"requests":6,"bytes":60,"kept":1,"kept_bytes":10,"discarded":2,"discarded_bytes":20,` +
			`"used":3,"used_bytes":30}},"changes":[{"epoch":4,"kept_used":1,"fenced":2,"largest_gap_ms":3}]}],"time":5}`},
	{"cluster", &ClusterOp{UUID: "u", FromUUID: "v", FeatureLevel: 1, Time: 5}, `{"uuid":"u","from_uuid":"v","feature_level":1,"time":5}`},
}

func (g goldenCase) bytes(t testing.TB) []byte {
	if strings.HasPrefix(g.hex, "{") {
		kind, _ := kindOf(g.command)
		return append([]byte{1, byte(kind)}, g.hex...)
	}
	b, err := hex.DecodeString(g.hex)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestGoldenEntries(t *testing.T) {
	for _, g := range golden {
		t.Run(g.name, func(t *testing.T) {
			want := g.bytes(t)
			entry, err := Encode(g.command)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(entry, want) {
				t.Fatalf("got\n%x %q\nwant\n%x %q", entry, entry, want, want)
			}
			_, command, err := Decode(want)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(command, g.command) {
				t.Fatalf("got %+v, want %+v", command, g.command)
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	long := strings.Repeat("x", NameBytesMax+1)
	jsonEntry := func(kind Kind, text string) []byte { return append([]byte{Version, byte(kind)}, text...) }
	tests := []struct {
		name  string
		entry []byte
		want  error
	}{
		{"nothing", nil, ErrEntry},
		{"one byte", []byte{Version}, ErrEntry},
		{"version 0", []byte{0, byte(KindBatch)}, ErrVersion},
		{"version 2", []byte{2, byte(KindBatch)}, ErrVersion},
		{"kind 0", []byte{Version, 0}, ErrKind},
		{"kind 11", []byte{Version, 11}, ErrKind},
		{"empty batch", []byte{Version, byte(KindBatch)}, ErrEntry},
		{"empty object missing names", jsonEntry(KindElect, `{}`), ErrEntry},
		{"unknown field", jsonEntry(KindDestination, `{"op":"pause","name":"x","time":1,"mode":2}`), ErrEntry},
		{"unknown operation", jsonEntry(KindDestination, `{"op":"halt","name":"x","time":1}`), ErrEntry},
		{"something behind", jsonEntry(KindDestination, `{"op":"pause","name":"x","time":1}{}`), ErrEntry},
		{"a bracket behind", jsonEntry(KindDestination, `{"op":"pause","name":"x","time":1}]`), ErrEntry},
		{"invalid UTF-8", jsonEntry(KindDestination, "{\"op\":\"pause\",\"name\":\"\xff\"}"), ErrEntry},
		{"name too long", jsonEntry(KindDestination, `{"op":"pause","name":"`+long+`"}`), ErrEntry},
		{"no name", jsonEntry(KindDestination, `{"op":"pause"}`), ErrEntry},
		{"no reason", jsonEntry(KindCursor, `{"destination":"x","dropped":{"":1}}`), ErrEntry},
		{"negative number", jsonEntry(KindCursor, `{"destination":"x","from":-1}`), ErrEntry},
		{"status", jsonEntry(KindLetterOp, `{"op":"refused","id":"x","status":1000}`), ErrEntry},
		{"no ID", jsonEntry(KindLetterOp, `{"op":"replay"}`), ErrEntry},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if _, _, err := Decode(test.entry); !errors.Is(err, test.want) {
				t.Fatalf("got %v, want %v", err, test.want)
			}
		})
	}
}

// Every proper prefix of a header is an error, and so is every header field out of its range.
func TestDecodeBatchTruncated(t *testing.T) {
	b := goldenBatch()
	b.Body = nil
	entry := b.Append(nil)
	for n := range entry {
		if got, err := DecodeBatch(entry[:n]); err == nil {
			t.Fatalf("%d of %d bytes decoded to %+v", n, len(entry), got)
		}
	}
	if _, err := DecodeBatch(entry); err != nil {
		t.Fatal(err)
	}
}

func TestEncodeRefuses(t *testing.T) {
	with := func(change func(*Batch)) *Batch {
		b := goldenBatch()
		change(b)
		return b
	}
	tests := map[string]any{
		"part 0":           with(func(b *Batch) { b.Part = 0 }),
		"part 4 of 3":      with(func(b *Batch) { b.Part = 4 }),
		"too many parts":   with(func(b *Batch) { b.Parts = PartsMax + 1 }),
		"no protocol":      with(func(b *Batch) { b.Protocol = 0 }),
		"invalid UTF-8":    with(func(b *Batch) { b.Source = "\xff" }),
		"long tenant":      with(func(b *Batch) { b.Group.Tenant = strings.Repeat("x", NameBytesMax+1) }),
		"long answer":      &LetterOp{Op: OpRefused, ID: "x", Answer: strings.Repeat("x", AnswerBytesMax+1)},
		"UTF-8 in an ID":   &DeadLetter{ID: "\xff", Destination: "x", Protocol: wire.V1},
		"UTF-8 in a key":   &Books{Origin: "x", Groups: []GroupBooks{{Received: map[string]uint64{"\xff": 1}}}},
		"unknown op":       &SourceOp{Op: "crown", Source: "x"},
		"no source":        &SourceOp{Op: OpPin},
		"long URL":         &DestinationOp{Op: OpRegister, Name: "x", URL: strings.Repeat("x", URLBytesMax+1)},
		"long cluster":     &ClusterOp{UUID: strings.Repeat("x", NameBytesMax+1)},
		"empty origin":     &Books{},
		"elect without to": &Elect{Reason: "x"},
	}
	for name, command := range tests {
		t.Run(name, func(t *testing.T) {
			if entry, err := Encode(command); !errors.Is(err, ErrInvalid) {
				t.Fatalf("got %q, %v", entry, err)
			}
		})
	}
	if _, err := Encode(Elect{}); !errors.Is(err, ErrKind) {
		t.Fatalf("a command that is no pointer: %v", err)
	}
}

func TestAppendPanicsOnPoison(t *testing.T) {
	defer func() {
		if r, ok := recover().(string); !ok || !strings.HasPrefix(r, "BUG: ") {
			t.Fatalf("recovered %v", r)
		}
	}()
	b := goldenBatch()
	b.Source = "\xff"
	b.Append(nil)
}

func TestHeaderSize(t *testing.T) {
	name := strings.Repeat("x", NameBytesMax)
	b := Batch{
		Group: GroupID{name, name}, Source: name, Epoch: 1<<64 - 1, Part: PartsMax, Parts: PartsMax, Protocol: 255,
		Counts: wire.Counts{Series: 1<<32 - 1, Floats: 1<<32 - 1, Histograms: 1<<32 - 1, Exemplars: 1<<32 - 1, Metadata: 1<<32 - 1, MinTime: -1 << 63, MaxTime: -1 << 63},
		Time:   -1 << 63, Flags: 255,
	}
	entry := b.Append(nil)
	if len(entry) > b.HeaderSize() || b.HeaderSize() > BatchOverheadMax {
		t.Fatalf("the largest header has %d bytes, HeaderSize says %d, at most %d are left free", len(entry), b.HeaderSize(), BatchOverheadMax)
	}
	if got, err := DecodeBatch(entry); err != nil || got.Epoch != b.Epoch || got.Counts != b.Counts || got.Time != b.Time {
		t.Fatalf("got %+v, %v", got, err)
	}
}

func TestDecodeBatchAliasesBody(t *testing.T) {
	entry := goldenBatch().Append(nil)
	b, err := DecodeBatch(entry)
	if err != nil {
		t.Fatal(err)
	}
	entry[len(entry)-1] = 'Y'
	if string(b.Body) != "bodY" {
		t.Fatalf("body is %q: it was copied", b.Body)
	}
}

func FuzzDecode(f *testing.F) {
	for _, g := range golden {
		f.Add(g.bytes(f))
	}
	f.Fuzz(func(t *testing.T, entry []byte) {
		kind, command, err := Decode(entry)
		if err != nil {
			return
		}
		again, err := Encode(command) // F7
		if err != nil {
			t.Fatalf("decoded %+v, which cannot be encoded: %v", command, err)
		}
		kind2, command2, err := Decode(again)
		if err != nil || kind2 != kind || !reflect.DeepEqual(normal(command), normal(command2)) {
			t.Fatalf("decoded\n%+v, and again\n%+v, %v", command, command2, err)
		}
	})
}

// normal makes empty and absent alike: JSON does not tell them apart where a field may be left out.
func normal(command any) any {
	switch c := command.(type) {
	case *Batch:
		c.Body = append([]byte{}, c.Body...)
	case *DeadLetter:
		c.Body = append([]byte{}, c.Body...)
	default:
		entry, _ := Encode(c)
		return string(entry)
	}
	return command
}

// Damage in a binary header is found wherever it is.
func TestDecodeBinaryDamage(t *testing.T) {
	batch := func(fields ...string) []byte {
		return append([]byte{Version, byte(KindBatch)}, strings.Join(fields, "")...)
	}
	const (
		names  = "\x00\x00\x00"
		id     = "0123456789abcdef"
		counts = "\x01\x01\x00\x00\x00\x00\x00"
		maxed  = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"
	)
	if _, err := DecodeBatch(batch(names, "\x01", id, "\x01\x01", "\x01", counts, "\x00", "\x00", "body")); err != nil {
		t.Fatalf("the undamaged one: %v", err)
	}
	long := string([]byte{0x81, 0x10}) + strings.Repeat("x", NameBytesMax+1)
	damaged := map[string][]byte{
		"long name":            batch(long),
		"name that is no text": batch("\x01\xff"),
		"name beyond the end":  batch("\x05abc"),
		"huge name":            batch("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
		"endless varint":       batch(names, maxed),
		"part beyond 32 bits":  batch(names, "\x01", id, "\x80\x80\x80\x80\x10", "\x01"),
		"part 0":               batch(names, "\x01", id, "\x00\x01", "\x01", counts, "\x00", "\x00"),
		"part 2 of 1":          batch(names, "\x01", id, "\x02\x01", "\x01", counts, "\x00", "\x00"),
		"protocol 0":           batch(names, "\x01", id, "\x01\x01", "\x00", counts, "\x00", "\x00"),
		"endless time":         batch(names, "\x01", id, "\x01\x01", "\x01", counts, maxed, "\x00"),
	}
	for name, entry := range damaged {
		if b, err := DecodeBatch(entry); !errors.Is(err, ErrEntry) {
			t.Errorf("%s: got %+v, %v", name, b, err)
		}
	}
	if _, err := DecodeBatch([]byte{Version, byte(KindElect), '{', '}'}); !errors.Is(err, ErrKind) {
		t.Errorf("an election as a batch: %v", err)
	}
	l := goldenLetter()
	l.Body = nil
	letter, err := Encode(l)
	if err != nil {
		t.Fatal(err)
	}
	for n := range letter {
		if _, _, err := Decode(letter[:n]); err == nil {
			t.Errorf("%d of %d bytes of a dead letter were decoded", n, len(letter))
		}
	}
}
