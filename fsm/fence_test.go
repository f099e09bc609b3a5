package fsm

import (
	"errors"
	"testing"
)

func TestFence(t *testing.T) {
	m := ready(t)
	if m.group().Fence != nil {
		t.Fatal("the first election of a group has nothing to fence off")
	}
	for range 3 {
		m.send(at(1000))
	}
	m.must(&Elect{Group: prod, FromEpoch: 1, To: "b", Reason: ReasonSilence, Time: 2000, Boundary: 1000, FenceFrom: 4})
	if got, want := *m.group().Fence, (Fence{Epoch: 2, From: 4, Index: 6, Boundary: 1000}); got != want {
		t.Fatalf("got %+v, want %+v", got, want)
	}
	// The next change follows while the fence is open: it still needs what the first one needed.
	m.must(&Elect{Group: prod, FromEpoch: 2, To: "c", Reason: ReasonSilence, Time: 3000, Boundary: 1500, FenceFrom: 5})
	if got, want := *m.group().Fence, (Fence{Epoch: 3, From: 4, Index: 7, Boundary: 1500}); got != want {
		t.Fatalf("got %+v, want %+v", got, want)
	}
	if f := restored(t, snapshotBytes(t, m.FSM)); f.Floor() != m.Floor() {
		t.Fatalf("floor %d, after a snapshot %d", m.Floor(), f.Floor())
	}
	if err, _ := m.apply(&FenceEnd{Group: prod, Epoch: 2}).(error); !errors.Is(err, ErrEpoch) {
		t.Fatalf("the end of an earlier fence: %v", err)
	}
	m.must(&FenceEnd{Group: prod, Epoch: 3})
	if m.group().Fence != nil {
		t.Fatal("the fence is still open")
	}
	if err, _ := m.apply(&FenceEnd{Group: prod, Epoch: 3}).(error); !errors.Is(err, ErrEpoch) {
		t.Fatalf("the end of a fence that has ended: %v", err)
	}
}

// An open fence holds the floor however far cursors and clock go on.
func TestFenceHoldsFloor(t *testing.T) {
	m := ready(t)
	m.send(at(1000))
	m.must(&Elect{Group: prod, FromEpoch: 1, To: "b", Reason: ReasonSilence, Time: 2000, Boundary: 1000, FenceFrom: m.WindowStart()})
	for i := range 10 {
		m.send(at(int64(1+i)*100_000), epoch(2), from("b"))
	}
	lts := m.lts()
	m.must(&Cursor{Destination: "lts", To: m.index, From: lts.Cursor, Entries: lts.Backlog.Entries, Samples: lts.Backlog.Samples,
		Bytes: lts.Backlog.Bytes, Delivered: lts.Backlog.Samples})
	if got := m.Floor(); got != 3 {
		t.Fatalf("floor %d, want that of the fence, 3", got)
	}
	m.must(&FenceEnd{Group: prod, Epoch: 2})
	if got := m.Floor(); got <= 4 {
		t.Fatalf("floor %d after the fence has ended", got)
	}
}
