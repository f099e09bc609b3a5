package history

import (
	"sync"
	"time"
)

// beginning is where the clock of all records begins: what one of them says of a time can be held against what another says.
var beginning = time.Now()

func now() time.Duration { return time.Since(beginning) }

// Sample is one sample as it was sent or received. Series is a canonical text of its labels without those
// that name a replica; Time is Unix milliseconds.
type Sample struct {
	Series string
	Time   int64
	Value  float64
}

// Request is one write request of a source with every answer it got; an attempt without an answer counts as
// status 0. A request without answers was in flight when the history ended.
type Request struct {
	Source  string
	Samples []Sample
	Answers []int
	// Began is when it was first sent, Ended when it got its last answer, on the clock of Calls.
	Began, Ended time.Duration
}

// History is what happened: requests in the order they were first sent, and what the LTS received in the order
// it took it.
type History struct {
	Requests []Request
	Received []Sample
}

// Log records a History. Its methods may be called at once.
type Log struct {
	mu       sync.Mutex
	requests []Request
	received []Sample
}

// Sent is a request whose answers are still to come.
type Sent struct {
	log   *Log
	index int
}

// Send records that a source begins to send a request. The log keeps samples.
func (l *Log) Send(source string, samples []Sample) Sent {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests = append(l.requests, Request{Source: source, Samples: samples, Began: now()})
	return Sent{l, len(l.requests) - 1}
}

// Answered records the answer to one attempt, 0 for none.
func (s Sent) Answered(status int) {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	r := &s.log.requests[s.index]
	r.Answers = append(r.Answers, status)
	r.Ended = now()
}

// Receive records what the LTS took with one request.
func (l *Log) Receive(samples []Sample) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.received = append(l.received, samples...)
}

// ReceivedCount says how many samples the LTS has taken so far, repetitions included.
func (l *Log) ReceivedCount() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.received)
}

// History returns what was recorded so far.
func (l *Log) History() History {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := History{
		Requests: make([]Request, len(l.requests)),
		Received: append([]Sample(nil), l.received...),
	}
	for i, r := range l.requests {
		r.Answers = append([]int(nil), r.Answers...)
		h.Requests[i] = r
	}
	return h
}

// outcome is what the answers to a request prove about it.
type outcome uint8

const (
	uncertain outcome = iota // may or may not be at the LTS
	standby                  // every answer was 202
	accepted                 // must be at the LTS
)

func (r Request) outcome() outcome {
	losing := len(r.Answers) > 0
	for _, status := range r.Answers {
		switch status {
		case 200, 204:
			return accepted
		case 202:
		default:
			losing = false
		}
	}
	if losing {
		return standby
	}
	return uncertain
}

// AcceptedCount is the number of distinct samples that were answered 200 or 204.
func (h History) AcceptedCount() int {
	seen := map[Sample]bool{}
	for _, r := range h.Requests {
		if r.outcome() != accepted {
			continue
		}
		for _, s := range r.Samples {
			seen[s] = true
		}
	}
	return len(seen)
}
