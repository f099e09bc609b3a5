package ingest

import (
	"context"
	"time"

	"github.com/zeebo/xxh3"
)

// Remote write 1.0 sends metadata in requests of their own, without series, so no label says whose they are. Of what
// two replicas send in the same words one copy an hour passes, outside the election and the books.

const (
	metadataPause = time.Hour
	metadataMax   = 4096 // remembered contents
)

// metadataKey identifies a content within a tenant. Prometheus sends its metadata in the order of a map, so the order
// does not count.
type metadataKey struct {
	tenant string
	sum    xxh3.Uint128
}

func (h *Handler) strayMetadata(ctx context.Context, l *leadership, wk *work) answer {
	key, now := metadataKey{wk.request.tenant, sumMetadata(wk.raw.b)}, h.now()
	if l.passedBefore(key, now) {
		return answer{outcome: accepted}
	}
	a := arrival{unelected: true, unnamed: true, bytes: len(wk.request.body)}
	a.id.Tenant, a.id.Name = wk.request.tenant, wk.options.DefaultGroup
	if _, err := wk.claimFor(l, h, a); err != nil {
		return refuse(unavailable, err.Error())
	}
	wk.claims[0].takeAll(wk)
	h.commit(ctx, l, wk)
	if wk.claims[0].place == kept {
		l.passed(key, now)
	}
	return h.conclude(ctx, l, wk)
}

func (l *leadership) passedBefore(key metadataKey, now time.Time) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	until, known := l.metadata[key]
	return known && now.Before(until)
}

// passed remembers a content once it is committed.
func (l *leadership) passed(key metadataKey, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.metadata) >= metadataMax {
		for old := range l.metadata { // any: at worst it passes twice within the hour
			delete(l.metadata, old)
			break
		}
	}
	l.metadata[key] = now.Add(metadataPause)
}

// sumMetadata adds up the hashes of a 1.0 request's metadata messages, and of the rest that fields does not read.
func sumMetadata(raw []byte) xxh3.Uint128 {
	var sum xxh3.Uint128
	add := func(b []byte) {
		h := xxh3.Hash128(b)
		sum.Lo += h.Lo
		sum.Hi += h.Hi
	}
	read := 0
	for field, at := range fields(raw) {
		read = at.end
		if field == 3 {
			add(raw[at.start:at.end])
		}
	}
	if read < len(raw) {
		add(raw[read:])
	}
	return sum
}
