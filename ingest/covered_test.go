package ingest

import (
	"net/http"
	"testing"
	"time"

	"github.com/highlander-io/highlander/fsm"
)

// What the fence holds back is answered 204, and nothing of it reaches the log as a batch. It must be in the books by then:
// a leader that dies after the answer would take the count with it, and the samples would be neither delivered nor counted.
func TestCoveredIsCountedBeforeItIsAnswered(t *testing.T) {
	d := newDesk(t)
	at := d.clock.Now()
	d.expect(d.post(bodyV1(t, series(at, "__name__", "m")), by("g", "a")), http.StatusNoContent)
	d.expect(d.post(bodyV1(t, series(at, "__name__", "m")), by("g", "b")), http.StatusAccepted)
	d.operateAfterFlush(fsm.OpPromote, "b")
	d.current("g", "b")
	before := d.group("g").Books

	late := bodyV1(t, series(at.Add(-time.Second), "__name__", "m"))
	d.node.before = func(entry []byte) error {
		if kind, _ := fsm.PeekKind(entry); kind == fsm.KindBooks {
			return errNotCommitted
		}
		return nil
	}
	d.expect(d.post(late, by("g", "b")), http.StatusServiceUnavailable)
	d.node.before = nil
	d.expect(d.post(late, by("g", "b")), http.StatusNoContent)
	after := d.group("g").Books
	if after.Covered <= before.Covered || after.Accepted != before.Accepted {
		t.Errorf("books %+v, before the answer %+v: the covered sample is not counted", after, before)
	}
}
