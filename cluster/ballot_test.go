package cluster

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func ballotIn(t *testing.T, dir string) *ballot {
	t.Helper()
	b, mended, err := openBallot(filepath.Join(dir, ballotFile))
	if err != nil || mended {
		t.Fatalf("mended %v, %v", mended, err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func TestBallotKeepsItsValues(t *testing.T) {
	dir := t.TempDir()
	if err := createBallot(filepath.Join(dir, ballotFile), nil); err != nil {
		t.Fatal(err)
	}
	b := ballotIn(t, dir)
	if _, err := b.GetUint64(currentTermKey); err == nil || err.Error() != "not found" {
		t.Errorf("raft compares the text: %v", err)
	}
	if err := errors.Join(b.SetUint64(currentTermKey, 7), b.Set(lastVoteCandKey, []byte("n2")), b.SetUint64(currentTermKey, 8)); err != nil {
		t.Fatal(err)
	}
	again := ballotIn(t, dir)
	term, err := again.GetUint64(currentTermKey)
	candidate, err2 := again.Get(lastVoteCandKey)
	if term != 8 || string(candidate) != "n2" || err != nil || err2 != nil {
		t.Errorf("term %d for %q, %v, %v", term, candidate, err, err2)
	}
	if err := again.Set(lastVoteCandKey, make([]byte, ballotBlock)); err == nil {
		t.Error("more than a block was taken")
	}
}

// Whichever byte is damaged, wherever the file is cut or its second block is torn: what was acknowledged is there, or the
// file is refused.
func TestBallotDamage(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, ballotFile)
	if err := createBallot(path, nil); err != nil {
		t.Fatal(err)
	}
	b := ballotIn(t, dir)
	if err := b.SetUint64(currentTermKey, 7); err != nil {
		t.Fatal(err)
	}
	want := maps.Clone(b.values)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	try := func(what string, at int, data []byte, refused bool) {
		t.Helper()
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		b, mended, err := openBallot(path)
		if refused {
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("%s at %d: %v", what, at, err)
			}
			return
		}
		if err != nil || !mended {
			t.Fatalf("%s at %d: mended %v, %v", what, at, mended, err)
		}
		if !maps.EqualFunc(b.values, want, bytes.Equal) {
			t.Errorf("%s at %d: %v, want %v", what, at, b.values, want)
		}
		b.Close()
		if now, _ := os.ReadFile(path); !bytes.Equal(now, whole) {
			t.Errorf("%s at %d: not mended", what, at)
		}
	}
	for at := 0; at < len(whole); at += 5 {
		flipped := bytes.Clone(whole)
		flipped[at] ^= 0x10
		try("flip", at, flipped, false)
		try("cut", at, whole[:at], at < ballotBlock)
		both := bytes.Clone(flipped)
		both[(at+ballotBlock)%len(both)] ^= 1
		try("both", at, both, true)
	}
}

// A change that was torn by a crash is the old one or the new one.
func TestBallotTorn(t *testing.T) {
	old, err := encodeBallot(1, map[string][]byte{"k": []byte("old")})
	if err != nil {
		t.Fatal(err)
	}
	next, err := encodeBallot(2, map[string][]byte{"k": []byte("new")})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), ballotFile)
	torn := func(n int) []byte { return append(bytes.Clone(next[:n]), old[n:]...) }
	for n := 0; n <= ballotBlock; n += 7 {
		for _, image := range [][]byte{append(torn(n), old...), append(bytes.Clone(next), torn(n)...)} {
			if err := os.WriteFile(path, image, 0o600); err != nil {
				t.Fatal(err)
			}
			b, _, err := openBallot(path)
			if err != nil {
				t.Fatalf("torn at %d: %v", n, err)
			}
			if got := string(b.values["k"]); got != "old" && got != "new" || bytes.Equal(image[:ballotBlock], next) && got != "new" {
				t.Errorf("torn at %d: %q", n, got)
			}
			b.Close()
		}
	}
}

// What an earlier build kept in bolt is taken over once, and the old file never looked at again.
func TestBallotIsAdopted(t *testing.T) {
	dir := t.TempDir()
	old, path := filepath.Join(dir, stableFile), filepath.Join(dir, ballotFile)
	write := func(term uint64) {
		store, err := openBolt(old)
		if err != nil {
			t.Fatal(err)
		}
		err = errors.Join(store.SetUint64(currentTermKey, term), store.SetUint64(lastVoteTermKey, term), store.Set(lastVoteCandKey, []byte("n2")), store.Set(clusterKey, []byte("c")), store.Close())
		if err != nil {
			t.Fatal(err)
		}
	}
	write(9)
	if err := adoptBallot(dir); err != nil {
		t.Fatal(err)
	}
	b := ballotIn(t, dir)
	term, err := b.GetUint64(currentTermKey)
	vote, err2 := b.GetUint64(lastVoteTermKey)
	candidate, err3 := b.Get(lastVoteCandKey)
	cluster, err4 := b.Get(clusterKey)
	if err := errors.Join(err, err2, err3, err4); err != nil || term != 9 || vote != 9 || string(candidate) != "n2" || string(cluster) != "c" {
		t.Errorf("term %d, vote %d for %q in %q: %v", term, vote, candidate, cluster, err)
	}
	write(3) // as if the crash had come before its removal
	if err := adoptBallot(dir); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(path), adoptBallot(dir)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a stale store has been adopted")
	}
}

func TestBallotOfANewerVersion(t *testing.T) {
	block, err := encodeBallot(1, nil)
	if err != nil {
		t.Fatal(err)
	}
	block[len(ballotMagic)+1] = 9
	block[ballotHeader-4], block[ballotHeader-3], block[ballotHeader-2], block[ballotHeader-1] = 0, 0, 0, 0
	sum := ballotSum(block)
	block[ballotHeader-4], block[ballotHeader-3], block[ballotHeader-2], block[ballotHeader-1] = byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum)
	path := filepath.Join(t.TempDir(), ballotFile)
	if err := os.WriteFile(path, append(block, block...), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := openBallot(path); err == nil || !strings.Contains(err.Error(), "version 9") {
		t.Errorf("error %v", err)
	}
}

// An earlier build that ran in between has voted in its own store: those votes are not forgotten.
func TestBallotAdoptAfterRollback(t *testing.T) {
	dir := t.TempDir()
	// a node of this build that has joined nothing yet
	if err := createBallot(filepath.Join(dir, ballotFile), map[string][]byte{string(clusterKey): []byte("c")}); err != nil {
		t.Fatal(err)
	}
	// rolled back: the earlier build knows nothing of it, joins, votes
	store, err := openBolt(filepath.Join(dir, stableFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(store.Set(clusterKey, []byte("c")), store.SetUint64(currentTermKey, 9), store.SetUint64(lastVoteTermKey, 9),
		store.Set(lastVoteCandKey, []byte("n2")), store.Close()); err != nil {
		t.Fatal(err)
	}
	// and forward again
	if err := adoptBallot(dir); err != nil {
		t.Fatal(err)
	}
	b := ballotIn(t, dir)
	if term, err := b.GetUint64(currentTermKey); err != nil || term != 9 {
		t.Errorf("term %d, %v: term and vote were taken back", term, err)
	}
}
