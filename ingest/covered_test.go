package ingest

import (
	"net/http"
	"testing"
	"time"

	"github.com/highlander-io/highlander/fsm"
)

// fenced is a leader under which b has just followed a, so that what b sends from before is held back.
func fenced(t *testing.T) *desk {
	d := newDesk(t)
	at := d.clock.Now()
	d.expect(d.post(bodyV1(t, series(at, "__name__", "m")), by("g", "a")), http.StatusNoContent)
	d.expect(d.post(bodyV1(t, series(at, "__name__", "m")), by("g", "b")), http.StatusAccepted)
	d.operateAfterFlush(fsm.OpPromote, "b")
	d.current("g", "b")
	d.flush()
	return d
}

// What the fence holds back is answered 204, and nothing of it reaches the log as a batch. It must be in the books by then:
// a leader that dies after the answer would take the count with it, and the samples would be neither delivered nor counted.
// However often the books cannot be committed, and whether they have been after all, it is counted once.
func TestCoveredIsCountedBeforeItIsAnswered(t *testing.T) {
	for name, fate := range map[string]error{"not committed": errNotCommitted, "committed unheard": errUnheard} {
		t.Run(name, func(t *testing.T) {
			d := fenced(t)
			before, at := d.group("g"), d.clock.Now()
			late := bodyV1(t, series(at.Add(-time.Second), "__name__", "m"))
			mixed := bodyV1(t, series(at.Add(-time.Second), "__name__", "m"), series(at.Add(time.Second), "__name__", "m"),
				series(at, "no", "name"))
			d.node.before = func(entry []byte) error {
				if kind, _ := fsm.PeekKind(entry); kind == fsm.KindBooks {
					return fate
				}
				return nil
			}
			for range 3 {
				d.expect(d.post(late, by("g", "b")), http.StatusServiceUnavailable)
				d.expect(d.post(mixed, by("g", "b")), http.StatusServiceUnavailable)
			}
			d.node.before = nil
			d.expect(d.post(late, by("g", "b")), http.StatusNoContent)
			d.expect(d.post(mixed, by("g", "b")), http.StatusBadRequest) // of which the good ones are taken
			d.flush()
			after := d.group("g")
			if n := after.Books.Covered - before.Books.Covered; n != 2 {
				t.Errorf("%d samples are covered, 2 were", n)
			}
			if n := after.Books.Accepted - before.Books.Accepted; n != 1 || after.Books.Duplicate != 0 {
				t.Errorf("%d samples are accepted, 1 was; %d are duplicate", n, after.Books.Duplicate)
			}
			if n := after.Books.Rejected["missing_name"]; n != 1 {
				t.Errorf("%d samples are rejected, 1 was: %v", n, after.Books.Rejected)
			}
			last := len(after.History) - 1
			if n := after.History[last].Fenced - before.History[last].Fenced; n != 2 {
				t.Errorf("the history tells of %d samples that were held back", n)
			}
			if len(d.lead.owed.ids) != 0 {
				t.Error("what was answered is still remembered")
			}
		})
	}
}

// Requests that never come again do not fill the memory.
func TestOwedIsBounded(t *testing.T) {
	var o owed
	for i := range 3 * owedMax {
		o.enter(fsm.RequestID{byte(i), byte(i >> 8), byte(i >> 16)})
	}
	if n := len(o.ids); n > owedMax {
		t.Errorf("%d requests are remembered", n)
	}
}
