// Package fsm is the replicated state: who is current in each group, how far each destination is, the books, and
// which requests were accepted lately. It is pure: no I/O, no clock, no goroutine. It holds no samples on their way; the
// log does.
//
//	entry ─▶ codec (Decode…) ─▶ FSM.Apply ─▶ state ─▶ copies for readers (Group, Destination, …), Floor, Snapshot
//	state + arrivals + now ─▶ Decide (election.go) ─▶ Elect, proposed by the leader
//
// # Format of an entry
//
// Byte 0 is Version, byte 1 the Kind. Integers in binary parts are unsigned LEB128 varints ("uvarint") or zig-zag
// varints ("varint"); a name is its length as uvarint and that many bytes of UTF-8.
//
//	batch        name tenant, name group, name source, uvarint epoch, 16 bytes request id, uvarint part, uvarint parts,
//	             byte protocol, uvarints series floats histograms exemplars metadata, varints min_time max_time,
//	             varint time, byte flags, then the body up to the end of the entry
//	dead letter  name id, name destination, name tenant, name group, name source, uvarint index, byte protocol,
//	             uvarint samples, varint status, name answer, varint time, then the body up to the end of the entry
//	other kinds  one JSON object, strict: no unknown field, nothing behind it, valid UTF-8
//
// # Invariants
//
//   - F1: the same entries give the same state, straight or through a snapshot at any index. Nothing in Apply
//     depends on a node's options, clock, map order or earlier life. Time comes from entries.
//   - F2: after every single command, for each destination: accepted = delivered + backlog + dead_letter +
//     relabel_dropped + dropped. A command that would break it is refused whole.
//   - F3: after every single command, for each group: received = accepted + covered + duplicate + rejected, and
//     standby requests (and bytes) = kept + discarded + used, none of them negative.
//   - F4: a cursor only grows, and is never above the last applied index.
//   - F5: while there is a destination, Refused knows every refused batch at or above any floor a node may have, whatever
//     its options. Without one nobody reads the log.
//   - F6: the floor is never above the lowest cursor plus one, and does not go back, also when the last destination
//     is forgotten (but a larger margin in a node's options may take it back).
//   - F7: no input makes a decoder panic, and what Encode or Append lets through, Decode takes.
//   - F8: everything remembered is bounded: requests (RequestsMax), history (HistoryMax), groups, sources and
//     destinations (constants), leaderships, marks. Refused indices are bounded by the entries above the lowest cursor.
//   - F9: an entry that cannot be decoded changes nothing and stops the node (Options.Fatal); nothing is applied after it.
//
// # Decisions
//
//   - State is changed in place under one RWMutex, held once per ApplyBatch. An immutable state behind an atomic pointer
//     reads more nicely and costs a copy of everything a batch touches; the books of a group change with every batch.
//   - The header of a batch is parsed in place and names are looked up without making strings of them: applying a batch
//     allocates nothing but what it makes the state remember.
//   - The limits on groups, sources and destinations are constants and not options, because nodes with different options
//     would otherwise decide differently. Tighter limits are ingest's to set before it proposes. Options only hold what
//     is a node's own view: how much of the log it keeps for handovers.
//   - A dead letter is binary, not JSON: base64 would make an entry of the largest batch a third larger than entries may be.
//   - The request weight is not replicated: only changes of source are committed, and Decide takes it from the arrivals.
//   - A second copy of one part is told by (request id, number of parts, part). The same request cut into another number of
//     parts (another configuration) is a new request unless all of the old one was accepted; at least once, never less.
//   - Purging, replaying and refusing move at most what the destination's dead_letter counter holds. A letter that a leader
//     stored just before it died, and whose samples the next leader could deliver after all, was never counted by a cursor;
//     without that bound it would unbalance the books.
//   - Whoever writes a format that a later feature level adds asks FSM.FeatureLevel first: the leader commits a level when
//     every member is there and supports it. A build that meets a higher one stops. Levels do not go back.
//   - Apply asks about a pin again, as an election and a pin may cross in the log. It asks about a promotion only where the
//     promoted source would lose its turn to weight or lag; whether it is silent only the leader can know.
//   - The margin is measured by the largest time stamp so far. A leader whose clock jumps ahead shortens it once; then the
//     floor rests until real time has caught up, bounded by the window in bytes. Smoothing the clock would hide real pauses.
//   - Standbys keep nothing yet (Policy.RequireKept is false), and no fence is ever open, so the floor has no slot for one.
//   - A fence is remembered as the index from which it can be derived, not as its lines: a million series would not fit into a
//     small snapshot, and the log has them anyway. Its window is shorter than the floor's by FloorSlack, so that what an
//     election names is still there when it is applied.
//   - The floor is the lowest index still needed, so a snapshot at floor-1 may be given to a peer.
package fsm
