package wal

import (
	"math/rand/v2"
	"testing"

	"github.com/hashicorp/raft"
)

// The cache never holds more than its bound, holds only the newest entries, and holds as many as fit.
func TestTailIsBounded(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	const most = 20000
	c := newTail(most)
	next, low := uint64(1), uint64(1) // entries [low, next) were put and not truncated
	for range 20000 {
		if rng.IntN(50) == 0 && next > low {
			next -= rng.Uint64N(next - low)
			c.truncate(next)
		}
		if rng.IntN(500) == 0 {
			next += 100
			low = next
		}
		c.put(&raft.Log{Index: next, Data: make([]byte, rng.IntN(3000))})
		next++
		var bytes int64
		held := 0
		for i := range c.slots {
			if l := c.slots[i].Load(); l != nil {
				bytes += cost(l)
				held++
				if l.Index < low || l.Index >= next {
					t.Fatalf("holds %d, but only %d..%d exist", l.Index, low, next-1)
				}
			}
		}
		if bytes > most || bytes != c.bytes || uint64(held) != c.next-c.low {
			t.Fatalf("%d entries of %d bytes held; counted %d entries, %d bytes", held, bytes, c.next-c.low, c.bytes)
		}
		if c.get(next-1) == nil {
			t.Fatalf("the newest entry is not held")
		}
	}
}

func TestTailRefusesWhatDoesNotFit(t *testing.T) {
	c := newTail(1000)
	c.put(&raft.Log{Index: 1})
	c.put(&raft.Log{Index: 2, Data: make([]byte, 2000)})
	if c.get(1) != nil || c.get(2) != nil || c.bytes != 0 {
		t.Errorf("an entry larger than the cache: %v, %v, %d bytes", c.get(1), c.get(2), c.bytes)
	}
	c.put(&raft.Log{Index: 3})
	if c.get(3) == nil {
		t.Error("the next one is not held")
	}
}

// Old entries that are read do not push out new ones.
func TestReadsDoNotFillTheCache(t *testing.T) {
	o := inPlace(newMemFS())
	o.CacheBytes = 5000
	w := mustOpen(t, o)
	defer mustClose(t, w)
	for index := uint64(1); index <= 50; index++ {
		if err := w.StoreLog(&raft.Log{Index: index, Data: make([]byte, 1000)}); err != nil {
			t.Fatal(err)
		}
	}
	for index := uint64(1); index <= 50; index++ {
		if err := w.GetLog(index, new(raft.Log)); err != nil {
			t.Fatal(err)
		}
	}
	for index := uint64(1); index <= 50; index++ {
		if held := w.cache.get(index) != nil; held != (index > 46) {
			t.Errorf("entry %d: held %v", index, held)
		}
	}
}

// A cut takes from the cache what it cuts off, and no more.
func TestCutKeepsTheCache(t *testing.T) {
	o := inPlace(newMemFS())
	o.CacheBytes = 1 << 20
	w := mustOpen(t, o)
	defer mustClose(t, w)
	for _, st := range []step{{store: entries(1, 9)}, {low: 6, high: 9}} {
		if err := st.run(w); err != nil {
			t.Fatal(err)
		}
	}
	if w.cache.get(6) != nil {
		t.Error("6 is cut off, but held")
	}
	if err := w.StoreLogs(entries(6, 7)); err != nil {
		t.Fatal(err)
	}
	for index := uint64(1); index <= 7; index++ {
		if w.cache.get(index) == nil {
			t.Errorf("%d is not held any more", index)
		}
	}
}

// What was stored is handed out as it came, without a copy.
func TestCacheKeepsThePointer(t *testing.T) {
	o := inPlace(newMemFS())
	o.CacheBytes = 1 << 20
	w := mustOpen(t, o)
	defer mustClose(t, w)
	data := []byte("batch")
	if err := w.StoreLog(&raft.Log{Index: 1, Data: data}); err != nil {
		t.Fatal(err)
	}
	var l raft.Log
	if err := w.GetLog(1, &l); err != nil || &l.Data[0] != &data[0] {
		t.Errorf("copied, or %v", err)
	}
	if e, err := w.Reader(1).Next(1); err != nil || &e.Data[0] != &data[0] {
		t.Errorf("reader: copied, or %v", err)
	}
}
