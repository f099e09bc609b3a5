package ingest

import "sync"

// itemBook is what the books know of a kept item. A request counts when it is answered 202 and not when it is put into the
// window, which comes first; by then the item may already have been used or dropped.
type itemBook struct {
	mu      sync.Mutex
	counted bool
	gone    bool // from the window
	used    bool // by a handover
}

// answer counts a request that is answered 202; the second one of the same body is discarded.
func (k *itemBook) answer(b *sourceBooks, bytes int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.counted, k.gone && !k.used:
		b.discard(bytes)
	case k.gone:
		b.arrived(bytes)
		b.standby.Used++
		b.standby.UsedBytes += uint64(bytes)
	default:
		b.keep(bytes)
	}
	k.counted = true
}

// adopt counts an item anew that an earlier leadership may have counted.
func (k *itemBook) adopt(b *sourceBooks, bytes int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.counted, k.gone, k.used = true, false, false
	b.keep(bytes)
}

// drop moves an item that is not needed any more from the kept to the discarded.
func (k *itemBook) drop(b *sourceBooks, bytes int) {
	if k.leave(false) {
		b.take(bytes)
		b.standby.Discarded++
		b.standby.DiscardedBytes += uint64(bytes)
	}
}

// use moves an item that a handover has passed on from the kept to the used.
func (k *itemBook) use(b *sourceBooks, bytes int) {
	if k.leave(true) {
		b.take(bytes)
		b.standby.Used++
		b.standby.UsedBytes += uint64(bytes)
	}
}

func (k *itemBook) leave(used bool) (counted bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.gone, k.used = true, used
	return k.counted
}

func (b *sourceBooks) arrived(bytes int) {
	b.standby.Requests++
	b.standby.Bytes += uint64(bytes)
}

func (b *sourceBooks) keep(bytes int) {
	b.arrived(bytes)
	b.standby.Kept++
	b.standby.KeptBytes += int64(bytes)
}

func (b *sourceBooks) take(bytes int) {
	b.standby.Kept--
	b.standby.KeptBytes -= int64(bytes)
}
