package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/goleak"

	"github.com/highlander-io/highlander/test/leaks"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// The tests wait for elections most of the time, so more of them fit side by side than there are processors. A fuzzer
	// waits for nothing.
	if flag.Lookup("test.fuzz").Value.String() == "" {
		if err := flag.Set("test.parallel", "12"); err != nil {
			panic(err)
		}
	}
	// Raft never answers a question that is still in a queue when it stops; whoever waits for the answer has given up.
	leaks.Main(m, goleak.IgnoreTopFunction("github.com/hashicorp/raft.(*deferError).Error"))
}

// patience is far above what any step takes, also on a starved machine, whose elections take seconds.
const patience = 3 * time.Minute

// eventually polls until check returns nil.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// memoryLog is a log that survives the node that uses it, is as strict as a real one, and fails on demand.
type memoryLog struct {
	*raft.InmemStore
	mu      sync.Mutex
	failure error
	stall   chan struct{}
	onTrim  func(lowest, highest, last uint64)
}

func newMemoryLog() *memoryLog { return &memoryLog{InmemStore: raft.NewInmemStore()} }

func (l *memoryLog) IsMonotonic() bool { return true }

func (l *memoryLog) StoreLog(entry *raft.Log) error { return l.StoreLogs([]*raft.Log{entry}) }

func (l *memoryLog) StoreLogs(entries []*raft.Log) error {
	l.mu.Lock()
	failure, stall := l.failure, l.stall
	l.mu.Unlock()
	if stall != nil {
		<-stall
	}
	if failure != nil {
		return failure
	}
	last, _ := l.LastIndex()
	copies := make([]*raft.Log, len(entries))
	for i, entry := range entries {
		if last != 0 && entry.Index != last+uint64(i)+1 {
			return fmt.Errorf("entry %d after %d", entry.Index, last)
		}
		kept := *entry
		copies[i] = &kept
	}
	return l.InmemStore.StoreLogs(copies)
}

func (l *memoryLog) DeleteRange(lowest, highest uint64) error {
	last, _ := l.LastIndex()
	l.mu.Lock()
	if l.onTrim != nil {
		l.onTrim(lowest, highest, last)
	}
	l.mu.Unlock()
	return l.InmemStore.DeleteRange(lowest, highest)
}

func (l *memoryLog) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failure = err
}

// end is index and term of the last entry.
func (l *memoryLog) end() [2]uint64 {
	last, _ := l.LastIndex()
	var entry raft.Log
	if err := l.GetLog(last, &entry); err != nil {
		return [2]uint64{}
	}
	return [2]uint64{entry.Index, entry.Term}
}

// before is the index of the last command of an earlier leader.
func (l *memoryLog) before(turn *leadership) (found uint64) {
	first, _ := l.FirstIndex()
	last, _ := l.LastIndex()
	for index := max(first, 1); turn != nil && index <= last; index++ {
		var entry raft.Log
		if l.GetLog(index, &entry) == nil && entry.Type == raft.LogCommand && entry.Term < turn.term {
			found = index
		}
	}
	return found
}

func (l *memoryLog) commands(t *testing.T) map[string]uint64 {
	t.Helper()
	found := make(map[string]uint64)
	first, _ := l.FirstIndex()
	last, _ := l.LastIndex()
	for index := max(first, 1); index <= last; index++ {
		var entry raft.Log
		if err := l.GetLog(index, &entry); err != nil {
			t.Fatalf("index %d of %d to %d: %v", index, first, last, err)
		}
		if entry.Type == raft.LogCommand {
			found[string(entry.Data)] = index
		}
	}
	return found
}

// ledger is a state machine like the real one: it counts batches and remembers the cursor, but its snapshots
// hold no batch. What is above the cursor exists only in the log.
type ledger struct {
	mu      sync.Mutex
	state   ledgerState
	configs uint64
}

type ledgerState struct {
	Cursor  uint64
	Batches int
	Applied uint64
	Hash    uint64
}

func (l *ledger) ApplyBatch(entries []*raft.Log) []any {
	responses := make([]any, len(entries))
	for i, entry := range entries {
		responses[i] = l.Apply(entry)
	}
	return responses
}

func (l *ledger) Apply(entry *raft.Log) any {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := string(entry.Data)
	if cursor, ok := strings.CutPrefix(text, "cursor:"); ok {
		to, err := strconv.ParseUint(cursor, 10, 64)
		if err != nil {
			panic(err)
		}
		l.state.Cursor = max(l.state.Cursor, to)
	} else {
		l.state.Batches++
	}
	for _, b := range entry.Data {
		l.state.Hash = l.state.Hash*1099511628211 + uint64(b)
	}
	l.state.Applied = entry.Index
	return "applied " + text
}

func (l *ledger) StoreConfiguration(index uint64, _ raft.Configuration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.configs = index
}

func (l *ledger) Snapshot() (raft.FSMSnapshot, error) { return l.now(), nil }

func (l *ledger) now() ledgerState {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}

func (l *ledger) floor() uint64 { return l.now().Cursor + 1 }

func (s ledgerState) Persist(sink raft.SnapshotSink) error {
	if err := json.NewEncoder(sink).Encode(s); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

func (ledgerState) Release() {}

func (l *ledger) Restore(r io.ReadCloser) error {
	defer r.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state = ledgerState{}
	return json.NewDecoder(r).Decode(&l.state)
}

// fabric is the network between the nodes of a test: names instead of addresses, and cables that can be cut.
type fabric struct {
	mu    sync.Mutex
	where map[string]string // advertised address → bound address
	cut   map[string]bool
	conns map[net.Conn][2]string
}

func newFabric() *fabric {
	return &fabric{where: make(map[string]string), cut: make(map[string]bool), conns: make(map[net.Conn][2]string)}
}

func (f *fabric) dialer(from string) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, to string) (net.Conn, error) {
		f.mu.Lock()
		bound, ok := f.where[to]
		blocked := f.cut[from] || f.cut[to]
		f.mu.Unlock()
		if !ok || blocked {
			return nil, fmt.Errorf("no route from %s to %s", from, to)
		}
		conn, err := dialTCP(ctx, bound)
		if err != nil {
			return nil, err
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.cut[from] || f.cut[to] { // meanwhile
			conn.Close()
			return nil, fmt.Errorf("no route from %s to %s", from, to)
		}
		f.conns[conn] = [2]string{from, to}
		return conn, nil
	}
}

func (f *fabric) isolate(address string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cut[address] = true
	for conn, ends := range f.conns {
		if slices.Contains(ends[:], address) {
			conn.Close()
			delete(f.conns, conn)
		}
	}
}

func (f *fabric) reconnect(address string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.cut, address)
}

func (f *fabric) place(address, bound string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.where[address] = bound
}

// machineRoom makes and keeps the nodes of one test.
type machineRoom struct {
	t      *testing.T
	fabric *fabric
	logger *slog.Logger
	edit   func(*Options)
	slow   time.Duration // by how many times its nodes take longer to lose patience
}

func newRoom(t *testing.T) *machineRoom {
	t.Parallel()
	logger := slog.New(slog.DiscardHandler)
	if os.Getenv("CLUSTER_TEST_LOG") != "" {
		logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return &machineRoom{t: t, fabric: newFabric(), logger: logger, slow: slowness()}
}

// box is one machine: its disk, and the node that runs on it, if any.
type box struct {
	room    *machineRoom
	name    string
	address string
	join    []string
	rejoin  bool

	path   string
	log    *memoryLog
	ledger *ledger
	node   *Node
	dir    *Dir
	ended  chan error
	leads  chan context.Context
	edit   func(*Options)
}

func (r *machineRoom) box(name string, join ...string) *box {
	b := &box{room: r, name: name, address: name + ".test:6746", join: join}
	b.wipe()
	r.t.Cleanup(b.kill)
	return b
}

func (r *machineRoom) boxes(count int) []*box {
	var join []string
	for i := range count {
		join = append(join, fmt.Sprintf("n%d.test:6746", i+1))
	}
	var all []*box
	for i := range count {
		all = append(all, r.box(fmt.Sprintf("n%d", i+1), join...))
	}
	return all
}

// wipe puts in a new, empty disk.
func (b *box) wipe() {
	b.path = b.room.t.TempDir()
	b.log = newMemoryLog()
}

func (b *box) options() Options {
	b.ledger = &ledger{}
	slow := b.room.slow
	opts := Options{
		Dir: b.dir, BindAddress: "127.0.0.1:0", AdvertiseAddress: b.address, Join: b.join,
		Log: b.log, FSM: b.ledger, Floor: b.ledger.floor, SnapshotBytes: 1 << 20,
		HoldsBatches:     func() bool { return b.ledger.now().Batches > 0 },
		Info:             func() Info { return Info{Version: "test"} },
		Logger:           b.room.logger.With("node", b.name),
		HeartbeatTimeout: slow * 250 * time.Millisecond, ElectionTimeout: slow * 250 * time.Millisecond, LeaseTimeout: slow * 200 * time.Millisecond,
		seams: seams{dialNet: b.room.fabric.dialer(b.address), pollInterval: slow * 100 * time.Millisecond},
	}
	for _, edit := range []func(*Options){b.room.edit, b.edit} {
		if edit != nil {
			edit(&opts)
		}
	}
	return opts
}

func (b *box) open() error {
	dir, err := OpenDir(b.path, b.name, b.rejoin)
	if err != nil {
		return err
	}
	b.dir = dir
	node, err := Open(b.room.t.Context(), b.options())
	if err != nil {
		return errors.Join(err, dir.Close())
	}
	b.node = node
	b.room.fabric.place(b.address, node.port.listener.Addr().String())
	return nil
}

func (b *box) start() *box {
	b.room.t.Helper()
	if err := b.open(); err != nil {
		b.room.t.Fatal(err)
	}
	b.ended = make(chan error, 1)
	b.leads = make(chan context.Context, 16)
	go func() {
		b.ended <- b.node.Run(context.Background(), func(ctx context.Context) {
			b.leads <- ctx
			<-ctx.Done()
		})
	}()
	return b
}

// stop shuts the node down in an orderly way.
func (b *box) stop() {
	b.room.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := b.node.Shutdown(ctx); err != nil {
		b.room.t.Fatalf("%s: shutdown: %v", b.name, err)
	}
	b.gone()
}

// kill ends the node without a word to anybody, as far as one process can.
func (b *box) kill() {
	if b.node == nil {
		return
	}
	b.room.fabric.isolate(b.address)
	b.node.finish(ErrStopped)
	b.gone()
	b.room.fabric.reconnect(b.address)
}

// result waits for Run to return.
func (b *box) result() error {
	b.room.t.Helper()
	select {
	case err := <-b.ended:
		b.ended <- err
		return err
	case <-time.After(patience):
		b.room.t.Fatalf("%s goes on", b.name)
		return nil
	}
}

func (b *box) gone() {
	if b.ended != nil {
		select {
		case err := <-b.ended:
			b.ended <- err
		case <-time.After(patience):
			b.room.t.Errorf("%s does not end", b.name)
		}
	}
	if err := b.dir.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		b.room.t.Error(err)
	}
	b.node = nil
}

func (b *box) propose(text string) (uint64, error) {
	_, index, err := b.node.Propose([]byte(text), patience).Wait(b.room.t.Context())
	return index, err
}

// missing counts the acknowledged batches that neither the cursor has passed nor the log holds.
func (b *box) missing(acked []string, indices map[string]uint64) int {
	b.room.t.Helper()
	held := b.log.commands(b.room.t)
	cursor := b.ledger.now().Cursor
	lost := 0
	for _, text := range acked {
		if _, ok := held[text]; !ok && (indices[text] == 0 || indices[text] > cursor) {
			lost++
		}
	}
	return lost
}

func (b *box) caughtUp(t *testing.T, leader *box) {
	t.Helper()
	eventually(t, b.name+" catches up", func() error {
		if got, want := b.ledger.now(), leader.ledger.now(); got != want {
			return fmt.Errorf("state %+v, want %+v", got, want)
		}
		return nil
	})
}

var _ http.RoundTripper = memberTripper{}
