// Package handover tests changes of source with real Prometheus pairs: the current server is killed, stopped, cut off or
// outweighed, and what arrives behind one or three nodes is counted sample by sample.
//
// Every case has the same shape: a rig of nodes, a target, two servers that scrape it every second, and two destinations.
// One is the fake LTS of package harness, which says what arrived and in which order; the other is Prometheus' own
// receiver over a TSDB without an out-of-order window, which refuses whatever is not newer than what it has. When all
// has come to rest, count turns what arrived into figures: largest gap, repetitions, false resets, what was out of order.
//
// Two cases have numbered sources of package harness instead, one fake LTS, and three nodes between which the way can be slow:
// nodes die in the middle of passing on what is kept, or soon after a copy of it went. There every answer is known, so what
// arrived is held against what was answered 2xx, and what the history tells against what the log shows.
//
// Invariants:
//
//	V1 gap      nothing is missing that the server of a turn has scraped, but what is within the guard above the end of the
//	            turn before: so no series has a hole of more than the guard and what that server itself took between scrapes
//	V2 once     no timestamp of a series comes with two values; none comes twice, but after a change of leader
//	V3 order    the timestamps of a series grow at first delivery
//	V4 counter  no counter decreases at first delivery; between two servers' samples there is the guard
//	V5 refused  the receiver has refused nothing, and holds as many samples as the LTS
//	V6 kept     what a source was answered 2xx for after the end of the turn before its own has arrived, whoever died
//	V7 told     the history tells each change once, with the kept samples used and the largest gap that there were
//
// Decisions: all counters of the target show one truth, its clock, whoever scrapes, so a server that runs behind
// another one shows as a decrease; the last four bits tell who scraped. Several changes in a row share a rig, so that each
// but the first happens behind an open fence. Scenarios run one at a time.
//
// A machine that stands still for seconds does to this what faults do: servers do not scrape, leaders change, sources fall
// silent. None of it fails a test, and none of it is guessed. That a server did not scrape is in its own database, and is said
// where a gap is larger than a scrape, the guard and the phase between two servers. That the leader has changed by itself is in
// the term, and only then a tail may come twice. That the target answered late is in the answer. And sources fall silent only
// when they are to: the failover timeout is short while a change is due, and long at all other times. Rejected: a bound on the
// gap alone, which a slow machine breaks and which does not notice the loss of one scrape.
package handover
