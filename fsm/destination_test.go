package fsm

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/highlander-io/highlander/fsm/wire"
)

func TestDestinations(t *testing.T) {
	m := ready(t)
	m.send()
	m.must(&DestinationOp{Op: OpRegister, Name: "two", URL: "http://two"})
	m.send()
	if d := m.lts(); d.Registered != 1 || d.Cursor != 1 || d.Backlog.Entries != 2 || d.Accepted != 20 {
		t.Fatalf("first destination: %+v", d)
	}
	if d, _ := m.Destination("two"); d.Registered != 4 || d.Cursor != 4 || d.Backlog.Entries != 1 || d.Accepted != 10 {
		t.Fatalf("a destination starts at its own index: %+v", d)
	}
	m.must(&DestinationOp{Op: OpRegister, Name: "two", URL: "http://new"})
	m.must(&DestinationOp{Op: OpPause, Name: "two"})
	if d, _ := m.Destination("two"); d.URL != "http://new" || d.Cursor != 4 || d.Backlog.Entries != 1 || !d.Paused {
		t.Fatalf("a new URL keeps the cursor: %+v", d)
	}
	m.must(&DestinationOp{Op: OpResume, Name: "two"})
	for _, op := range []string{OpPause, OpResume, OpForget} {
		err, _ := m.apply(&DestinationOp{Op: op, Name: "three"}).(error)
		if !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "want one of: lts, two") {
			t.Fatalf("%s: %v", op, err)
		}
	}
	m.must(&DestinationOp{Op: OpForget, Name: "two"})
	if list := m.Destinations(); len(list) != 1 || list[0].Name != "lts" || list[0].Dropped == nil {
		t.Fatalf("destinations %+v", list)
	}
	for i := range DestinationsMax - 1 {
		m.must(&DestinationOp{Op: OpRegister, Name: fmt.Sprint(i)})
	}
	if err, _ := m.apply(&DestinationOp{Op: OpRegister, Name: "more"}).(error); !errors.Is(err, ErrLimit) {
		t.Fatalf("one too many: %v", err)
	}
}

func TestCursor(t *testing.T) {
	m := ready(t)
	for range 3 { // 3, 4, 5
		m.send()
	}
	refused := func(name string, want error, c Cursor) {
		t.Helper()
		before := m.lts()
		c.Destination = "lts"
		if err, _ := m.apply(&c).(error); !errors.Is(err, want) {
			t.Fatalf("%s: got %v, want %v", name, err, want)
		}
		if fmt.Sprint(m.lts()) != fmt.Sprint(before) {
			t.Fatalf("%s: changed %+v to %+v", name, before, m.lts())
		}
	}
	refused("from elsewhere", ErrCursor, Cursor{From: 2, To: 3})
	refused("nowhere", ErrCursor, Cursor{From: 1, To: 1})
	refused("backwards", ErrCursor, Cursor{From: 1, To: 0})
	refused("to itself", ErrCursor, Cursor{From: 1, To: m.index + 1})
	refused("ahead of the log", ErrCursor, Cursor{From: 1, To: 1 << 40})
	refused("too many entries", ErrBooks, Cursor{From: 1, To: 3, Entries: 4})
	refused("too many samples", ErrBooks, Cursor{From: 1, To: 3, Samples: 31, Delivered: 31})
	refused("too many bytes", ErrBooks, Cursor{From: 1, To: 3, Bytes: 31})
	refused("one sample lost", ErrBooks, Cursor{From: 1, To: 3, Samples: 10, Delivered: 9})
	refused("one sample won", ErrBooks, Cursor{From: 1, To: 3, Samples: 10, Delivered: 11})
	refused("overflow", ErrBooks, Cursor{From: 1, To: 3, Samples: 10, Delivered: 11, DeadLetter: 1<<64 - 1})
	refused("redelivered", ErrBooks, Cursor{From: 1, To: 3, Samples: 10, Delivered: 10, Redelivered: 11})
	if err, _ := m.apply(&Cursor{Destination: "x"}).(error); !errors.Is(err, ErrUnknown) {
		t.Fatalf("unknown destination: %v", err)
	}

	c := Cursor{Destination: "lts", From: 1, To: 4, Entries: 2, Samples: 20, Bytes: 20, Delivered: 10, Redelivered: 4, DeadLetter: 3,
		RelabelDropped: 2, Dropped: map[string]uint64{"too_old": 4, "full": 1, "none": 0}}
	m.must(&c)
	d := m.lts()
	if d.Cursor != 4 || d.Backlog != (Backlog{1, 10, 10}) || d.Delivered != 10 || d.Redelivered != 4 || d.DeadLetter != 3 ||
		d.RelabelDropped != 2 || d.Dropped["too_old"] != 4 || d.Dropped["full"] != 1 || len(d.Dropped) != 2 {
		t.Fatalf("destination %+v", d)
	}
	refused("the same command again", ErrCursor, c)
	audit(t, m.FSM)
}

func letterAt(id string, index uint64, samples uint64) *DeadLetter {
	return &DeadLetter{ID: id, Destination: "lts", Group: prod, Source: "a", Index: index, Protocol: wire.V1, Samples: samples, Status: 400, Answer: "no", Body: []byte(id + "-body")}
}

// lettered is a machine that passed batch 3 with letters x (4 samples) and y (1), and has batch 4 in its backlog.
func lettered(t testing.TB) *machine {
	m := ready(t)
	m.send()
	m.send()
	m.must(letterAt("x", 3, 4))
	m.must(letterAt("x", 3, 4)) // the next leader was refused as well
	m.must(letterAt("y", 3, 1))
	m.must(&Cursor{Destination: "lts", From: 1, To: 3, Entries: 1, Samples: 10, Bytes: 10, Delivered: 5, DeadLetter: 5})
	return m
}

func TestDeadLetters(t *testing.T) {
	m := lettered(t)
	if list := m.DeadLetters(); len(list) != 2 || list[0].ID != "x" || list[1].ID != "y" || list[0].Bytes != 6 || m.DeadLetterBytes() != 12 {
		t.Fatalf("letters %+v, %d bytes", list, m.DeadLetterBytes())
	}
	if l, ok := m.DeadLetter("x"); !ok || string(l.Body) != "x-body" || l.Answer != "no" {
		t.Fatalf("letter %+v", l)
	}
	refused := func(want error, c any) {
		t.Helper()
		if err, _ := m.apply(c).(error); !errors.Is(err, want) {
			t.Fatalf("%+v: got %v, want %v", c, err, want)
		}
	}
	refused(ErrCursor, letterAt("z", 3, 1)) // passed already: no cursor would ever count it
	refused(ErrCursor, letterAt("z", 1<<40, 1))
	refused(ErrUnknown, &DeadLetter{ID: "z", Destination: "x", Index: 4, Protocol: 1})
	refused(ErrUnknown, &LetterOp{Op: OpReplay, ID: "z"})
	refused(ErrUnknown, &LetterOp{Op: OpDelivered, ID: "x"}) // it is not on its way

	books := func(dead, backlog, delivered, purged uint64) {
		t.Helper()
		d := m.lts()
		if d.DeadLetter != dead || d.Backlog.Samples != backlog || d.Delivered != delivered || d.Dropped[DroppedPurged] != purged {
			t.Fatalf("dead %d, backlog %d, delivered %d, purged %d; want %d, %d, %d, %d",
				d.DeadLetter, d.Backlog.Samples, d.Delivered, d.Dropped[DroppedPurged], dead, backlog, delivered, purged)
		}
		audit(t, m.FSM)
	}
	books(5, 10, 5, 0)
	for range 2 {
		m.must(&LetterOp{Op: OpReplay, ID: "x"})
		books(1, 14, 5, 0)
	}
	if r := m.Replaying("lts"); len(r) != 1 || r[0].ID != "x" || len(m.Replaying("other")) != 0 {
		t.Fatalf("replaying %+v", r)
	}
	m.must(&LetterOp{Op: OpRefused, ID: "x", Status: 422, Answer: "still no"})
	books(5, 10, 5, 0)
	if i := m.DeadLetters()[0]; i.Status != 422 || i.Answer != "still no" || i.Replaying {
		t.Fatalf("letter %+v", i)
	}
	m.must(&LetterOp{Op: OpReplay, ID: "x"})
	m.must(&LetterOp{Op: OpDelivered, ID: "x"})
	books(1, 10, 9, 0)
	m.must(&LetterOp{Op: OpReplay, ID: "y"})
	m.must(&LetterOp{Op: OpPurge, ID: "y"}) // gives up what was on its way
	books(0, 10, 9, 1)
	if b := m.lts().Backlog; b != (Backlog{1, 10, 10}) || m.DeadLetterBytes() != 0 {
		t.Fatalf("backlog %+v, %d bytes", b, m.DeadLetterBytes())
	}
}

// A letter that no cursor has passed is not in the books yet: nobody may move its samples.
func TestPurgeLeavesUncountedLetters(t *testing.T) {
	m := lettered(t)
	m.must(letterAt("z", 4, 7))
	for _, op := range []string{OpReplay, OpPurge} {
		if err, _ := m.apply(&LetterOp{Op: op, ID: "z"}).(error); !errors.Is(err, ErrInUse) {
			t.Fatalf("%s: %v", op, err)
		}
	}
	m.must(&LetterOp{Op: OpPurge})
	if list := m.DeadLetters(); len(list) != 1 || list[0].ID != "z" {
		t.Fatalf("letters %+v", list)
	}
	if d := m.lts(); d.DeadLetter != 0 || d.Dropped[DroppedPurged] != 5 {
		t.Fatalf("destination %+v", d)
	}
	audit(t, m.FSM)
}

// The leader died between a letter and its cursor; the next one could deliver the samples after all. The letter is there, but
// no account holds its samples.
func TestOrphanedLetter(t *testing.T) {
	for _, op := range []string{OpPurge, OpReplay} {
		m := ready(t)
		m.send()
		m.must(letterAt("x", 3, 4))
		m.must(&Cursor{Destination: "lts", From: 1, To: 3, Entries: 1, Samples: 10, Bytes: 10, Delivered: 10})
		m.must(&LetterOp{Op: op, ID: "x"})
		audit(t, m.FSM)
		if op == OpReplay {
			m.must(&LetterOp{Op: OpDelivered, ID: "x"})
			audit(t, m.FSM)
		}
		if d := m.lts(); d.Delivered != 10 || d.Backlog != (Backlog{}) || len(m.DeadLetters()) != 0 {
			t.Fatalf("%s: %+v", op, d)
		}
	}
}

func TestForgetDestinationDropsItsLetters(t *testing.T) {
	m := lettered(t)
	m.must(&DestinationOp{Op: OpRegister, Name: "two"})
	two := letterAt("other", m.index+1, 1)
	two.Destination = "two"
	m.send()
	m.must(two)
	m.must(&DestinationOp{Op: OpForget, Name: "lts"})
	if list := m.DeadLetters(); len(list) != 1 || list[0].ID != "other" || m.DeadLetterBytes() != 10 {
		t.Fatalf("letters %+v, %d bytes", list, m.DeadLetterBytes())
	}
}

func TestFloorFollowsTheLowestCursor(t *testing.T) {
	m := newMachine(t)
	want := func(floor uint64) {
		t.Helper()
		if got := m.Floor(); got != floor {
			t.Fatalf("at entry %d: floor %d, want %d", m.index, got, floor)
		}
	}
	want(1) // no destination yet: everything is kept
	m.must(&ClusterOp{UUID: "u"})
	want(1)
	m.must(&DestinationOp{Op: OpRegister, Name: "lts"})
	want(3)
	m.must(&Elect{Group: prod, To: "a", Reason: ReasonFirst})
	m.must(&DestinationOp{Op: OpRegister, Name: "two"})
	m.send(at(1000)) // 5
	m.send(at(1000 + (120 * time.Second).Milliseconds()))
	pass := func(name string, from, to uint64, entries uint64) {
		t.Helper()
		m.must(&Cursor{Destination: name, From: from, To: to, Entries: entries, Samples: 10 * entries, Bytes: 10 * entries, Delivered: 10 * entries})
	}
	want(3)
	pass("two", 4, 6, 2)
	want(3)
	pass("lts", 2, 5, 1)
	want(5)                                               // the margin and its slack begin with entry 5
	m.send(at(1000 + (240 * time.Second).Milliseconds())) // 9
	want(6)                                               // entry 6 is 120 s old, entry 5 is the past
	m.must(&DestinationOp{Op: OpForget, Name: "lts"})
	want(6)
	pass("two", 6, 9, 1)
	want(6)
	m.must(&DestinationOp{Op: OpForget, Name: "two"})
	want(6)
	m.send(at(1000 + (1000 * time.Second).Milliseconds())) // 13, refused
	want(9)                                                // the last one before the margin begins
	m.send(at(1000 + (2000 * time.Second).Milliseconds())) // 14, refused
	want(10)                                               // F6: where the last cursor was
	m.must(&DestinationOp{Op: OpRegister, Name: "three"})
	want(13)
}

func TestFloorKeepsTheMargin(t *testing.T) {
	tests := []struct {
		name    string
		options Options
		step    time.Duration // between batches
		bytes   int           // of a body
		kept    int           // batches at or above the floor, of 1000
	}{
		{"default margin, 90 s and 30 s of slack", Options{}, time.Second, 10, 121},
		{"longer margin", Options{Margin: 5 * time.Minute}, time.Second, 10, 331},
		{"more margin than is remembered", Options{Margin: time.Hour}, time.Second, 10, 931},
		{"rare batches", Options{}, time.Minute, 10, 3},
		{"window", Options{WindowBytes: 32 << 20}, 100 * time.Millisecond, 128 << 10, 255},
		{"everything", Options{}, time.Millisecond, 10, 1000},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := &machine{FSM: New(test.options), t: t}
			m.must(&DestinationOp{Op: OpRegister, Name: "lts"})
			var floor uint64
			for i := range 1000 {
				m.send(unelected, at(int64(i)*test.step.Milliseconds()), size(test.bytes))
				d := m.lts()
				m.must(&Cursor{Destination: "lts", From: d.Cursor, To: m.index, Entries: 1, Samples: 10, Bytes: uint64(test.bytes), Delivered: 10})
				if m.Floor() < floor {
					t.Fatalf("F6: floor went from %d to %d", floor, m.Floor())
				}
				floor = m.Floor()
				if n := len(m.marks.list); n > 3000 {
					t.Fatalf("F8: %d marks", n)
				}
			}
			// Every batch is followed by its cursor.
			last := m.index - 1
			kept := int(last-floor)/2 + 1
			if slack := 9; kept > test.kept || kept < test.kept-slack {
				t.Fatalf("%d batches are kept, want %d or up to %d less", kept, test.kept, slack)
			}
		})
	}
}

// F5: what was refused is known as long as anyone may read it, and no longer.
func TestRefusedAboveTheFloor(t *testing.T) {
	m := ready(t)
	refused := map[uint64]bool{}
	minute := time.Minute.Milliseconds()
	for i := range int64(300) {
		if m.send(from("b"), at(i*minute)) != NotCurrent {
			t.Fatal("not refused")
		}
		refused[m.index] = true
		m.send(at(i * minute))
	}
	check := func() {
		t.Helper()
		for index := m.Floor(); index <= m.index; index++ {
			if v, ok := m.Refused(index); ok != refused[index] || ok && v != NotCurrent {
				t.Fatalf("entry %d: refused %v, verdict %d", index, ok, v)
			}
		}
	}
	check()
	if n := len(m.refused.list); n != 300 {
		t.Fatalf("%d refused are remembered below the cursor, want all", n)
	}
	d := m.lts()
	m.must(&Cursor{Destination: "lts", From: 1, To: m.index, Entries: 300, Samples: d.Backlog.Samples, Bytes: d.Backlog.Bytes, Delivered: d.Backlog.Samples})
	check()
	if n := len(m.refused.list); n > 20 {
		t.Fatalf("%d refused are remembered, want those of the last quarter of an hour", n)
	}
	if n := len(m.refused.list); n < 15 {
		t.Fatalf("%d refused are remembered, a handover may need more", n)
	}
}

func TestHoldsBatches(t *testing.T) {
	m := newMachine(t)
	m.must(&DestinationOp{Op: OpRegister, Name: "lts"})
	if m.HoldsBatches() {
		t.Fatal("it does not")
	}
	m.send(unelected)
	if !m.HoldsBatches() {
		t.Fatal("it does")
	}
}
