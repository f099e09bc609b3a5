package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

const (
	dialAttemptTimeout = 2 * time.Second // one address; a dial may try several
	pendingMax         = 256             // connections that have not finished their handshake
	bookMax            = 1024            // nodes whose addresses are remembered; what says it is one more is not believed
)

// port is the cluster port: one listener, one handshake, three kinds of streams behind it.
type port struct {
	listener  net.Listener
	files     TLSFiles
	advertise string
	join      []string
	logger    *slog.Logger
	metrics   *metrics
	identity  func() Identity
	report    func() *Report
	onRefused func(greeting)
	dialNet   func(ctx context.Context, address string) (net.Conn, error)
	examine   func(greeting, Identity) string

	http    *inbox
	pending *connSet
	wait    sync.WaitGroup

	mu   sync.Mutex
	raft *layer // of the Raft instance that runs now, or nil
	book map[string]addresses
}

// addresses is what a node has learned about where another one is, besides the configuration.
type addresses struct {
	good      string // the last one that answered with the right UUID
	announced string // what the node itself said when it last dialled us
}

func (p *port) serve() {
	for {
		conn, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			p.logger.Warn("cannot accept a connection", "err", err)
			time.Sleep(50 * time.Millisecond) // out of file descriptors: nothing else to wait for
			continue
		}
		// Whoever has said nothing for the longest time makes room. Waiting for it instead would let silent strangers keep
		// the members out, and a leader would lose its lease.
		p.pending.evict(pendingMax - 1)
		if !p.pending.add(conn) {
			conn.Close()
			continue
		}
		p.wait.Go(func() { p.receive(conn) })
	}
}

// receive takes one connection through its handshake and hands it over.
func (p *port) receive(raw net.Conn) {
	conn, g, err := p.welcome(raw)
	p.pending.remove(raw)
	if err != nil {
		p.logger.Debug("connection refused", "peer", raw.RemoteAddr().String(), "err", err)
		raw.Close()
		return
	}
	switch g.Stream {
	case streamRaft:
		if l := p.layer(); l == nil || l.cluster != g.Cluster || !l.deliver(conn) {
			conn.Close()
		}
	case streamHTTP:
		if !p.http.deliver(peerConn{conn, g.From}) {
			conn.Close()
		}
	default:
		conn.Close()
	}
}

func (p *port) welcome(raw net.Conn) (net.Conn, greeting, error) {
	var g greeting
	if err := raw.SetDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return nil, g, err
	}
	conn := raw
	if p.files.enabled() {
		conn = tls.Server(raw, &tls.Config{
			MinVersion:         tls.VersionTLS13,
			GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return p.files.load() },
		})
	}
	own := p.identity()
	if err := readFrame(conn, &g); err != nil {
		p.metrics.refused.WithLabelValues("handshake").Inc()
		if errors.Is(err, errVersion) {
			return nil, g, errors.Join(err, writeFrame(conn, welcome{Reason: err.Error(), UUID: own.UUID}))
		}
		return nil, g, err
	}
	if reason := p.examine(g, own); reason != "" {
		p.metrics.refused.WithLabelValues("identity").Inc()
		p.onRefused(g)
		return nil, g, errors.Join(errors.New(reason), writeFrame(conn, welcome{Reason: reason, UUID: own.UUID}))
	}
	p.learn(g.From, own.Cluster)
	answer := welcome{Accepted: true, UUID: own.UUID}
	if g.Stream == streamHello {
		answer.Report = p.report()
	}
	if err := writeFrame(conn, answer); err != nil {
		return nil, g, err
	}
	return conn, g, conn.SetDeadline(time.Time{})
}

// learn remembers where a member of our cluster says it can be dialled: it may have moved.
func (p *port) learn(from Peer, cluster string) {
	if from.UUID == "" || from.Address == "" || cluster == "" || from.Cluster != cluster {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	entry, known := p.book[from.UUID]
	if !known && len(p.book) >= bookMax {
		return
	}
	entry.announced = from.Address
	p.book[from.UUID] = entry
}

func (p *port) layer() *layer {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.raft
}

func (p *port) setLayer(l *layer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.raft = l
}

// candidates lists where the node meant by t may be found, the likeliest first.
func (p *port) candidates(t target) []string {
	p.mu.Lock()
	known := p.book[t.UUID]
	p.mu.Unlock()
	var list []string
	for _, address := range append([]string{known.good, t.HostPort, known.announced}, p.join...) {
		itself := address == p.advertise && t.UUID != p.identity().UUID
		if address != "" && !itself && !slices.Contains(list, address) {
			list = append(list, address)
		}
	}
	return list
}

// dial finds the node that t names, at whichever address it answers.
func (p *port) dial(ctx context.Context, t target, kind stream) (net.Conn, error) {
	var failures []error
	for _, address := range p.candidates(t) {
		conn, _, err := p.dialOnce(ctx, address, greeting{Stream: kind, Target: t.UUID, Cluster: t.Cluster})
		if err == nil {
			p.remember(t.UUID, address)
			return conn, nil
		}
		failures = append(failures, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(failures...)
}

func (p *port) remember(uuid, address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	entry := p.book[uuid]
	entry.good = address
	p.book[uuid] = entry
}

func (p *port) dialOnce(ctx context.Context, address string, g greeting) (net.Conn, welcome, error) {
	ctx, cancel := context.WithTimeout(ctx, dialAttemptTimeout)
	defer cancel()
	own := p.identity()
	g.From = Peer{Name: own.Name, UUID: own.UUID, Cluster: own.Cluster, Address: p.advertise}
	conn, err := p.dialNet(ctx, address)
	if err != nil {
		return nil, welcome{}, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	secured, w, err := p.introduce(conn, address, g)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		conn.Close()
		return nil, w, err
	}
	return secured, w, nil
}

func (p *port) introduce(conn net.Conn, address string, g greeting) (net.Conn, welcome, error) {
	if p.files.enabled() {
		config, err := p.files.load()
		if err != nil {
			return nil, welcome{}, err
		}
		conn = tls.Client(conn, config)
	}
	w, err := greet(conn, address, g)
	return conn, w, err
}

// hello asks whoever is at address for its report.
func (p *port) hello(ctx context.Context, address string) (*Report, error) {
	return p.helloTo(ctx, address, "")
}

// helloTo asks for a report of one certain node; any other refuses.
func (p *port) helloTo(ctx context.Context, address, uuid string) (*Report, error) {
	conn, w, err := p.dialOnce(ctx, address, greeting{Stream: streamHello, Target: uuid})
	if err != nil {
		return nil, err
	}
	conn.Close()
	if w.Report == nil {
		return nil, fmt.Errorf("%s answered without a report", address)
	}
	return w.Report, nil
}

func (p *port) close() {
	p.listener.Close()
	p.pending.close()
	if l := p.layer(); l != nil {
		l.Close()
	}
	p.http.Close()
	p.wait.Wait()
}

// connSet tracks connections so that they can be closed at once.
type connSet struct {
	mu     sync.Mutex
	closed bool
	conns  map[net.Conn]uint64 // when each came, as a number that grows
	last   uint64
}

func newConnSet() *connSet { return &connSet{conns: make(map[net.Conn]uint64)} }

func (s *connSet) add(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.last++
	s.conns[conn] = s.last
	return true
}

// evict closes those that came first until no more than most are left.
func (s *connSet) evict(most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.conns) > most {
		var oldest net.Conn
		for conn, at := range s.conns {
			if oldest == nil || at < s.conns[oldest] {
				oldest = conn
			}
		}
		delete(s.conns, oldest)
		oldest.Close()
	}
}

func (s *connSet) remove(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, conn)
}

func (s *connSet) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for conn := range s.conns {
		if tracked, ok := conn.(*trackedConn); ok {
			conn = tracked.Conn // its own Close would wait for the lock held here
		}
		conn.Close()
	}
	clear(s.conns)
}

// inbox is a net.Listener whose connections come from the port.
type inbox struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
	addr   net.Addr
}

func newInbox(addr net.Addr) *inbox {
	return &inbox{conns: make(chan net.Conn), closed: make(chan struct{}), addr: addr}
}

func (b *inbox) deliver(conn net.Conn) bool {
	select {
	case b.conns <- conn:
		return true
	case <-b.closed:
		return false
	}
}

// Accept implements net.Listener.
func (b *inbox) Accept() (net.Conn, error) {
	select {
	case conn := <-b.conns:
		return conn, nil
	case <-b.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (b *inbox) Close() error {
	b.once.Do(func() { close(b.closed) })
	return nil
}

// Addr implements net.Listener.
func (b *inbox) Addr() net.Addr { return b.addr }

// layer is the raft.StreamLayer of one Raft instance. It dies with the instance, the port lives on.
type layer struct {
	*inbox
	port    *port
	cluster string
	conns   *connSet
	ctx     context.Context // ends when the layer is closed, and with it every dial
	cancel  context.CancelFunc
}

type layerAddr string

func (a layerAddr) Network() string { return "tcp" }
func (a layerAddr) String() string  { return string(a) }

func newLayer(p *port, own Identity) *layer {
	local := target{UUID: own.UUID, Cluster: own.Cluster, HostPort: p.advertise}.address()
	ctx, cancel := context.WithCancel(context.Background())
	return &layer{inbox: newInbox(layerAddr(local)), port: p, cluster: own.Cluster, conns: newConnSet(), ctx: ctx, cancel: cancel}
}

func (l *layer) deliver(conn net.Conn) bool {
	tracked := &trackedConn{conn, l.conns}
	return l.conns.add(tracked) && l.inbox.deliver(tracked)
}

// Dial implements raft.StreamLayer.
func (l *layer) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	t, err := parseAddress(address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(l.ctx, timeout)
	defer cancel()
	conn, err := l.port.dial(ctx, t, streamRaft)
	if err != nil {
		return nil, err
	}
	tracked := &trackedConn{conn, l.conns}
	if !l.conns.add(tracked) {
		conn.Close()
		return nil, net.ErrClosed
	}
	return tracked, nil
}

// Close implements net.Listener: nothing that this instance still has to say gets out.
func (l *layer) Close() error {
	l.cancel()
	err := l.inbox.Close()
	l.conns.close()
	return err
}

// trackedConn leaves its set when it is closed.
type trackedConn struct {
	net.Conn
	set *connSet
}

func (c *trackedConn) Close() error {
	c.set.remove(c)
	return c.Conn.Close()
}

// peerConn carries who is at the other end to the HTTP handlers.
type peerConn struct {
	net.Conn
	peer Peer
}
