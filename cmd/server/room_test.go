package server

import (
	"testing"

	"github.com/hashicorp/raft"

	"github.com/highlander-io/highlander/fsm"
)

// Who makes room, or votes, may take more of the last room than who only fills it; every kind of entry has its place.
func TestWhoIsRefusedFirst(t *testing.T) {
	const segment = 16 << 20
	want := map[fsm.Kind]int64{
		fsm.KindBatch: segment / 2, fsm.KindElect: segment / 2, fsm.KindSource: segment / 2, fsm.KindBooks: segment / 2,
		fsm.KindCluster: segment / 2, fsm.KindFenceEnd: segment / 2, fsm.KindDeadLetter: segment / 4,
		fsm.KindCursor: segment / 16, fsm.KindDestination: segment / 16, fsm.KindLetterOp: segment / 16,
	}
	for kind := fsm.KindBatch; ; kind++ {
		entry := []byte{fsm.Version, byte(kind)}
		if _, err := fsm.PeekKind(entry); err != nil {
			if int(kind) != len(want)+1 {
				t.Errorf("%d kinds, want %d", kind-1, len(want))
			}
			break
		}
		if got := leaves(segment, &raft.Log{Data: entry}); got != want[kind] {
			t.Errorf("kind %d leaves %d, want %d", kind, got, want[kind])
		}
	}
	for kind, want := range map[raft.LogType]int64{raft.LogNoop: segment / 16, raft.LogBarrier: segment / 16, raft.LogConfiguration: 0} {
		if got := leaves(segment, &raft.Log{Type: kind}); got != want {
			t.Errorf("raft's %s leaves %d, want %d", kind, got, want)
		}
	}
}
