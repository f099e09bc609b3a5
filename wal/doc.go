// Package wal is the node's write-ahead log: the Raft log, and therefore the
// buffer of every accepted batch. It implements [raft.LogStore] over segment
// files and adds a sequential [Reader] for the drain, and [Inspect], [Verify] and
// [Dump] for people.
//
// # Flow
//
//	StoreLogs ─▶ encode the group commit into one buffer ─▶ one write ─▶ one fdatasync ─▶ publish
//	                      (tail full: next segment first)                                 view + tail cache
//	GetLog, Reader ─▶ load the view ─▶ tail cache, else segment file (CRC verified on every read)
//	DeleteRange ─▶ make the new bounds durable ─▶ publish ─▶ recycle or unlink dead segments
//
// There is one writer at a time (a mutex: raft appends from one goroutine and
// compacts from another). Readers never take that mutex: they load an immutable
// view through an atomic pointer and look into a lock-free ring of recent entries.
//
// # Files of the directory
//
//	first                         which entries and segments count; two slots, written in place
//	<id>-<base>.wal               a segment; id and base index as 20 decimal digits each
//	<number>.spare                a preallocated or reclaimed file, waiting to become a segment
//	end                           how far the log once reached; may be missing
//
// Anything else is ignored. All integers are little endian. The format's version
// is 1; it stands in the header of every segment and in every slot of "first", and
// an unknown one is refused.
//
// # Segment
//
// A segment begins with a header that is durable before the file gets its name,
// and never written again. Frames begin at offset 4096, so that no later write
// touches the header's page.
//
//	 0  [8]byte  magic "HLNDRWAL"
//	 8  uint32   version, 1
//	12  uint32   zero
//	16  uint64   id of the segment: grows, never used twice
//	24  uint64   base: index of the first entry
//	32  [28]byte zero
//	60  uint32   CRC32C of the 60 bytes before
//
// Then frames, one per entry, each padded with zeros to a multiple of 8 bytes:
//
//	 0  uint32   CRC32C over the segment's id (8 bytes), then this frame from byte 4 to its end, without padding
//	 4  uint32   data length
//	 8  uint64   index
//	16  uint64   term
//	24  int64    AppendedAt: seconds since 1970 (the zero time is -62135596800)
//	32  uint32   extensions length
//	36  uint32   AppendedAt: nanoseconds
//	40  uint32   number of the group commit within the segment, from 1
//	44  uint8    raft.LogType
//	45  uint8    flags; bit 0: last frame of its group commit; others zero
//	46  uint16   zero
//	48           extensions, then data
//
// A group commit is what one StoreLogs call stores. It never crosses a segment;
// one larger than a segment gets a larger segment. Empty data or extensions come
// back as nil.
//
// The rest of the file is whatever was there: zeros after preallocation, or the
// previous life's frames after recycling. The latter never validate: a CRC is an
// affine function, so the same bytes under two ids below 2^32 have different sums,
// always, not just probably.
//
// When the next segment exists, a segment is sealed: a footer is written behind its
// last frame and the file cut there. The footer only makes opening fast; it is not
// synced, and a segment without a valid one is scanned.
//
//	n × { uint32 index − base, uint32 offset }   about one per 64 KiB of frames
//	 0  [8]byte  magic "HLNDRIDX"
//	 8  uint64   last index
//	16  uint64   offset behind the last frame, where the footer begins
//	24  uint32   n
//	28  uint32   group commits in the segment
//	32  [28]byte zero
//	60  uint32   CRC32C over the segment's id, then the footer up to here
//
// # Bounds
//
// The file "first" has two slots of 64 bytes at offsets 0 and 4096. A change is
// written to the slot that holds the older one, in place (no space needed), then
// synced. The valid slot with the greater sequence counts.
//
//	 0  [8]byte  magic "HLNDRFST"
//	 8  uint32   version, 1
//	12  uint32   zero
//	16  uint64   sequence
//	24  uint64   first index; 0: the base of the lowest segment
//	32  uint64   lowest segment id that counts
//	40  [20]byte zero
//	60  uint32   CRC32C of the 60 bytes before
//
// Which segments live follows from "first" and the file names alone: ids below the
// lowest one are dead, and a segment whose base is at or above the base of a segment
// with a greater id is dead. A living segment ends before the base of the next one,
// whatever else it holds. So:
//
//	prefix      DeleteRange(first … k)   write "first" {k+1, id of the segment that holds k+1}
//	suffix      DeleteRange(k … last)    start a segment with base k: it cuts everything from k on
//	everything  DeleteRange(first … last) write "first" {0, next id}; the next entry may have any index
//
// Each is one durable step; unlinking and recycling come after it and may be lost.
//
// # End
//
// The file "end" is written when a segment is begun and when the log is closed, in place and without a sync. It claims
// nothing but that the log once reached at least this far, which stays true; a torn or missing one claims nothing.
//
//	 0  [8]byte  magic "HLNDREND"
//	 8  uint32   version, 1
//	12  uint32   zero
//	16  uint64   id of the last segment
//	24  uint64   length of its file
//	32  uint64   last index
//	40  uint64   offset behind the last frame
//	48  uint32   complete group commits in the segment
//	52  [8]byte  zero
//	60  uint32   CRC32C of the 60 bytes before
//
// # Torn tail and corruption
//
// Only the tail segment can have been in use at a crash. Its first invalid frame, of
// what would be group commit c, is the torn tail (or the clean end) unless a
// valid frame of a commit later than c stands anywhere behind it: commit c+1 was
// begun only after c was synced, so then c was damaged later, and Open answers with
// a [*CorruptError]. If valid frames of the torn commit itself remain, the log goes
// on in a new segment, so that they can never be mistaken for something later. In any
// other segment every invalid frame below the next segment's base is corruption.
// Damage to the very last group commit cannot be told from a torn write by itself; "end" tells, if the log was closed
// after it. "end" also tells of a last segment that is missing or was cut short, and so does the footer of the one
// before. What remains is damage to the last group commit of a log that was not closed: on a member of a cluster the
// leader sends it again.
//
// # Invariants
//
//	W1  An entry whose StoreLogs returned nil is read back, byte for byte, until DeleteRange covers it.
//	W2  The entries are contiguous, from FirstIndex to LastIndex.
//	W3  A torn group commit disappears whole.
//	W4  What DeleteRange removed never comes back once it returned.
//	W5  Nothing is returned from disk whose CRC, index and segment were not verified.
//	W6  Old bytes of a recycled file never validate.
//	W7  After the first failed write, sync, stall or bad read nothing is stored any more, and Fatal was called once.
//	W8  Readers see only durable entries, and never wait for the writer.
//	W9  Memory does not grow with the backlog, but for 8 bytes per 64 KiB of it.
//	W10 With the spare in place, an append of up to a segment needs no free disk space. After Room said yes none does,
//	    and what it was told to leave is left. While the disk is Short there is one spare and no more.
//	W11 Opening a log that was opened before needs no space, nor does a cut, a truncation or the deletion of a prefix
//	    but for the segment that Room has secured.
//
// # What a full disk is asked for
//
// Entries go into the tail, which has all its blocks, and then into the spares; Scarce tells when the disk gives no more.
// A segment's name may need a block of the directory: Room asks for it, so that no append fails for it. "first" and "end"
// are written in place. A spare that cannot be made, an "end" that cannot be created and a footer that does not fit
// are done without. A torn end is erased in place where there is no segment to go on in. A file system that writes
// elsewhere what is overwritten can keep nothing in reserve: there a full disk may end in W7.
//
// # Decisions
//
//   - No metadata database and no manifest: names plus 64 bytes say it all, written in
//     place, so that a full disk cannot stop a truncation. Rejected: a manifest
//     replaced by rename, which needs free space exactly when there is none.
//   - A suffix cut starts a new segment instead of erasing frames in place: one atomic
//     rename, and no stale frame can follow a newer one in one file. Cuts are rare.
//   - Sealing is not synced. Losing a footer costs a scan of 64 MiB; syncing one costs a
//     journal commit beside the hot path at each roll.
//   - Readers do not pin segments. A read that fails while the generation of the view
//     changed is repeated on the new view; the CRC tells. Rejected: reference counts on the
//     hot read path, and finalizers that decide when disk space comes back.
//   - Frames are copied into one buffer rather than gathered with pwritev: the copy
//     costs a few percent of the kernel's own, and gives the CRC a contiguous run.
//   - The watchdog counts ticks instead of waiting once: a process that was suspended in the middle
//     of a write is not one whose disk hangs.
//   - Failures latch. After a failed fsync the page cache says nothing about the disk; reopening
//     is the only repair. A spare that cannot be preallocated for lack of space is no failure,
//     only a warning: nothing was lost, and admission is closed then.
package wal
