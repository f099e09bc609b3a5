// Package wire reads and writes remote-write bodies without unmarshalling them into structs: 1.0, which is
// prometheus.WriteRequest, and 2.0, which is io.prometheus.write.v2.Request.
//
// # Flow
//
// Ingest decompresses a body once (Decompress), scans it (Request.Scan: counts, times, identities, verdicts) and
// keeps the bytes as they came. Only where a replica label must go, a series must be refused, a request mixes sources
// or a body exceeds an entry, Request.Parts writes new bodies, by copying stretches of the old one. Of a standby's
// body ScanIdentity and Newest read the little that is needed. At a handover Request.SeriesHash and Times tell what one
// source has delivered, and Cover takes it out of what another one sends. Egress joins stored bodies (MergeV1, MergeV2), spreads
// series over lanes (Shards), rewrites labels (Relabel) and converts for destinations that only take 1.0 (ToV1).
//
// # Invariants
//
//   - R1: a body is accepted exactly if the generated decoder of its protocol accepts it, but for the exceptions
//     below; then counts, labels, times and samples are what that decoder finds.
//   - R2: a sample, histogram, exemplar or metadata entry of a good series is written bit for bit, NaN payloads and
//     unknown fields included, by Parts, MergeV1, MergeV2, Relabel and Cover. ToV1 keeps what 1.0 can say.
//   - R3: no series that Scan refused is ever written, and no other is left out.
//   - R4: a part is never longer than asked for. What cannot be cut to that is refused by Scan, so that Parts cannot
//     fail for a body that was scanned for the same size.
//   - R5: a 2.0 body that is written has symbols without duplicates or strangers, the empty one first, sorted labels, and
//     no series with both samples and histograms. A 1.0 body keeps the order of labels it came with.
//   - R6: Scan, SeriesHash, Times and Cover allocate nothing once the buffers of their Request have grown, ScanIdentity
//     nothing once those of its pool have.
//   - R7: nothing is allocated for a length that a body only claims, and what is kept about a body is bounded
//     (limits.go), however little its fields take.
//
// # Where this package is stricter than the generated decoders
//
// A packed field whose last number runs past its end is damage: the generated code reads on into the next field, other
// decoders refuse it, and an accepted body must be acceptable to any receiver. A first symbol that is not empty is
// against the 2.0 specification. A body that has none of the fields of its protocol but those of the other was sent
// with the wrong Content-Type; unknown fields alone are not a reason to refuse anything. And there are limits, far above
// what senders do.
//
// # Decisions
//
//   - Positions, not structs. A message is handed around as raw[:end] with a position, so every position is an offset
//     into the body, errors can name it, and no sub-slices are built. Rejected: a reader object with callbacks, which
//     costs a call per field, and generated lazy structs, which allocate.
//   - Validation is part of the scan. Labels in order prove that none is twice, one look at eight bytes at a time proves
//     a series' labels ASCII and so UTF-8; only what fails these tests is read a second time.
//   - Histograms are judged by the rules of Prometheus' model/histogram, so that what is accepted here is not refused
//     there. Schemas that are reserved for later are judged as exponential, unknown ones not at all: the receiver knows.
//   - Snappy blocks are decoded by golang/snappy and encoded by klauspost/compress. Decoding is equally fast, but
//     klauspost's decoder also takes its own extension of the format, which a destination would refuse after highlander
//     had acknowledged it. Its encoder is as fast and its blocks are about 5 % smaller.
//   - A request is cut by trying: what fits is known only after compression, so a part is filled up to what the last
//     one's ratio promises and shortened if that was too much. Rejected: cutting by decoded size, which makes five to
//     ten times as many entries.
//   - A series too large for one entry is cut between samples with its labels, metadata and unknown fields repeated. Its
//     exemplars are spread between the samples: receivers refuse a 2.0 series without a sample.
//   - A series is known by 64 bits of hash: the sum of its labels' hashes needs no sorting, and in 2.0 each symbol is hashed
//     once. Among ten million series one collision has a chance of one in 370,000. Rejected: keys of names and values, ten
//     times the memory, and a keyed hash: whoever makes collisions hides series of its own group, which it could as well
//     not send.
//   - Cover drops a 2.0 series of which no sample stays with its metadata, as receivers refuse a series without a sample;
//     the source repeats it. It judges all series before it writes, so that a body of which nothing is covered is
//     copied, and one that is covered wholly costs its hashes alone.
//   - ScanIdentity stops at what the first pair says and compares a series with the one before, byte by byte. Only where a
//     name is there twice, which Scan refuses, can the two disagree.
//   - 2.0 references to metadata texts that are absent (zero) are legal even without symbols.
package wire
