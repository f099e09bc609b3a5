// Package arch holds the test that keeps the drawing of who may import whom:
//
//	cmd/highlander ─▶ cmd/server ─▶ { config, cluster, wal, fsm, ingest, egress }
//	ingest ─▶ fsm      egress ─▶ fsm      fsm, wal, cluster, config ─▶ no sibling      test ─▶ cmd/server, fsm
//
// fsm/wire belongs to fsm. Only cmd/server wires: cmd/highlander may also read what needs no node (config, and the
// formats of wal and fsm on a stopped node's directory), but nothing that runs in one.
package arch
