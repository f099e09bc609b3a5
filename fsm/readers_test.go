package fsm

import (
	"sync"
	"testing"

	"github.com/hashicorp/raft"
)

// Readers may come at any time from anywhere; what they get is theirs.
func TestReaders(t *testing.T) {
	f := New(Options{})
	w := newWalker(3, f)
	var logs []*raft.Log
	shadow := New(Options{})
	w.f = shadow
	for range 600 {
		entry, err := Encode(w.command())
		if err != nil {
			t.Fatal(err)
		}
		log := &raft.Log{Index: w.index, Type: raft.LogCommand, Data: entry}
		shadow.Apply(log)
		logs = append(logs, log)
	}
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				case <-f.Changed():
				}
				read(f)
			}
		})
	}
	for len(logs) > 0 {
		n := min(7, len(logs))
		f.ApplyBatch(logs[:n])
		logs = logs[n:]
	}
	close(done)
	readers.Wait()
	if f.StateHash() != shadow.StateHash() {
		t.Fatal("reading changed the state")
	}
}

// read uses every reader and writes to what it gets.
func read(f *FSM) {
	for _, g := range f.Groups() {
		clear(g.Books.Rejected)
		clear(g.Sources)
		clear(g.History)
		f.Current(g.ID)
		f.Group(g.ID)
		f.Admits(g.ID, g.Current, g.Epoch, RequestID{})
	}
	for _, d := range f.Destinations() {
		clear(d.Dropped)
		f.Destination(d.Name)
		f.Replaying(d.Name)
	}
	for _, l := range f.DeadLetters() {
		f.DeadLetter(l.ID)
	}
	f.DeadLetterBytes()
	f.AdmitsUnelected(RequestID{1})
	f.Refused(f.Floor())
	f.HoldsBatches()
	f.ClusterUUID()
	f.FeatureLevel()
	f.StateHash()
	f.Applied()
}
