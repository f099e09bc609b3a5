// Package system tests the built binary with real processes: nodes are killed, stopped, wiped and replaced, the LTS
// goes away and comes back, and what arrives there is compared sample by sample with what was acknowledged.
//
// Every scenario has the same shape: a rig of one LTS, some nodes and a pair of sources; something happens; when
// everything has come to rest the recorded history must satisfy the checker of package history and the books must
// balance on every node. Fake sources and a fake LTS give exact histories; real Prometheus servers, VictoriaMetrics
// and HAProxy, from Debian's packages, show that the real ones agree.
//
// Nothing is skipped: a missing program fails its test and says what to install.
package system
