// Package faults breaks what stands around the built binary and looks at what becomes of the samples: networks that
// are cut in one direction or lose packets, disks without a byte left, long-term storage that lies, nodes that die or
// stop in the middle of anything.
//
//	source a ─┐                        ┌─ n1
//	source b ─┼─ TUN ─ wire ─ TUN ─────┼─ n2     every box has a network namespace and an address of its own;
//	LTS ──────┘   (this process)       └─ n3     the wire carries, delays, loses or drops each packet
//
// Every scenario ends like those of package system: the recorded history satisfies the checker of package history, the
// books of all nodes balance and are the same, every node is back without help.
//
// The nemesis (nemesis*_test.go) draws what breaks; how far it goes in a round is its temper. "whole" spares the last copy of
// what is kept for a handover, so that no series may have a gap; "wild" spares nothing; in "still" the source may not change,
// so that nothing of a standby may arrive. Meanwhile operators give orders about sources on all nodes and read their status,
// and all of that must be linearizable (package history). Every acknowledged sample that does not arrive must be one that a
// fence can have held back (history.Fenced), and samples that are taken out of the record must be missed.
//
// HIGHLANDER_SEED repeats the random decisions of a run (the seed is printed), HIGHLANDER_SOAK=30m lets the nemesis
// go on for that long. Without the permission to make namespaces and mounts the scenarios are skipped and say why.
//
// Invariants:
//
//	N1 nothing leaves: the namespaces have no link but the wire, and the wire ends in them
//	N2 nothing stays: namespaces and mounts belong to this process and go with it, also when it is killed
//	N3 what can be seen of a node is seen from its own namespace, so a cut link does not blind the test
//
// Controls: what prevents a loss is switched off in a build for tests (go build -tags seams; cmd/server/seams.go), and the
// same scenario and the same checker must find the loss then. The same build steps the clock of a running node, and is
// the later version in an upgrade.
//
// Decisions: the wire is a program and not a bridge with tc-netem, because kernels without that scheduler are common
// and because a program can cut one direction of one pair at an exact instant, with a seed. Namespaces are anonymous:
// names under /run/netns survive a killed test.
package faults
