// Package prompeer tests the built binary between Prometheus' own packages: the remote-write sender, which reads a
// real TSDB's write-ahead log, and the receiver, which appends to another one. Both databases must then hold the
// same: floats, native histograms (also with custom buckets), exemplars and stale markers, to the bit.
//
// It is a module of its own because these packages bring a large part of Prometheus' dependencies, which nobody
// who builds highlander should need.
package prompeer
