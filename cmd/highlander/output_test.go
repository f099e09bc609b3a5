package main

import (
	"bytes"
	"testing"
	"time"
)

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain": "plain", "ünïcode 日本": "ünïcode 日本", "a\nb": `"a\nb"`, "\x1b[2J": `"\x1b[2J"`, "\xff": `"\xff"`, "\u202egnp": `"\u202egnp"`, "": "",
	} {
		if got := printable(in); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
}

func TestTable(t *testing.T) {
	table := newTable("NAME", ">N", "NOTE")
	table.add("ü", "1")
	table.add("longer", "100", "x")
	var out bytes.Buffer
	table.write(&out)
	if want := "NAME      N  NOTE\nü         1  -\nlonger  100  x\n"; out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

func TestTexts(t *testing.T) {
	for n, want := range map[float64]string{0: "0B", 1023: "1023B", 1024: "1.0KiB", 12345678: "11.8MiB", 1 << 40: "1.0TiB"} {
		if got := sizeText(n); got != want {
			t.Errorf("size %v: got %s, want %s", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0ms", 350 * time.Millisecond: "350ms", 90 * time.Second: "90s", 5 * time.Minute: "5m", 3 * time.Hour: "3h", 72 * time.Hour: "3d", -time.Second: "-1s",
	} {
		if got := durationText(d); got != want {
			t.Errorf("duration %v: got %s, want %s", d, got, want)
		}
	}
}
