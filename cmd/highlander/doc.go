// Command highlander runs a node, and operates and inspects the cluster it belongs to.
//
// # Flow
//
//	args ─▶ arrange (order, help, usage errors) ─▶ urfave/cli (values) ─▶ one action ─▶ server, admin socket, wal or config ─▶ table or JSON
//
// main.go starts and ends the process; every command group has a file of its own, and an action there parses,
// calls and prints, nothing else.
//
// # Invariants
//
//	L1  The exit status is 0 for done, 1 for failed (the reason on stderr) and 2 for a command line that makes
//	    no sense: an unknown command or flag, a missing or surplus argument, a value that cannot be read.
//	L2  Flags work before and after arguments, and before and after the command; `--` ends them.
//	L3  A flag beats its environment variable, which beats the file, which beats the default. An empty
//	    variable is none.
//	L4  Nothing that came over the network reaches a terminal unquoted: names of sources are their own choice.
//	L5  With `--output json`, standard output holds JSON and nothing else.
//
// # Decisions
//
// urfave/cli stops reading flags at the first argument and exits 3 on an unknown command. Rather than patch
// its behaviour at five places, arrange.go puts the command line in order first, from the very command tree
// that urfave/cli runs; a command's ArgsUsage says how many arguments it takes. The help text is written here
// too (help.go), because some sixty flags read better in sections without a variable's name behind each.
package main
