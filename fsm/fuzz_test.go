package fsm

import (
	"errors"
	"testing"

	"github.com/hashicorp/raft"
)

// FuzzApply applies arbitrary entries to a state that has something of everything. Whatever a log holds, the books balance
// after each entry, a snapshot says the same as the state, and what cannot be decoded changes nothing and stops the node.
func FuzzApply(f *testing.F) {
	base := snapshotBytes(f, goldenState(f).FSM)
	for _, g := range golden {
		f.Add(g.bytes(f), golden[0].bytes(f))
	}
	w := newWalker(3, restored(f, base))
	for range 40 {
		one, err := Encode(w.command())
		two, err2 := Encode(w.command())
		if err = errors.Join(err, err2); err != nil {
			f.Fatal(err)
		}
		f.Add(one, two)
	}
	for _, c := range fitting {
		entry, err := Encode(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(entry, entry)
	}
	f.Fuzz(func(t *testing.T, one, two []byte) {
		m := restored(t, base)
		var stopped error
		m.fatal = func(err error) { stopped = err }
		for _, entry := range [][]byte{one, two} {
			before, index := m.StateHash(), m.Applied()+1
			m.Apply(&raft.Log{Index: index, Type: raft.LogCommand, Data: entry})
			if stopped != nil {
				if m.StateHash() != before || m.Applied() >= index {
					t.Fatalf("F9: %v, and the state has changed", stopped)
				}
				return
			}
			if _, _, err := Decode(entry); err != nil {
				t.Fatalf("F9: applied, but %v", err)
			}
			audit(t, m)
			again := restored(t, snapshotBytes(t, m))
			if again.StateHash() != m.StateHash() || again.Floor() != m.Floor() {
				t.Fatalf("F1: another state after a snapshot, floor %d and %d", m.Floor(), again.Floor())
			}
		}
	})
}

// fitting are commands that goldenState takes, so that mutations begin where something is changed.
var fitting = []any{
	&Elect{Group: prod, FromEpoch: 2, To: "a", Reason: ReasonPin, Time: 5000, Boundary: 4000, FenceFrom: 7},
	&FenceEnd{Group: prod, Epoch: 2, Time: 5000},
	&SourceOp{Op: OpForget, Group: prod, Source: "b"},
	&SourceOp{Op: OpUnpin, Group: prod},
	&DestinationOp{Op: OpForget, Name: "lts"},
	&Cursor{Destination: "two", From: 13, To: 14},
	&LetterOp{Op: OpDelivered, ID: "x"},
	&LetterOp{Op: OpRefused, ID: "x", Status: 400, Answer: "no"},
	&LetterOp{Op: OpPurge},
	&Books{Origin: "n1/1", Seq: 4, Groups: []GroupBooks{{Group: prod, Standby: map[string]StandbyBooks{"b": {Kept: -1, KeptBytes: -10, Used: 1, UsedBytes: 10}}}}},
}
