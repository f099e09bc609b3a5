//go:build linux

package faults

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Link is one direction between two spaces.
type Link struct {
	Cut    bool
	Loss   float64 // share of packets
	Delay  time.Duration
	Jitter time.Duration // at most this much more; packets stay in order
}

// queuePackets is how many packets a link holds; more are dropped, as in any network.
const queuePackets = 4096

// Wire carries packets between spaces.
type Wire struct {
	t      testing.TB
	spaces []*Space
	lines  [][]*line // from, to
	stop   chan struct{}
	all    sync.WaitGroup

	Carried, Dropped atomic.Int64 // packets

	mu   sync.Mutex
	rand *rand.Rand
}

// line is the state of one direction.
type line struct {
	link  atomic.Pointer[Link]
	queue chan packet
}

type packet struct {
	due  time.Time
	data []byte
}

// NewWire makes a space for each name, 10.77.0.1 the first, joined by links without faults.
func NewWire(t testing.TB, seed uint64, names ...string) *Wire {
	t.Helper()
	w := &Wire{t: t, stop: make(chan struct{}), rand: rand.New(rand.NewPCG(seed, 0x77))}
	t.Cleanup(w.close)
	for i, name := range names {
		s, err := newSpace(name, netip.AddrFrom4([4]byte{10, 77, 0, byte(i + 1)}), i)
		if err != nil {
			t.Fatal(err)
		}
		w.spaces = append(w.spaces, s)
	}
	for range names {
		row := make([]*line, len(names))
		for i := range row {
			row[i] = &line{queue: make(chan packet, queuePackets)}
			row[i].link.Store(&Link{})
		}
		w.lines = append(w.lines, row)
	}
	for i, s := range w.spaces {
		w.all.Add(1)
		go w.read(s)
		for j, to := range w.spaces {
			if i != j {
				w.all.Add(1)
				go w.carry(w.lines[i][j], to)
			}
		}
	}
	return w
}

func (w *Wire) close() {
	close(w.stop)
	for _, s := range w.spaces {
		s.close()
	}
	w.all.Wait()
}

// Space returns the space of a name.
func (w *Wire) Space(name string) *Space {
	for _, s := range w.spaces {
		if s.Name == name {
			return s
		}
	}
	panic("BUG: no space " + name)
}

// read takes what a space sends.
func (w *Wire) read(s *Space) {
	defer w.all.Done()
	buffer := make([]byte, mtu+64)
	for {
		n, err := s.tun.Read(buffer)
		if err != nil {
			return // closed
		}
		to, ok := w.receiver(buffer[:n])
		if !ok || to == s {
			continue
		}
		w.pass(w.lines[s.index][to.index], buffer[:n])
	}
}

// receiver finds whom an IPv4 packet is for; everything else (IPv6's own chatter) is dropped.
func (w *Wire) receiver(data []byte) (*Space, bool) {
	if len(data) < 20 || data[0]>>4 != 4 {
		return nil, false
	}
	addr := netip.AddrFrom4([4]byte(data[16:20]))
	i := slices.IndexFunc(w.spaces, func(s *Space) bool { return s.Addr == addr })
	if i < 0 {
		return nil, false
	}
	return w.spaces[i], true
}

// pass queues a packet, or drops it.
func (w *Wire) pass(l *line, data []byte) {
	link := l.link.Load()
	if link.Cut || link.Loss > 0 && w.float() < link.Loss {
		w.Dropped.Add(1)
		return
	}
	due := time.Now().Add(link.Delay)
	if link.Jitter > 0 {
		due = due.Add(time.Duration(w.float() * float64(link.Jitter)))
	}
	select {
	case l.queue <- packet{due, slices.Clone(data)}:
	default:
		w.Dropped.Add(1)
	}
}

func (w *Wire) float() float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rand.Float64()
}

// carry delivers a line's packets in order. What is on its way when the line is cut is lost.
func (w *Wire) carry(l *line, to *Space) {
	defer w.all.Done()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var p packet
		select {
		case p = <-l.queue:
		case <-w.stop:
			return
		}
		if d := time.Until(p.due); d > 0 {
			timer.Reset(d)
			select {
			case <-timer.C:
			case <-w.stop:
				return
			}
		}
		if l.link.Load().Cut {
			w.Dropped.Add(1)
			continue
		}
		if _, err := to.tun.Write(p.data); err == nil {
			w.Carried.Add(1)
		}
	}
}

// Set changes one direction between two spaces.
func (w *Wire) Set(from, to string, link Link) {
	w.lines[w.Space(from).index][w.Space(to).index].link.Store(&link)
}

// Each sets both directions between all spaces of one list and all of another.
func (w *Wire) Each(some, others []string, link Link) {
	for _, a := range some {
		for _, b := range others {
			if a != b {
				w.Set(a, b, link)
				w.Set(b, a, link)
			}
		}
	}
}

// Split cuts every link between the named spaces and the rest; within both sides nothing changes.
func (w *Wire) Split(side ...string) {
	w.Each(side, w.rest(side), Link{Cut: true})
}

func (w *Wire) rest(side []string) (rest []string) {
	for _, s := range w.spaces {
		if !slices.Contains(side, s.Name) {
			rest = append(rest, s.Name)
		}
	}
	return rest
}

// Heal makes every link whole.
func (w *Wire) Heal() { w.Each(w.rest(nil), w.rest(nil), Link{}) }

// Summary says what was carried.
func (w *Wire) Summary() string {
	return fmt.Sprintf("%d packets carried, %d dropped", w.Carried.Load(), w.Dropped.Load())
}
