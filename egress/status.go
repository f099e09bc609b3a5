package egress

import (
	"log/slog"
	"sync"
	"time"
)

// The states of a destination.
const (
	Up       = "up"
	Retrying = "retrying" // the last attempt failed; the same request is tried again
	Held     = "held"     // nothing is sent but probes until somebody or something is put right
	Paused   = "paused"   // by an operator, and what was in flight then has ended
)

// Status is what this node knows about a destination. State and Error are the leader's knowledge: on other
// nodes State says only whether the destination is paused or missing in the file.
type Status struct {
	Name       string
	URL        string // without credentials
	State      string
	Error      string        // why it is not up
	Since      time.Time     // of State
	Oldest     time.Duration // age of the oldest batch of the backlog; zero if there is none
	Configured bool          // in this node's file
	Leading    bool          // State and Error are first-hand
}

// logAfter is the number of failures in a row after which a streak is worth a line in the log.
const logAfter = 3

// display is the state of one drain as Status shows it. Changes of state are logged once; a streak of
// failures at its third, so that an endpoint that drops single requests does not fill the log.
type display struct {
	log *slog.Logger
	now func() time.Time

	mu     sync.Mutex
	state  string
	err    string
	since  time.Time
	streak int // failures since it was last up

	loggedRetry, loggedHeld bool // in this streak
}

func newDisplay(log *slog.Logger, now func() time.Time) *display {
	return &display{log: log, now: now, state: Up, since: now()}
}

func (d *display) up() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.state == Up {
		return
	}
	if d.loggedRetry || d.loggedHeld {
		d.log.Info("destination is up again", "failures", d.streak)
	}
	d.begin(Up)
}

func (d *display) retrying(err string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.streak++
	d.change(Retrying, err)
	if d.streak >= logAfter && !d.loggedRetry && !d.loggedHeld {
		d.loggedRetry = true
		d.log.Warn("destination fails, retrying", "err", err)
	}
}

func (d *display) held(err string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.streak++
	d.change(Held, err)
	if !d.loggedHeld {
		d.loggedHeld = true
		d.log.Error("destination is held: nothing is lost, the backlog grows", "err", err)
	}
}

func (d *display) paused() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.state != Paused {
		d.log.Info("destination is paused")
	}
	d.begin(Paused)
}

// begin enters a state in which the last streak of failures is over. It needs the lock.
func (d *display) begin(s string) {
	d.change(s, "")
	d.streak, d.loggedRetry, d.loggedHeld = 0, false, false
}

// change needs the lock.
func (d *display) change(s, err string) {
	if d.state != s {
		d.since = d.now()
	}
	d.state, d.err = s, err
}

func (d *display) get() (state, err string, since time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.state, d.err, d.since
}
