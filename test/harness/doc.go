// Package harness runs the built highlander binary and what stands around it, as outside programs would.
//
// Flow: Binary builds cmd/highlander once; a Cluster writes configuration files and starts Nodes, real processes on
// free ports of 127.0.0.1 with data directories of their own; Sources send numbered samples and record what they were
// answered; an LTS receives, records and misbehaves as told; package history compares the two records. Prometheus,
// VictoriaMetrics, vmagent and HAProxy are started from Debian's packages where a scenario wants the real thing.
//
// Invariants:
//
//	T1 nothing is read from the product's packages: flags, paths, metrics and JSON are taken as an operator sees them
//	T2 every process is started by a test, ended by its id at the end of it, and dies with the test binary
//	T3 waiting is polling for a condition with a generous bound; no test sleeps for a guessed time
//	T4 what a source was answered is recorded before its next request is sent
//
// Decisions: ports are taken below the range that the kernel hands to outgoing connections, since a node that is down
// must find its port free when it comes back. The fake LTS is an http.Handler in the test's process rather than a
// process: its faults are then plain Go values. Status documents are decoded into types of this package, so that a
// renamed field breaks a test instead of being renamed along.
package harness
