package fsm

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/hashicorp/raft"
)

// stream is a machine whose request memory is full, and entries of one request each to go on with.
func stream(t testing.TB, groups int) (*machine, []*raft.Log) {
	m := newMachine(t)
	m.must(&DestinationOp{Op: OpRegister, Name: "lts"})
	ids := make([]GroupID, groups)
	for i := range ids {
		ids[i] = GroupID{Name: fmt.Sprint("group-", i)}
		m.must(&Elect{Group: ids[i], To: "a", Reason: ReasonFirst})
	}
	for range RequestsMax {
		m.send(unelected)
	}
	logs := make([]*raft.Log, 64)
	for i := range logs {
		b := m.batch(size(40 << 10))
		b.Group, b.Time = ids[i%groups], 5000
		logs[i] = &raft.Log{Type: raft.LogCommand, Data: b.Append(nil)}
	}
	return m, logs
}

// renew gives the entries new indices, request ids and times, as if they were others. The id of a batch in group-N follows its
// names and a one-byte epoch.
func renew(m *machine, logs []*raft.Log) {
	for _, log := range logs {
		m.index++
		log.Index = m.index
		s := scanner{data: log.Data, offset: envelopeBytes}
		for range 3 {
			s.name("name", NameBytesMax)
		}
		s.uvarint()
		binary.LittleEndian.PutUint64(s.take(16), m.index<<8)
	}
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	m, logs := stream(t, 16)
	m.ApplyBatch(logs[:0])
	renew(m, logs)
	m.ApplyBatch(logs)
	if n := testing.AllocsPerRun(100, func() {
		renew(m, logs)
		for _, v := range m.ApplyBatch(logs) {
			if v != Accepted {
				t.Fatalf("verdict %v", v)
			}
		}
	}); n > 0 {
		t.Errorf("ApplyBatch of %d batches: %v allocations", len(logs), n)
	}
	id := GroupID{Name: "group-3"}
	if n := testing.AllocsPerRun(100, func() {
		m.Admits(id, "a", 1, RequestID{1, 2, 3})
		m.AdmitsUnelected(RequestID{1, 2, 3})
		m.Current(id)
		m.Refused(m.index)
		m.Floor()
	}); n > 0 {
		t.Errorf("readers: %v allocations", n)
	}
}

func BenchmarkApplyBatch(b *testing.B) {
	for _, groups := range []int{1, 64} {
		b.Run(fmt.Sprintf("groups=%d", groups), func(b *testing.B) {
			m, logs := stream(b, groups)
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; i < b.N; i += len(logs) {
				renew(m, logs)
				m.ApplyBatch(logs)
			}
		})
	}
}

func BenchmarkAdmits(b *testing.B) {
	m, _ := stream(b, 64)
	id := GroupID{Name: "group-7"}
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			m.Admits(id, "a", 1, RequestID{1, 2, 3})
		}
	})
}

func BenchmarkDecodeBatch(b *testing.B) {
	_, logs := stream(b, 1)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeBatch(logs[0].Data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSnapshot(b *testing.B) {
	for _, groups := range []int{1, 10_000} {
		b.Run(fmt.Sprintf("groups=%d", groups), func(b *testing.B) {
			m, _ := stream(b, groups)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := m.Snapshot(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(snapshotBytes(b, m.FSM))), "bytes")
		})
	}
}
