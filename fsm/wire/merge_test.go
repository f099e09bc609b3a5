package wire

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/golang/snappy"
	"github.com/klauspost/compress/s2"
)

// Blocks of different encoders concatenate.
func TestMergeV1AcrossEncoders(t *testing.T) {
	raw := typicalV1(t, 700)
	merged, err := MergeV1(nil, snappy.Encode(nil, raw), s2.EncodeSnappy(nil, raw), snappy.Encode(nil, nil), s2.EncodeSnappyBetter(nil, raw))
	if err != nil {
		t.Fatal(err)
	}
	got, err := snappy.Decode(nil, merged)
	if err != nil || string(got) != strings.Repeat(string(raw), 3) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
}

func TestMergeV1Refuses(t *testing.T) {
	if _, err := MergeV1(nil, nil); err == nil {
		t.Error("a body without a length was merged")
	}
	half := binary.AppendUvarint(nil, 1<<31)
	if _, err := MergeV1(nil, half, half); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a sum beyond 32 bits: %v", err)
	}
}

func TestMergeUsesTheBuffer(t *testing.T) {
	body := Compress(nil, typicalV1(t, 100))
	dst := make([]byte, 0, 3*len(body))
	if n := testing.AllocsPerRun(10, func() {
		if _, err := MergeV1(dst, body, body); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestMergeV2Refuses(t *testing.T) {
	good := Compress(nil, requestV2([]string{"__name__", "up"}))
	for name, body := range map[string][]byte{
		"not snappy": []byte("x"),
		"damage":     Compress(nil, []byte{0}),
		"bad series": Compress(nil, requestV2([]string{"job", "nameless"})),
	} {
		if _, err := MergeV2(nil, good, body); err == nil || !strings.Contains(err.Error(), "body 1 of a merge") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got, err := MergeV2(nil, good); err != nil || string(got) != string(good) {
		t.Errorf("a single body: %v", err)
	}
}

func TestFamilyOf(t *testing.T) {
	for _, c := range []struct {
		name string
		kind uint64
		want string
	}{
		{"x_bucket", 3, "x"}, {"x_sum", 3, "x"}, {"x_count", 3, "x"}, {"x", 3, "x"},
		{"x_gcount", 4, "x"}, {"x_sum", 5, "x"}, {"x_bucket", 5, "x_bucket"},
		{"x_total", 1, "x_total"}, {"x_count", 2, "x_count"}, {"_count", 5, "_count"},
	} {
		if got := familyOf(c.name, c.kind); got != c.want {
			t.Errorf("%s of type %d: %s, expected %s", c.name, c.kind, got, c.want)
		}
	}
}

// Metadata of all series of a family becomes one entry.
func TestToV1Metadata(t *testing.T) {
	out, err := ToV1(nil, typicalV2(t, 80))
	if err != nil {
		t.Fatal(err)
	}
	_, req, err := decodeV1(out)
	if err != nil {
		t.Fatal(err)
	}
	if len(req.Timeseries) != 80 || len(req.Metadata) != 2 {
		t.Fatalf("%d series, %d metadata entries", len(req.Timeseries), len(req.Metadata))
	}
	m := req.Metadata[1]
	if m.MetricFamilyName != "http_request_duration_seconds_1" || m.Help != "How long requests took." || m.Type != 1 {
		t.Fatalf("%+v", m)
	}
	if _, err := ToV1(nil, []byte{0}); err == nil {
		t.Error("damage was converted")
	}
}

func TestRelabelNewNames(t *testing.T) {
	for _, p := range []Protocol{V1, V2} {
		raw := requestV1([]string{"__name__", "up", "job", "a"}, []string{"__name__", "gone"})
		if p == V2 {
			raw = requestV2([]string{"__name__", "up", "job", "a"}, []string{"__name__", "gone"})
		}
		var r Request
		if err := r.Scan(raw, p, Labels{}); err != nil {
			t.Fatal(err)
		}
		out, dropped, err := r.Relabel(nil, func(l []Label) ([]Label, bool) {
			if l[0].Value == "gone" {
				return nil, true
			}
			return append(l, Label{"added", "x"}), true
		})
		if err != nil || dropped != 1 {
			t.Fatal(dropped, err)
		}
		var again Request
		if err := again.Scan(out, p, Labels{}); err != nil {
			t.Fatal(err)
		}
		labels := again.Labels(0, nil)
		if len(again.Series) != 1 || len(labels) != 3 || labels[1] != (Label{"added", "x"}) || labels[2] != (Label{"job", "a"}) {
			t.Errorf("%s: %v", p, labels)
		}
	}
}

// The lanes of both protocols agree, and each of several gets something.
func TestShardsAgree(t *testing.T) {
	var one, two Request
	if err := one.Scan(typicalV1(t, 1000), V1, Labels{}); err != nil {
		t.Fatal(err)
	}
	if err := two.Scan(typicalV2(t, 1000), V2, Labels{}); err != nil {
		t.Fatal(err)
	}
	a, b := one.Shards(4), two.Shards(4)
	for i := range a {
		if len(a[i]) < 150 || len(a[i]) != len(b[i]) {
			t.Fatalf("lane %d has %d and %d series", i, len(a[i]), len(b[i]))
		}
		for j := range a[i] {
			if a[i][j] != b[i][j] {
				t.Fatalf("lane %d: series %d and %d", i, a[i][j], b[i][j])
			}
		}
	}
}

func TestShardsIgnoreTheOrderOfLabels(t *testing.T) {
	for i := range 50 {
		v := string(rune('a' + i))
		var r Request
		raw := requestV1([]string{"__name__", "up", "a", v, "b", "2"}, []string{"b", "2", "__name__", "up", "a", v})
		if err := r.Scan(raw, V1, Labels{}); err != nil {
			t.Fatal(err)
		}
		for _, lane := range r.Shards(8) {
			if len(lane) == 1 {
				t.Fatalf("%q: one series in two lanes", v)
			}
		}
		if r.Hash(0) != r.Hash(1) {
			t.Fatalf("%q: two hashes", v)
		}
	}
}
