package wal

import (
	"fmt"
	"testing"

	"github.com/hashicorp/raft"
)

func benchLogs(n, size int) []*raft.Log {
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(i * 7)
	}
	logs := make([]*raft.Log, n)
	for i := range logs {
		logs[i] = &raft.Log{Term: 1, Data: data}
	}
	return logs
}

// BenchmarkAppend stores group commits with a fdatasync each. The log is compacted along the way, as in
// a steady state: segments are recycled.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{10 << 10, 40 << 10} {
		for _, n := range []int{1, 8, 64} {
			b.Run(fmt.Sprintf("%dKB/%d", size>>10, n), func(b *testing.B) {
				w := mustOpen(b, Options{Dir: b.TempDir()})
				defer mustClose(b, w)
				store(b, w, n, size, true)
			})
		}
	}
}

// BenchmarkAppendRetained is the same while nothing is drained: every segment is new.
func BenchmarkAppendRetained(b *testing.B) {
	w := mustOpen(b, Options{Dir: b.TempDir()})
	defer mustClose(b, w)
	store(b, w, 8, 40<<10, false)
}

func store(b *testing.B, w *WAL, n, size int, compact bool) {
	b.Helper()
	logs := benchLogs(n, size)
	keep := uint64(128<<20) / uint64(size)
	b.SetBytes(int64(n * size))
	b.ReportAllocs()
	next, compacted := uint64(1), uint64(0)
	for b.Loop() {
		fresh := make([]raft.Log, n) // raft's own: the cache keeps the pointers
		for i, l := range logs {
			fresh[i] = *l
			fresh[i].Index = next
			logs[i] = &fresh[i]
			next++
		}
		if err := w.StoreLogs(logs); err != nil {
			b.Fatal(err)
		}
		if compact && next-compacted > 2*keep {
			compacted = next - keep
			if err := w.DeleteRange(1, compacted); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkRead reads entries of 10 KB one after another: from the cache, through a Reader's buffer, and
// through GetLog from disk.
func BenchmarkRead(b *testing.B) {
	const size, count = 10 << 10, 10000
	for _, bm := range []struct {
		name  string
		cache int64
		get   bool
	}{{"hot", 256 << 20, false}, {"cold", -1, false}, {"get-cold", -1, true}} {
		b.Run(bm.name, func(b *testing.B) {
			w := mustOpen(b, Options{Dir: b.TempDir(), CacheBytes: bm.cache})
			defer mustClose(b, w)
			for from := uint64(1); from <= count; from += 100 {
				logs := benchLogs(100, size)
				for i, l := range logs {
					l.Index = from + uint64(i)
				}
				if err := w.StoreLogs(logs); err != nil {
					b.Fatal(err)
				}
			}
			b.SetBytes(size)
			b.ReportAllocs()
			r := w.Reader(1)
			defer func() { r.Close() }()
			next := uint64(0)
			var l raft.Log
			for b.Loop() {
				if next++; next > count {
					next = 1
					r.Close()
					r = w.Reader(1)
				}
				var err error
				if bm.get {
					err = w.GetLog(next, &l)
				} else {
					_, err = r.Next(count)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkOpen opens a log of 32 sealed segments (2 GB) and a half full tail.
func BenchmarkOpen(b *testing.B) {
	o := Options{Dir: b.TempDir()}
	w := mustOpen(b, o)
	logs := benchLogs(64, 128<<10)
	next := uint64(1)
	for w.Info().Segments < 33 || w.Info().Bytes%(64<<20) < 32<<20 {
		for _, l := range logs {
			l.Index = next
			next++
		}
		if err := w.StoreLogs(logs); err != nil {
			b.Fatal(err)
		}
		w.cache.clear()
		for i, l := range logs {
			fresh := *l
			logs[i] = &fresh
		}
	}
	mustClose(b, w)
	for b.Loop() {
		mustClose(b, mustOpen(b, o))
	}
}

func BenchmarkEncode(b *testing.B) {
	logs := benchLogs(8, 40<<10)
	var buffer []byte
	b.SetBytes(8 * 40 << 10)
	b.ReportAllocs()
	for b.Loop() {
		buffer = buffer[:0]
		for _, l := range logs {
			l.Index = 1
			buffer = appendFrame(buffer, 1, 1, true, l)
		}
	}
}
