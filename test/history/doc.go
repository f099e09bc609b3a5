// Package history records what sources sent, what they were answered and what long-term storage received, and
// checks afterwards that the three fit together; and what operators asked and were shown, and checks that it is
// linearizable.
//
// Flow: fake sources and a fake LTS (package harness) write into one Log while faults are injected; when
// everything has come to rest, Check reads the recorded History and names every violation. Check is pure: the
// same history gives the same answer, and its own tests plant each violation in a clean history and expect to
// find exactly that one.
//
// Invariants that Check looks for:
//
//	H1 lost        every sample of a request that was answered 200 or 204 is at the LTS
//	H2 invented    nothing is at the LTS that nobody sent
//	H3 loser       nothing is at the LTS of which every answer was 202
//	H4 order       per series, timestamps grow strictly at first delivery
//	H5 repeated    no sample arrives twice
//	H6 two sources one timestamp of a series comes from one source
//	H7 decreased   the value of a series does not fall at first delivery
//
// Linear does the same with a Record of Calls, commands about the sources of a group and reads of its status on any
// node (calls.go): there must be one order of all events, changes of source included, that explains every answer.
//
//	H8 turns  each epoch has one current source, on every node, and continues the one before
//	H9 linear each call happens at one instant between question and answer: nothing acknowledged is undone, no read shows
//	          an earlier state unless it is marked stale, and then one that once was
//
// Both together decide H1 where sources change: what a fence holds back is answered 204 and does not arrive. Fenced (fence.go)
// tells of each single sample whether a fence can have held it back, from the turns in which it can have been answered and what
// earlier turns can have delivered. The books, which only count, cannot tell a lost sample from one held back.
//
// Which of them a scenario must keep is in Rules: after a change of leader a bounded tail may be sent again
// (H5 does not hold), and where standby samples fill a gap H3 does not.
//
// Decisions: a sample is known by series, time and value, and sources give different values to the same series
// and time, so the history needs no sequence of its own and the LTS nothing but what the protocol carries.
// Changes of source happen by themselves, so they are events of which only the effect is known; reads bound when, the
// rest is Porcupine's to search.
// Recording whole requests with all their answers was preferred to recording an outcome per sample: what is
// uncertain (5xx, no answer) and what is certain can then be told apart by the checker instead of by whoever records.
package history
