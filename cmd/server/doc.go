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
//	a full disk, and the log's own room  the node leads no more; without company it waits, and  nothing
//	is used up                           answers 503, status and metrics, until there is room
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
// The last room. When the disk gives no more, the log has what is left of its tail and one spare segment: between a
// half and two segments, each 1/64 of storage.max_bytes, 1 to 64 MiB. Who writes what on a full disk, and what it leaves
// to those below (room.go):
//
//	entry                                bytes each              how often                           leaves of a segment
//	-----                                ----------              ---------                           -------------------
//	batch, kept samples passed on        up to 256 KiB           never while full; a handover        1/2
//	                                                             waits
//	change of source, end of a fence     up to 4 KiB             as above                            1/2
//	books                                up to 64 KiB            what was counted before; then none  1/2
//	operator's wish about a source       up to 5 KiB             by hand                             1/2
//	feature level                        60                      once per version                    1/2
//	dead letters                         up to 256 KiB           up to dead_letter_max_bytes in all  1/4
//	cursor                               250, 2 KiB with many    per 4 MiB delivered, or per minute, 1/16
//	                                     reasons                 once less than 1/2 is left
//	destination, replay, purge           up to 5 KiB             by hand; once per new destination   1/16
//	first entries of a term              96                      per change of leader                1/16
//	change of members                    up to 4 KiB             by hand, or a node is replaced      0
//
// What must not have the room is refused with 503 and tried again by whoever wants it. Between 1/2 and 1/16 there is
// room for the cursors of 400 GiB at 64 MiB per segment, and of 7 GiB at 1 MiB, or for 300 000 changes of leader, and
// 4 700. What cannot wait and has no room costs the node its leadership; see cluster. Outside of the log: term and vote
// in place; snapshots and node.json as in cluster; the spare file of storage.go is given back; nothing else writes.
//
// Decisions:
//
//   - An admin command about the log is passed to the leader once, as it came. A leader that lost its leadership
//     on the way refuses it; the operator asks again. Retrying on its behalf could carry it out twice.
//   - Replicated counters are read from the state at each scrape and not counted a second time, so they are the
//     same on every node by construction.
//   - Ready is more than a leader that is known and a node that is caught up: what remote_write names is registered, and a leader
//     takes writes. Who waits for it, such as a load balancer or a rolling update, wants to write next.
//   - The estimate of when storage is full uses the growth of the backlog and not of the log, which grows and
//     shrinks by whole segments while nothing is wrong.
//   - A build with the tag seams can do without guards, with another clock, and as a later version; tests of the built
//     binary need that. Configuration could not be trusted to leave it alone, so the shipped binary does not have it.
package server
