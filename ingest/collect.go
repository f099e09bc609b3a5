package ingest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"sync"
	"time"

	"github.com/highlander-io/highlander/fsm"
)

const (
	// collectTimeout bounds how long a new leader waits for what members keep before it holds elections.
	collectTimeout = 2 * time.Second
	// lateSilence is how long a member may be silent at a second try, which nobody waits for: what it keeps may be large, and the
	// line slow.
	lateSilence    = 10 * time.Second
	releaseTimeout = 2 * time.Second
	// releaseSlack is how long an item may be on its way into windows: what arrived later is not released at members
	// for being absent here.
	releaseSlack = 30 * time.Second
	releaseMax   = 32 << 20
)

// takeOver begins a leadership: handovers that are open are found, closed to live requests until their fences are built
// again; what the predecessor kept goes to the discarded, and what this node keeps itself is counted anew.
func (h *Handler) takeOver(l *leadership) {
	o := h.options.Load()
	h.meet()
	l.ahead = h.window.ahead(l.since)
	for _, state := range h.state.Groups() {
		g, err := l.enter(state.ID, fsm.GroupsMax)
		if err != nil {
			continue // BUG-free states have no more groups than that
		}
		if state.Fence != nil {
			ho := newHandover(g, state.Fence.Epoch, nil)
			ho.elected, ho.again = true, true
			g.handover.Store(ho)
		}
		for _, s := range state.Sources {
			if s.Standby.Kept == 0 {
				continue
			}
			if own, err := g.source(s.Name, fsm.SourcesMax); err == nil {
				own.books.standby.Kept -= s.Standby.Kept
				own.books.standby.KeptBytes -= s.Standby.KeptBytes
				own.books.standby.Discarded += uint64(s.Standby.Kept)
				own.books.standby.DiscardedBytes += uint64(s.Standby.KeptBytes)
			}
		}
		g.mu.Unlock()
	}
	h.takePaces(l)
	for _, it := range h.window.list() {
		h.adopt(l, it, o)
	}
}

// adopt counts an item of this node's window as this leadership's. What its source passed on when it became current is not
// needed any more.
func (h *Handler) adopt(l *leadership, it *keptItem, o *Options) {
	g, err := l.enter(it.owner.group, o.MaxGroups)
	if err != nil {
		h.window.remove(it)
		return
	}
	defer g.mu.Unlock()
	h.adoptInto(g, it, o)
}

// adoptInto does so. The caller holds g.mu.
func (h *Handler) adoptInto(g *group, it *keptItem, o *Options) {
	s, err := g.source(it.owner.source, o.MaxSources)
	if err != nil {
		h.window.remove(it)
		return
	}
	ho := g.handover.Load()
	if current, _, _ := h.state.Current(g.id); current == s.name && (ho == nil || ho.isOpen()) {
		h.window.remove(it)
		s.books.discard(it.share)
		return
	}
	it.book.adopt(&s.books, it.share)
}

// takeCopy takes over what a member keeps, unless it is here. It is put into the window and into the books in one, as it may be
// passed on at once.
func (h *Handler) takeCopy(l *leadership, it *keptItem, o *Options) error {
	g, err := l.enter(it.owner.group, o.MaxGroups)
	if err != nil {
		return nil // as adopt: there is no room for its group
	}
	defer g.mu.Unlock()
	fresh, err := h.window.copy(it)
	if fresh && err == nil {
		h.adoptInto(g, it, o)
	}
	return err
}

// meet looks up who else is there. It is done now and then, as requests need it at once.
func (h *Handler) meet() {
	peers := h.node.Peers()
	h.peers.Store(&peers)
	h.holders.meet(peers, h.now())
}

// collect asks every member that is reachable for what it keeps. Elections wait for it.
func (h *Handler) collect(ctx context.Context, l *leadership) {
	defer l.collected.Store(true)
	ctx, cancel := context.WithTimeout(ctx, collectTimeout)
	defer cancel()
	var group sync.WaitGroup
	for _, peer := range *h.peers.Load() {
		if !peer.Reachable {
			continue
		}
		group.Go(func() {
			if err := h.collectFrom(ctx, l, peer, func() {}); err != nil {
				h.log.Warn("kept samples of a member were not collected, they will be asked for again", "node", peer.Name, "err", err)
			}
		})
	}
	group.Wait()
}

// collectLate asks those who could not be reached, or did not answer in time, when this leadership began. What they keep
// may be the last copy, and the next change of source comes when it comes: so it is done as soon as they are there. Where there
// is no room for it, it would be fetched in vain at each tick.
func (h *Handler) collectLate(ctx context.Context, l *leadership) {
	if at := l.fullAt.Load(); at != nil && h.now().Sub(*at) < releaseInterval {
		return
	}
	for _, peer := range *h.peers.Load() {
		if !peer.Reachable || l.asked(peer.Name) {
			continue
		}
		l.tasks.Go(func() {
			untilSilent(ctx, lateSilence, func(ctx context.Context, heard func()) {
				_ = h.collectFrom(ctx, l, peer, heard) // it is tried again in a moment
			})
		})
	}
}

// untilSilent calls f with a context that ends when f has heard nothing for that long.
func untilSilent(ctx context.Context, silence time.Duration, f func(ctx context.Context, heard func())) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	timer := time.AfterFunc(silence, cancel)
	defer timer.Stop()
	f(ctx, func() { timer.Reset(silence) })
}

// listener calls heard whenever something is read.
type listener struct {
	io.Reader
	heard func()
}

func (l listener) Read(p []byte) (int, error) {
	n, err := l.Reader.Read(p)
	l.heard()
	return n, err
}

// collectFrom takes over what one member keeps, unless it was asked already. It is remembered for releases: nobody is told
// what it may drop before it has said what it holds.
func (h *Handler) collectFrom(ctx context.Context, l *leadership, peer Peer, heard func()) error {
	if !l.ask(peer.Name) {
		return nil
	}
	err := h.fetch(ctx, l, peer, heard)
	if errors.Is(err, errWindowFull) {
		now := h.now()
		l.fullAt.Store(&now)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		delete(l.heard, peer.Name)
		return err
	}
	l.heard[peer.Name] = true
	return nil
}

// ask notes that a peer is being asked for what it keeps; false if it was already.
func (l *leadership) ask(peer string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, asked := l.heard[peer]; asked {
		return false
	}
	l.heard[peer] = false
	return true
}

func (l *leadership) asked(peer string) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	_, asked := l.heard[peer]
	return asked
}

func (h *Handler) fetch(ctx context.Context, l *leadership, peer Peer, heard func()) error {
	rq, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+peerHost+KeptPath, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := peer.Via.RoundTrip(rq)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", peer.Name, resp.Status)
	}
	holder := resp.Header.Get(headerWindow)
	h.holders.learn(peer.Name, holder, h.now())
	o := h.options.Load()
	stream := bufio.NewReader(listener{resp.Body, heard})
	for {
		f, body, err := readFrame(stream, o.MaxBodyBytes)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		for _, it := range f.items(body) {
			if err := h.takeCopy(l, it, o); err != nil {
				return err
			}
			h.window.hold(it.id, holder)
		}
	}
}

// releaseOrder tells a member what the leader knows of its sources' paces, and what it may drop: of the sources named, what
// arrived before their time, and of all others what arrived before Before. Times are Unix microseconds.
type releaseOrder struct {
	Before  int64          `json:"before"`
	Sources []releaseUntil `json:"sources"`
	Paces   []sourcePace   `json:"paces"`
}

type releaseUntil struct {
	Tenant string `json:"tenant,omitempty"`
	Group  string `json:"group"`
	Source string `json:"source"`
	Before int64  `json:"before"`
}

// releaseCopies tells each member what it may drop, after it was asked for what it holds.
func (h *Handler) releaseCopies(ctx context.Context, l *leadership) {
	order := releaseOrder{Before: l.time(h.now()).Add(-releaseSlack).UnixMicro(), Paces: h.intervals(l)}
	times := h.window.oldest()
	for key, oldest := range times {
		times[key] = min(oldest, order.Before)
	}
	passing, passed := h.passed(l)
	maps.Copy(times, passing)
	if len(passed) > 0 && !h.booked(ctx, l) {
		for key := range passed {
			passed[key] = math.MinInt64
		}
	}
	maps.Copy(times, passed)
	for key, before := range times {
		order.Sources = append(order.Sources, key.until(before))
	}
	h.tellMembers(ctx, l, order)
}

func (k shelfKey) until(before int64) releaseUntil {
	return releaseUntil{Tenant: k.group.Tenant, Group: k.group.Name, Source: k.source, Before: before}
}

func (h *Handler) tellMembers(ctx context.Context, l *leadership, order releaseOrder) {
	text, err := json.Marshal(order)
	if err != nil {
		panic(fmt.Sprintf("BUG: a release cannot be encoded: %v", err))
	}
	var group sync.WaitGroup
	for _, peer := range *h.peers.Load() {
		if !peer.Reachable {
			continue
		}
		group.Go(func() { h.tellRelease(ctx, l, peer, text) })
	}
	group.Wait()
}

// booked says whether everything that the leader has seen so far is in the committed books.
func (h *Handler) booked(ctx context.Context, l *leadership) bool {
	ctx, cancel := context.WithTimeout(ctx, releaseTimeout)
	defer cancel()
	return h.flush(ctx, l) == nil
}

// passed lists sources that became current not long ago, with the time before which members may drop what they keep of them. While
// kept samples are being passed on they keep everything: a successor has to find what it goes on with and what it has to explain.
// Once that is done, and in the books, it must find nothing of it, or it would keep it for a later change, which would pass it on
// once more.
func (h *Handler) passed(l *leadership) (passing, passed map[shelfKey]int64) {
	passing, passed = make(map[shelfKey]int64), make(map[shelfKey]int64)
	for _, g := range l.all() {
		ho := g.handover.Load()
		if ho == nil {
			continue
		}
		current, epoch, _ := h.state.Current(g.id)
		switch key := (shelfKey{g.id, current}); {
		case !ho.isOpen():
			passing[key] = math.MinInt64
		case ho.epoch == epoch: // else another change has just been made
			passed[key] = ho.passed
		}
	}
	return passing, passed
}

// tellRelease is repeated every few seconds, so that a failure needs no answer of its own. For whoever has not said yet what
// it keeps the order is not meant.
func (h *Handler) tellRelease(ctx context.Context, l *leadership, peer Peer, text []byte) {
	l.mu.RLock()
	heard := l.heard[peer.Name]
	l.mu.RUnlock()
	if !heard {
		return
	}
	_, _ = h.post(ctx, peer, KeptReleasePath, text, releaseTimeout)
}

// serveRelease drops copies that the leader says are not needed any more.
func (h *Handler) serveRelease(w http.ResponseWriter, r *http.Request) {
	var order releaseOrder
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, releaseMax)).Decode(&order); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if h.node.IsLeader() {
		http.Error(w, "this node leads", http.StatusConflict)
		return
	}
	h.paces.Store(&order.Paces)
	h.window.raise(time.UnixMicro(order.Before).Add(releaseSlack).UnixMicro())
	before := make(map[shelfKey]int64, len(order.Sources))
	for _, s := range order.Sources {
		before[shelfKey{fsm.GroupID{Tenant: s.Tenant, Name: s.Group}, s.Source}] = s.Before
	}
	for key := range h.window.oldest() {
		until, named := before[key]
		if !named {
			until = order.Before
		}
		h.window.release(key, until)
	}
	w.WriteHeader(http.StatusNoContent)
}
