// Package ingest takes remote writes: it finds out whose they are, lets the current source of each group through to the
// log, and answers.
//
//	handler.go   take: method, media type, name, gate, body (limit.go), then one of
//	               follower: forward.go, one hop to the leader
//	               leader:   admit.go, top to bottom:
//	                 standby by name ─▶ standby.go ─▶ 202, the body stays closed
//	                 open ─▶ standby by labels ─▶ 202, scanned for identities only
//	                 scan (fsm/wire) ─▶ split.go, one claim per source ─▶ commit.go ─▶ 204
//	               respond.go: the only table from outcome to status
//	lead.go      while this node leads: asks the rule (elect.go), commits the books (books.go), forgets the silent
//	source.go    what the leader has seen of each source; pace.go and order.go measure it
//
// # Invariants
//
//   - I1: 204 means that every good sample of the request is in a committed batch, of this copy of the request or of an
//     earlier one, or that there was nothing in it.
//   - I2: 202 means that the log says, at an index not older than the request, that the source is not current: an entry
//     proposed after the verdict has committed (a batch of the same request, or Node.Confirm), or Apply itself said so.
//   - I3: what is answered 503 is neither lost nor counted; sent again it is the same request (I6).
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
//   - A 503 carries no Written counts: senders add the counts of all attempts, and the next one counts everything.
package ingest
