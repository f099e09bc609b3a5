// Package server wires a node: it is the only place where the packages meet.
//
//	data directory ─▶ wal ─▶ fsm ─▶ ingest, egress ─▶ cluster ─▶ web port, admin socket
//
// Open builds in that order and pushes a named cleanup after each step; Run serves; what ends Run undoes the
// steps last in first out. Leadership is a context: while it lasts, lead runs the leader's duties (admission,
// delivery, room in the log, a look at the members) and waits for all of them when it ends.
//
// Invariants:
//
//   - V1: nothing is sent to a destination and no election is held but under lead's context.
//   - V2: an orderly stop refuses new writes first, then finishes those in flight, then commits cursors and
//     books, then gives leadership away. Each step is bounded, so a stop takes less than 3 s whatever hangs.
//   - V3: the web port changes nothing but by writes (and reload, where enabled). Admin commands come over the
//     unix socket, or over the cluster port from a member that was asked there.
//   - V4: a reload takes effect whole or not at all.
//
// Faults. What a user sees of each, and what it costs. "Nothing" is: no acknowledged sample of the current source is missing at
// a destination, each series arrives in order, and the books balance. All of it is tested on the built binary (test/system,
// test/faults, test/handover) or, where a power loss is meant, on a file system that enumerates what can be left of one (wal).
//
//	fault                                what a user sees                                       what is lost
//	-----                                ----------------                                       ------------
//	a source dies, hangs or is cut off   another one within failover_timeout, or twice its      nothing; per series a gap of at most
//	                                     usual interval if that is longer; source history       one scrape interval and the guard
//	a source sends only a part           a warning, source_coverage_ratio; a change after       what only standbys had, until they
//	                                     five minutes if min_coverage says so                   are current
//	a source's clock is ahead            it is not elected for it                               nothing
//	both sources are gone                silence; the first one back goes on                    what nobody scraped
//	a follower dies, hangs, is cut off   unreachable in status; with it gone, no redundancy     nothing
//	the leader dies, hangs, is cut off   503 for a second or two: an election                   nothing; up to 8 MiB or 200 ms of
//	                                                                                            deliveries may come twice
//	a leader is cut off with its sources 503 from it within a second, the rest elects           nothing: it acknowledges nothing
//	two of three nodes are gone          503; destinations wait                                 nothing
//	two of three disks are gone          503 until cluster recover on the last one              what the last one had not stored
//	one disk is gone, or all in turn     the node joins anew under its name                     nothing
//	power fails everywhere               503 until a majority is back                           nothing
//	a disk is full                       503 (reject), or drop_oldest; delivery, votes and      nothing; with drop_oldest the oldest
//	                                     cursors go on with zero bytes left                     of the backlog, counted as dropped
//	a node comes back with a full disk   it follows and votes, and takes no entries until       nothing
//	                                     there is room
//	a disk hangs                         for up to 5 s writes wait; then the process ends, the  nothing
//	                                     rest elects, and a supervisor brings it back
//	a write or an fsync fails, or a      the process ends and says why                          nothing
//	segment cannot be read
//	snapshots cannot be written          a warning; the log is kept for longer                  nothing
//	a byte of any file is wrong          the node does not start, and says which, where and     nothing with three nodes; on a
//	                                     what to do, or does without that file and warns        standalone node what was not delivered
//	a process dies in a write            the torn end of the log is cut off                     nothing: it was not acknowledged
//	a clock is set by an hour            nothing                                                nothing
//	a destination is down, slow, lies    the backlog grows; retried for ever, one at a time     nothing
//	a destination refuses everything     held: status, destination_held, one line in the log    nothing; it goes on when mended
//	a destination refuses a series       dead letters: listed, replayed or purged by hand       that series' refused samples, kept
//	                                                                                            as dead letters
//	a destination dies before answering  it is sent again                                       nothing; samples may come twice
//	nodes run different versions         new formats wait until all support them; one that      nothing
//	                                     is too old for the log refuses to start
//	nodes have different files           the hashes in status differ; a destination that the    nothing
//	                                     leader's file lacks is held
//
// Decisions:
//
//   - An admin command about the log is passed to the leader once, as it came. A leader that lost its leadership
//     on the way refuses it; the operator asks again. Retrying on its behalf could carry it out twice.
//   - Replicated counters are read from the state at each scrape and not counted a second time, so they are the
//     same on every node by construction.
//   - The estimate of when storage is full uses the growth of the backlog and not of the log, which grows and
//     shrinks by whole segments while nothing is wrong.
//   - A build with the tag seams can do without guards, with another clock, and as a later version; tests of the built
//     binary need that. Configuration could not be trusted to leave it alone, so the shipped binary does not have it.
package server
