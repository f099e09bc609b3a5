// Package cluster makes one Raft group out of the nodes and keeps it one: identity, transport, bootstrap,
// membership, leadership, and what the log may forget. It runs hashicorp/raft unmodified; two copies in one file
// keep term and vote; the log is given from outside and holds the samples themselves.
//
// # Flow
//
//	OpenDir   lock, identity                              dir.go; term and vote: ballot.go
//	Open      cluster port, handshake, streams            node.go transport.go handshake.go tls.go http.go
//	Run       found, join or wait (bootstrap.go) → Raft (instance.go) → lead(ctx) while leading (lead.go)
//	Propose   raft.Apply; Confirm: any later entry        propose.go
//	StillLeads  a majority knows of no later term         confirm.go
//	beside    snapshots and log (snapshot.go retain.go machine.go), members (membership.go observe.go),
//	          a hanging disk (watchdog.go), a lost majority (recover.go)
//
// One Raft instance belongs to one identity: node UUID and cluster UUID. A node that has not acknowledged
// anything may change its identity; Run then ends the instance and starts another with an empty log.
//
// # What the log may forget
//
// Raft's snapshots hold the state machine, not the batches on their way, so a peer that is brought up by a
// snapshot misses every batch below it. The floor is the lowest index that anyone still needs. The base is the
// newest snapshot whose index is below the floor. While NewRaft restores, it sees all snapshots, newest first,
// and a restart replays little. From then on it sees the base only, so a peer jumps over nothing that is
// needed and gets the rest as ordinary entries: flow controlled, synced, counted. Compaction never passes the
// base, and the base's own entry stays; where a node was itself brought up by a snapshot and the entry never
// existed, the snapshot's metadata answers for its term. Snapshots above the base serve local restarts; there
// are at most about 32 of them, the gaps between the older ones growing.
//
// # What a full disk is asked for
//
// Term and vote are written in place. A term costs the log two entries without data, 96 bytes; a change of members one of
// some hundred bytes. Snapshots, local or received, need space, and are tried again without it. So does node.json, which
// changes when a node joins, first stores, gets its vote, has company or leaves: a block for the next change is kept.
//
// A follower turns away what it has no room for. A leader that cannot store its own entry gives leadership up: nothing of
// it was stored, sent or answered. Who has no room for what a term begins with does not ask for votes, so that somebody
// else does; where nobody has, all wait and no term passes. A node without company cannot be kept from leading: it tries
// about once a second, and the first entry of the term is refused. All of them go on by themselves when there is room.
//
// Raft counts by a change of members although it could not store it. So none is begun without room for it, and nothing
// else takes that room.
//
// # Invariants
//
// Retention (the comments in retain.go and the tests name them):
//
//	R1  FirstIndex <= base.Index+1, or the base's term is answered from its metadata.
//	R2  No entry at or above the floor is deleted but by a leader's conflicting entry, or by a received
//	    snapshot that ends above the whole log.
//	R3  A snapshot that is sent to a peer ends below the sender's floor, and the sender's log continues it.
//	R4  A received snapshot never replaces a log that goes past it, nor a newer snapshot.
//	R5  A failed or hanging write silences the node before its caller learns of it: nothing is rejected.
//	R6  A leader's entries for which the disk has no room never reach Raft: they are turned away before (intake.go).
//	    A leader's own that it cannot afford are refused before a byte is written, and it steps down.
//
// Identity:
//
//	I1  A connection reaches the node UUID and the cluster UUID that it was meant for, or nobody.
//	I2  A directory that has acknowledged an entry is bound to its cluster: it is not bound again, and refuses
//	    to start without its log, its term or its vote. It is marked before the first acknowledgement leaves.
//	I3  A node with an empty disk grants no vote, except one of the first configuration that never held an
//	    entry: nobody knows the UUID of any other.
//	I4  A first configuration is written only after everybody in it has, on disk, promised itself to that
//	    cluster alone.
//	I5  A newcomer gets its vote after it holds everything that was committed when it was last asked.
//	I6  A damaged file never passes for one that says something else: the node starts with what was written, or
//	    not at all (ErrDamaged), and then its directory is to be moved away.
//
// Leadership:
//
//	L1  lead runs after every earlier entry has been applied, and has returned before the next turn begins.
//	L2  ErrNotLeader means certainly not committed. Everything else that is not a response is ErrUncertain.
//	L3  Confirm returns nil only if an entry proposed after the call was committed in the same turn.
//	L4  StillLeads returns nil only if nobody had been elected since the turn began when it was called; it writes nothing.
//
// # Decisions
//
// The UUID of a node is made with its directory. A wiped voter under its old identity could elect a leader
// that lacks acknowledged entries: Raft's vote requests name no recipient, and a node with an empty
// configuration grants any. Raft dials addresses only, so its addresses are "uuid.cluster@host:port" and the
// handshake compares. Rejected: a new server ID at the same address, which does not help, because the request
// still reaches the empty node.
//
// Term and vote are not kept in bolt, as the design had it first. Its pages have no checksums, so a flipped bit was
// another term or another vote; a damaged newest meta page silently takes the last transaction back, which may be a
// vote; and other damage, or a read error, ends the process by a fault in the memory map. Two checksummed copies,
// written in place, need neither space nor luck. Bolt remains only to take an older directory over.
//
// Founding is a promise in two steps. All listed nodes must answer, be empty and mean the same set, which is
// compared as UUIDs that answered: whatever the addresses are, it is the same nodes. The smallest UUID has the
// others promise, then writes the first entry. Rejected: to compare the lists as text (two names for one
// machine would wait for ever), and to let members adopt the cluster when they hear of it (two founders, one
// of them returned from the dead, could each find a majority).
//
// A received snapshot is told from a local one by who writes it: only the local one goes through Persist. The
// check is made when it is complete, before it becomes visible. One that the log does not go past is taken
// again, because the answer to the first may have been lost.
//
// Members and replacements are derived from the configuration: a member without a vote gets one when it has
// caught up, an identity that a later one of the same name has replaced is removed. There is no other state,
// so a new leader goes on where the old one stopped. Raft tells a removed follower nothing; it finds out by
// asking (observe.go).
//
// recover appends one configuration entry in a new term. Rejected: raft.RecoverCluster, which deletes the log
// and leaves the new configuration in a snapshot only, where a joiner who begins at an older one misses it.
//
// A refused dial tells who was reached and why. TLS proves only that the cluster's authority signed the peer;
// host names are not compared, because a node may be reached under any and the handshake knows better.
//
// Raft answers a proposal that is still in its queue when it stops never at all. Stopping therefore keeps new
// ones out and lets a barrier pass through the queue first.
package cluster
