// Package egress brings the log to the destinations. It runs on the leader only: Lead starts one drain for
// each destination that the FSM knows, and each drain goes through the log from its own cursor.
//
//	log, index > cursor ─▶ gatherer (gather.go, seal.go) ─▶ sender (sender.go, client.go) ─▶ acker (ack.go) ─▶ cursor command
//	                        next window, merged                one request, judged             at most every 200 ms or 8 MiB
//
// A window is a stretch of the log whose batches have one tenant and one protocol version and go out as one
// request. Remote write 1.0 bodies are joined without decoding them. While one window is in flight the next is
// prepared, so memory holds two windows, and at most a handful more while some are undecided, whatever the backlog.
//
// # What becomes of an answer
//
//	2xx                      delivered; a 2.0 request without Written headers in the answer is sent again as 1.0
//	no answer, 5xx, 429      the same request again, for ever, with growing pauses; Retry-After is honoured
//	413                      in two halves
//	415                      2.0 becomes 1.0, remembered for the destination; 1.0: held
//	400, 409, 422            with Written counts: counted. Without: taken apart to the offending series (bisect.go), which become
//	                         dead letters. Nothing accepted of several requests, or not even an empty one: held
//	other 3xx, 4xx           held: nothing moves, the same request is the probe
//
// # Invariants
//
//   - E1: a cursor passes a batch only when each of its samples is delivered, stored as a dead letter, or counted as
//     dropped with a reason. Outcomes are counted where they happen and compared with the headers' counts in acker.add.
//   - E2: a dead letter is committed before the cursor passes its batch.
//   - E3: per series, first deliveries are in log order. Parallel requests (lanes) hold different series; a request is taken
//     apart between series, or else its parts are sent one after the other.
//   - E4: the lease is asked immediately before each send, and the end of leadership cancels the request in flight.
//   - E5: what was sent and not yet committed is at most tailMax stored bytes, or one window.
//   - E6: cursor commands are exact: From is the cursor, and an uncertain one is proposed again unchanged. Bookkeeping
//     entries alone cause none, or cursor commands would chase each other for ever.
//   - E7: while an endpoint fails it gets one request at a time, also with several lanes.
//   - E8: an endpoint that refuses everything loses nothing: of such windows no cursor passes and no dead letter is made.
//   - E9: Lead returns within about a second of its context's end, however an endpoint behaves, and leaves no goroutine.
//
// # Decisions
//
//   - Lanes meet at the end of each window. Letting them run ahead of each other needs a cursor for each lane, in memory and
//     after a change of leader; what it would win is one round trip of the slowest lane for each window.
//   - A refused window is taken apart by series, breadth first, at most probesMax requests, probesProvenMax once something of
//     it was accepted. What the budget does not resolve becomes a dead letter as a whole, good series included: it is kept, but
//     a replay sends it whole.
//   - A refusal of "out of order" or "duplicate" of something that may have been sent before (the first tailMax bytes of a
//     new leader, or a request whose answer was lost) is judged batch by batch instead, in log order, because an endpoint
//     that rolls back whole requests takes exactly the batches it does not have. What is refused so counts as delivered and
//     redelivered. If probesMax parts of one batch are refused as repetitions and none is accepted, all of the batch counts so;
//     if one is accepted, the batch is judged to the single sample. So is, within the probes it is worth, a series that is refused
//     for another reason: some of its samples may be delivered, and are no dead letters then.
//   - A window of which nothing was accepted waits undecided while up to unrelatedMax-1 others are tried: if one is accepted,
//     the waiting ones were poison, else the endpoint is at fault. Asking the endpoint with an empty request is the short cut;
//     as some refuse that always, it is not asked once something was accepted.
//   - An answer with Written counts that are not zero is final: nobody can tell which samples were left out, and sending all again
//     would have them refused as repetitions. They are dropped{refused}, not dead letters.
//   - 1.0 bodies are sent as 1.0 to every endpoint, also to one that is configured for 2.0: receivers of 2.0 take both, and 1.0
//     lacks what 2.0 wants to know. An endpoint that takes 2.0 only is held when 1.0 comes its way.
//   - 408 and 425 count as misconfigured like every other 4xx: the same request is sent again either way.
//   - The age limit is applied by series (its newest sample) and by whole windows; a series with one new sample keeps its old ones.
//   - Skipping and dropping the oldest happen between two sessions, on the committed cursor, and read headers only.
//   - A record of the log that cannot be read holds the destination. Passing it would be a loss that no book shows.
package egress
