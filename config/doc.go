// Package config is the configuration of a node: plain structs with defaults, read from a strict YAML file,
// with single keys laid over it from flags and environment variables.
//
// # Flow
//
//	Default ─▶ Load (strict decoding, positions remembered) ─▶ Set / AddRemoteWrite (flags, environment) ─▶ Validate
//
// Load does not validate, because a flag may still mend what the file alone would get wrong (a public bind
// address in the file, `--cluster.insecure` on the command line). Whoever loads must validate.
//
// # Invariants
//
//	C1  A key that is not known is an error with its line and the nearest valid key, at any depth, in the
//	    parts that belong to Prometheus' libraries too.
//	C2  Every scalar key has one row in the table of settings, and through it a flag and an environment
//	    variable of the same name.
//	C3  An error names the key, the place its value came from (file and line, flag or variable) and what was
//	    expected there.
//	C4  No secret leaves this package but in the struct itself: not in Marshal, not in Hash, not in an error.
//	C5  Two nodes with the same Hash decide alike. Keys that may differ from node to node (names, paths,
//	    addresses, sizes of disks, files with credentials) are not part of it.
//	C6  The file that `config default` prints has every scalar key at its default.
//
// # Decisions
//
// The decoder walks the YAML tree along the struct types instead of using the library's KnownFields: that
// option names Go types instead of keys, suggests nothing, and forgets itself wherever a type brings its own
// UnmarshalYAML, as most of Prometheus' do.
//
// Hash covers only values that differ from their defaults, so that a version with a new key does not look
// like a node with another configuration during a rolling upgrade.
//
// Keys of Prometheus' remote_write that cannot apply are accepted with one warning for the whole file: a
// section can be moved over as it is. `follow_redirects` is among them: a POST answered with 301 or 302 would
// be repeated as a GET without a body, and the 200 that follows would look like a delivery. A redirect holds
// the destination instead.
//
// Destinations named by `--remote-write.url` come in addition to the file's. Replacing the file's list was
// rejected: its destinations would be held, with a growing backlog, because of a flag that was meant to add one.
//
// Relative paths of a file that belong to it (credentials, certificates, the web configuration) are relative
// to that file, as in Prometheus. `storage.path` is relative to the working directory, like its default and
// like the flag of the same name of the admin commands.
package config
