// Package ingest takes remote writes: it finds out whose they are, lets the current source of each group through to the
// log, and answers.
//
//	handler.go   take: method, media type, name, gate, body (limit.go), then one of
//	               follower: forward.go, one hop to the leader
//	               leader:   admit.go, top to bottom:
//	                 standby by name ─▶ standby.go ─▶ keep.go ─▶ 202, the body stays closed
//	                 open ─▶ standby by labels ─▶ keep.go ─▶ 202, scanned for identities only
//	                 scan (fsm/wire) ─▶ split.go, one claim per source ─▶ cover.go ─▶ commit.go ─▶ 204
//	               respond.go: the only table from outcome to status
//	lead.go      while this node leads: asks the rule (elect.go), commits the books (books.go), forgets the silent
//	source.go    what the leader has seen of each source; pace.go, line.go and order.go measure it
//
// A change of source is a handover (handover.go):
//
//	keep.go      standbys' bodies go into the window (kept.go, counted by keptbook.go) and, copies.go, into that of
//	             another node; they leave it when the slowest pace of the current source has passed them by the margin
//	elect.go     the change is proposed, with a handover in front of the new source's live requests: they wait
//	fence.go     one pass over the log gives, per series, up to where it was delivered
//	pass.go      what is kept of the new source goes through the fence into the log, several at once but never two that
//	             share a series (passage.go), so each series keeps its order; then it opens
//	cover.go     live requests go through the fence until the new source has passed it for a margin (handover.go, over)
//	account.go   what became of it, for the history
//	mend.go      what is left on one node, as another one restarted or is gone, is given to a third or to it again
//	collect.go   a new leader asks the members for what they keep, builds open fences again, and goes on
//	partial.go   a current source that delivers less than a standby is named in the log
//
// # Invariants
//
//   - I1: 204 means that every good sample of the request is in a committed batch, of this copy of the request or of an
//     earlier one, or was delivered before the turn of its source and is in the committed books as covered, or that there
//     was nothing in it.
//   - I2: 202 means that the log says, at an index not older than the request, that the source is not current: an entry
//     proposed after the verdict has committed (a batch of the same request, or Node.Confirm), or Apply itself said so.
//   - I3: what is answered 503 is not lost; sent again it is the same request (I6). Nor is it counted, but where the books of
//     what a fence held back could not be committed in time: it comes again and is counted once all the same, unless the leader
//     changes in between. The next one cannot know whether its predecessor's last books count it.
//   - I4: a bad series costs the good ones nothing: they are committed before the 400 is sent.
//   - I5: there is no 429, and no 4xx for anything but the sender's own fault: Prometheus drops what it gets one for.
//   - I6: a request's id depends on tenant, group, source, body and, if it takes several batches, where it was cut. A second
//     copy is answered like the first.
//   - I7: the outcome of a mixed request is its worst: 503, 400, 204, 202.
//   - I8: a request passes from node to node at most once, and not after its deadline on the leader's clock.
//   - I9: memory is bounded: bodies in flight by bytes, groups, sources, names and remembered metadata by number.
//   - I10: what is booked carries both sides of its equation in one delta, and each delta is applied once.
//   - I11: a source's life is noted before anything of it can be refused: a 503 of ours is life, and nobody is called silent
//     for the time in which the gate refused everybody.
//   - I12: what a standby was answered 202 for is in the windows of two nodes, where there are several voters, but for the
//     seconds after one of them restarts; until the current source has delivered it, it is used, or its source has been
//     silent for forget_after (said and counted).
//   - I13: samples of a source's turn go into the log in the order in which they were sent, each series for itself: kept ones
//     first, then live ones. No two kept requests that share a series are on their way into the log at the same time.
//     Nothing is put into a window that has been passed on: both ask who is current under the group's lock.
//   - I14: nothing at or below the line of its series is accepted while a fence is open. A fence depends only on the log, so
//     every leader derives the same one; lines of the present turn hold for kept samples alone.
//   - I15: a member is told what it may drop only after this leadership has asked it for what it holds.
//   - I16: the window is bounded in bytes; at the bound a standby is answered 503, and is known to have newer samples.
//
// # Decisions
//
//   - The gate is asked by the leader only. A follower that is asked passes on, so that the leader hears who is alive even
//     while nothing can be taken.
//   - The entry is allocated per batch and the body copied into it: the log keeps entries in its cache, so they cannot be
//     pooled, while everything else on the way is.
//   - The rule is asked at arrivals of groups without a current source, and else on ticks: its constants are seconds,
//     and a standby's request would otherwise copy its group's state each time. All changes of a tick are proposed together.
//   - The usual interval of a source (pace.go) is a mean of gaps weighed by their length. Rejected: the plain mean, which
//     shards that send at once make tiny (flapping at one-minute scrapes), and the maximum, which one outage spoils for
//     hours. While a source's interval is not known, the longest of its group's is taken, as pairs scrape alike, else a minute.
//     Members are told the intervals every few seconds, so a new leader begins with those.
//   - Who was named by labels could not be heard while the gate was shut. That time is no pause of theirs, teaches nothing about
//     their interval, and is no time in which a current source could have gained on real time.
//   - Who has only ever sent what cannot be read is no candidate: the first source of a group must have sent something sound.
//   - A 1.0 standby's body is opened when its look is due, and refused if it cannot be read then; between looks it
//     gets its 202 unseen.
//   - What a scan remembers of each series is charged to the budget as soon as it is known, and not counted before: a pass
//     over every body for the sake of bodies made of empty series would be paid by all others.
//   - Coverage is an estimate: bytes per second over about a minute times samples per byte of the bodies that were opened,
//     against the same of the current source. Counting exactly would mean opening a standby's bodies.
//   - Time going backwards is watched in a few series of each request, by hash of their labels. Rejected: the batch's
//     oldest time against the source's newest, which shards breach all the time.
//   - A body that names only a group leaves the source to labels, within that group. A weight holds for the request.
//   - Forwarded requests carry an absolute deadline in the leader's time, as only that says how long a request lay in a
//     socket. Followers learn the leader's clock from its answers, so clocks that differ cost one 503.
//   - A body named by labels is scanned for identities only if its first series is a standby's; otherwise it
//     must be read whole anyway, and reading it twice would cost accepted requests for the sake of refused ones.
//   - The client's host is that of the connection. X-Forwarded-For is not read, as anybody can write it: behind a proxy
//     sources must say who they are.
//   - A handover is put in front of the new source before the change is proposed, so a request that finds its source
//     current also finds the handover. Without one the way of a request is one look at a pointer. Rejected: asking the state
//     for open fences per request, which takes its lock.
//   - Kept requests that share a series go one after the other. Rejected: to rely on Raft's order of proposals, since one
//     that was refused (a full queue, a transfer of leadership that came to nothing, a leadership lost and won again) may be
//     followed by one that commits, and could then only be sent behind it; and a sequence number for Apply to check, which
//     is a format of its own and buys nothing: a large source's requests hardly ever share a series, and a small one has few.
//   - What a member offers only after younger requests of the source were passed on is given up, and said: it could only
//     follow them.
//   - What is covered are the bodies that would be stored, not the one that came, so split, cut and stripped requests need
//     no way of their own. It costs decoding twice, only below the fence.
//   - All batches from Fence.From on set lines. Rejected: only those whose newest time is above the boundary less the margin:
//     a shard that lags behind would have no line, and what is kept reaches back as far as it lags. A series that the log
//     does not show has the time of the first entry that was read as its line, at most the boundary: what was delivered
//     earlier is older. So the log is kept for three margins (cmd/server), because a silence may last two.
//   - An item in the window goes by its arrival, less the smallest lag ever seen of its source: bodies are not opened. A clock
//     that is ahead counts as far as it is believed beside the current source's, or its samples could not go for as long as it
//     is ahead. What is more than a day ahead is no clock's time and says nothing.
//   - A body that holds a sample which is not believed reaches as far as its oldest one: a series that is always ahead of all others
//     would otherwise hide how far the others are, and nobody could take over.
//   - The leader's clock may be wrong, and may be set while it leads. Durations are taken from monotonic times. What a sample's
//     time is held against (belief, the stamp of a batch, and with it watermark and fence) is the clock, or, where that is
//     behind what the watermark shows by more than half of GuardFuture, the watermark and the time since it moved: otherwise
//     a clock that is set back would believe nobody, fail over to nobody, and build fences without lines. A group that has no
//     watermark yet has no such witness. Rejected: a clock that no step moves, which would keep an error that was mended.
//   - Arrivals are the leader's clock without the steps since it leads, after all that it has copies of, and never two alike, so
//     copies on any nodes have one order. A member that took a copy by
//     way of a forwarded request stores it before it answers: the leader's answer tells it what to keep.
//   - A window goes with its process and has a name; whoever takes a copy answers with it. So the leader knows, without asking
//     for what members hold, which copies went with a restart or with a member that has been gone for ten seconds, and makes
//     them anew, the youngest first, at a bounded rate. The same spreads what a new leader alone has.
//   - A leader that goes on with a handover takes kept samples used and the largest gap from the log, where its predecessor's
//     turn can be read, and what was held back from the copies: members keep them until everything has been passed on, and drop
//     them within seconds after that. The books take what it passes on once more only beyond what predecessors have told of, as
//     that is in the delta that told it; what they delivered Apply has counted. A member that was out of reach meanwhile offers
//     its copies to a later leader all the same: what is held back of them at a later change is counted as received and covered
//     once more.
//   - The largest gap is measured from the first sample of each series of the fence in the new turn; for requests that need no
//     fence this means hashing their series, until all have been met and for a margin at most.
//   - A fence of which the new source never came above stays open, and with it the log from its beginning: its group has
//     nothing to go on with anyway, and the next change needs what it holds.
//   - An operator who forgets a silent source gives up what is kept of it, counted as discarded: on all nodes what had arrived by
//     then, as it may be back while they are told. While something is kept of one that still sends, or of which a request may be
//     under way, it cannot be forgotten: the answer says for how long it must have been silent.
//   - A current source that is alive and partial is replaced only if Policy.MinCoverage says so: which of the two is right is
//     for an operator to say. It takes five minutes without a break (fsm.CoverageHold), as rates are means over a minute, and
//     a source's rate begins anew when it has caught up. A heavier source that sends too little does not come back by weight.
//   - A 503 carries no Written counts: senders add the counts of all attempts, and the next one counts everything.
package ingest
