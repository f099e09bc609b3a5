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
