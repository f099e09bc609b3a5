// Package handover tests changes of source with real Prometheus pairs: the current server is killed, stopped, cut off or
// outweighed, and what arrives behind one or three nodes is counted sample by sample.
//
// Every case has the same shape: a rig of nodes, a target, two servers that scrape it every second, and two destinations.
// One is the fake LTS of package harness, which says what arrived and in which order; the other is Prometheus' own
// receiver over a TSDB without an out-of-order window, which refuses whatever is not newer than what it has. When all
// has come to rest, count turns what arrived into figures: largest gap, repetitions, false resets, what was out of order.
//
// Invariants:
//
//	V1 gap      no series has a hole of more than the scrape interval, the guard and the phase between the servers
//	V2 once     no timestamp of a series comes with two values; none comes twice, but after a change of leader
//	V3 order    the timestamps of a series grow at first delivery
//	V4 counter  no counter decreases at first delivery
//	V5 refused  the receiver has refused nothing, and holds as many samples as the LTS
//
// Decisions: all counters of the target show one truth, its clock, whoever scrapes, so a server that runs behind
// another one shows as a decrease; the last four bits tell who scraped. Several changes in a row share a rig, so that each
// but the first happens behind an open fence. Scenarios run one at a time: a machine that is too slow to scrape every
// second would show holes that are nobody's fault.
package handover
