package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/exporter-toolkit/web"
	"golang.org/x/sync/errgroup"

	"github.com/highlander-io/highlander/cluster"
	"github.com/highlander-io/highlander/config"
	"github.com/highlander-io/highlander/egress"
	"github.com/highlander-io/highlander/fsm"
	"github.com/highlander-io/highlander/ingest"
	"github.com/highlander-io/highlander/wal"
)

// Options are what a node is made from.
type Options struct {
	Config config.Config
	// ConfigFile is read again by Reload; empty: there is nothing to reload.
	ConfigFile string
	// Overrides lays flags and environment over a configuration that was read again.
	Overrides func(*config.Config) error
	// Rejoin lets a node start whose directory is marked as left.
	Rejoin  bool
	Version string
	Logger  *slog.Logger
	// Now is the wall clock; nil: time.Now. How long something takes is measured by the monotonic part of its times.
	Now func() time.Time
	// Fatal ends the process after a failure that must not be survived: a failed write of the log, an entry of
	// an unknown version. It must not return.
	Fatal func(error)

	seams seams
}

// seams are what a build for tests changes in a node; see seams.go. The binary that is shipped has nothing to set them.
type seams struct {
	cluster func(*cluster.Options)
	lead    func(context.Context, *Server) error // one more duty of the leader
}

// equip sets the seams of a build for tests; nil in all others.
var equip func(*Options) error

const (
	headerTimeout = 10 * time.Second // for a request's headers; bodies have ingest's own deadline
	idleTimeout   = 5 * time.Minute
	// bodyTimeout is from the first byte of a request to the last of a body that nobody asks for: net/http reads the rest of a
	// body before it answers, or lets go of the connection, and would wait for it for ever. Writes have ingest's own deadline.
	bodyTimeout    = 30 * time.Second
	headerBytesMax = 64 << 10
	// answerTimeout is from the last header of a request to the last byte of its answer: longer than a body may take to
	// arrive and to be committed, and an end for whoever asks for much and reads nothing.
	answerTimeout = 2 * time.Minute

	// The parts of a stop that wait for others: together they stay below the 3 s that an operator is promised.
	drainTimeout    = 600 * time.Millisecond
	quiesceTimeout  = 400 * time.Millisecond
	leadTimeout     = 500 * time.Millisecond
	shutdownTimeout = 1000 * time.Millisecond
	farewellTimeout = 200 * time.Millisecond
	stopTimeout     = drainTimeout + quiesceTimeout + leadTimeout + shutdownTimeout + farewellTimeout
)

// Server is one node: everything wired, nothing running before Run.
type Server struct {
	options   Options
	config    atomic.Pointer[config.Config]
	lifecycle bool
	logger    *slog.Logger
	registry  *prometheus.Registry
	metrics   *metrics
	cleanups  cleanups

	dir      *cluster.Dir
	identity cluster.Identity
	log      *wal.WAL
	state    *fsm.FSM
	node     *cluster.Node
	ingest   *ingest.Handler
	egress   *egress.Egress
	storage  *storage

	web   *limitedListener
	admin net.Listener

	gate      atomic.Pointer[error]
	stopping  atomic.Bool
	reloading sync.Mutex
	// endLead cancels what this node does as a leader before Raft itself stops, so that its last cursors and
	// books can still be committed. leading is held by lead while it runs.
	endLead context.CancelFunc
	leadCtx context.Context
	leading sync.Mutex
}

// Open builds a node from its data directory up. Whatever was opened is closed again when a later step fails.
func Open(ctx context.Context, options Options) (_ *Server, err error) {
	if options.Now == nil {
		options.Now = time.Now
	}
	if equip != nil {
		if err := equip(&options); err != nil {
			return nil, err
		}
	}
	s := &Server{
		options:   options,
		logger:    options.Logger.With("component", "server"),
		registry:  prometheus.NewRegistry(),
		lifecycle: options.Config.Web.EnableLifecycle,
	}
	s.config.Store(&options.Config)
	s.leadCtx, s.endLead = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	s.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if err := s.openLog(); err != nil {
		return nil, explainDamage(err, s.Config())
	}
	if err := s.openRoad(); err != nil {
		return nil, err
	}
	if err := s.openCluster(ctx); err != nil {
		return nil, err
	}
	if err := s.openListeners(); err != nil {
		return nil, err
	}
	s.metrics = newMetrics(s.registry, s)
	return s, nil
}

// Config returns the configuration in force.
func (s *Server) Config() *config.Config { return s.config.Load() }

// openLog locks the data directory and opens what is kept in it.
func (s *Server) openLog() error {
	c := s.Config()
	dir, err := cluster.OpenDir(c.Storage.Path, c.Node.ID, s.options.Rejoin)
	if err != nil {
		return err
	}
	s.cleanups.Push("data directory", dir.Close)
	s.identity = dir.Identity()
	s.dir = dir
	s.log, err = wal.Open(wal.Options{
		Dir:          filepath.Join(c.Storage.Path, "wal"),
		Held:         s.identity.Held,
		SegmentBytes: segmentBytes(c.Storage),
		Logger:       s.options.Logger,
		Registerer:   s.registry,
		Fatal:        s.fatal,
	})
	if err != nil {
		return err
	}
	s.cleanups.Push("log", s.log.Close)
	s.state = fsm.New(fsm.Options{
		Margin:      logMargin(c),
		WindowBytes: handoverWindowBytes(c),
		Fatal:       s.fatal,
	})
	s.storage = newStorage(c.Storage.Path, int64(c.Storage.MaxBytes), int64(c.Storage.MinFreeBytes),
		s.log, func() uint64 { _, bytes := s.largestBacklog(); return bytes },
		s.options.Logger.With("component", "storage"))
	return s.storage.Open(time.Now())
}

// openRoad builds the two ends of the road: what takes writes, and what sends them on.
func (s *Server) openRoad() error {
	c := s.Config()
	s.ingest = ingest.New(ingestOptions(c), ingest.Deps{
		State:      s.state,
		Node:       ingestNode{s},
		Log:        ingestLog{s.log},
		Gate:       s.Gate,
		Now:        s.options.Now,
		Logger:     s.options.Logger,
		Registerer: s.registry,
	})
	s.egress = egress.New(egress.Options{
		State:              s.state,
		Log:                egressLog{s.log},
		Node:               egressNode{s},
		Now:                s.options.Now,
		Logger:             s.options.Logger,
		Registerer:         s.registry,
		Version:            s.options.Version,
		DeadLetterMaxBytes: int64(c.Storage.DeadLetterMaxBytes),
		Sparing:            s.sparing,
	})
	return s.egress.Reload(destinations(c))
}

func (s *Server) openCluster(ctx context.Context) error {
	c := s.Config()
	options := cluster.Options{
		Dir:              s.dir,
		BindAddress:      c.Cluster.BindAddress,
		AdvertiseAddress: c.Cluster.AdvertiseAddress,
		Join:             c.Cluster.Join,
		TLS:              cluster.TLSFiles{CAFile: c.Cluster.TLS.CAFile, CertFile: c.Cluster.TLS.CertFile, KeyFile: c.Cluster.TLS.KeyFile},
		Insecure:         c.Cluster.Insecure,
		Log:              s.log,
		FSM:              s.state,
		Floor:            s.state.Floor,
		SnapshotBytes:    snapshotBytes(c.Storage),
		HoldsBatches:     s.state.HoldsBatches,
		Room:             s.room,
		Afford:           s.affords,
		MayLead:          s.mayLead,
		Handler:          s.peerRoutes(),
		Info:             s.info,
		Logger:           s.options.Logger,
		Registerer:       s.registry,
		Fatal:            s.fatal,
	}
	if s.options.seams.cluster != nil {
		s.options.seams.cluster(&options)
	}
	node, err := cluster.Open(ctx, options)
	if err != nil {
		return err
	}
	s.node = node
	return nil
}

func (s *Server) openListeners() error {
	c := s.Config()
	web, err := net.Listen("tcp", c.Web.ListenAddress)
	if err != nil {
		return fmt.Errorf("web.listen_address: %w", err)
	}
	s.web = limitConnections(web, webConnections())
	s.cleanups.Push("web port", closeListener(s.web))
	admin, err := listenAdmin(c.Storage.Path)
	if err != nil {
		return err
	}
	s.admin = limitConnections(admin, adminConnectionsMax)
	s.cleanups.Push("admin socket", closeListener(s.admin))
	return nil
}

// closeListener closes a listener that its HTTP server may have closed before.
func closeListener(listener net.Listener) func() error {
	return func() error {
		if err := listener.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	}
}

// WebAddress returns the address of the web port, with the port that was chosen where the configuration says 0.
func (s *Server) WebAddress() string { return s.web.Addr().String() }

// fatal ends the process: what broke must not be survived, and recovery is a restart.
func (s *Server) fatal(err error) {
	err = explainDamage(err, s.Config())
	s.logger.Error("fatal, this process ends", "err", err)
	s.options.Fatal(err)
}

// Run serves until ctx ends or something fails, then stops in order and closes everything. Its error is nil
// after an orderly stop.
func (s *Server) Run(ctx context.Context) error {
	web, admin := s.webServer(), &http.Server{Handler: s.socketRoutes(), ReadHeaderTimeout: headerTimeout}
	// running ends the parts that serve; it outlives ctx by the orderly part of the stop.
	running, stop := context.WithCancelCause(context.Background())
	defer stop(nil)
	group, running := errgroup.WithContext(running)
	group.Go(func() error { return serving("web port", s.serveWeb(web)) })
	group.Go(func() error { return serving("admin socket", admin.Serve(s.admin)) })
	group.Go(func() error { return s.storage.Run(running) })
	group.Go(func() error { return s.runGate(running) })
	group.Go(func() error { return s.runCompaction(running) })
	group.Go(func() error {
		defer stop(nil) // a node that has left its cluster has nothing more to do, and nothing went wrong
		if err := s.node.Run(running, s.lead); !errors.Is(err, cluster.ErrLeft) {
			return err
		}
		s.logger.Info("this node has left its cluster")
		return nil
	})
	group.Go(func() error {
		select {
		case <-ctx.Done():
		case <-running.Done():
		}
		err := s.stop(web, admin)
		stop(nil)
		return err
	})
	s.logger.Info("node started", "node", s.identity.Name, "uuid", s.identity.UUID, "version", s.options.Version,
		"web", s.WebAddress(), "config_hash", s.Config().Hash())
	err := group.Wait()
	return errors.Join(explainDamage(err, s.Config()), s.Close())
}

// stop is the orderly end: no new writes, those in flight finish, the leader's cursors and books are committed,
// leadership goes to another node. Every step has a bound, whatever hangs.
func (s *Server) stop(web, admin *http.Server) error {
	began := time.Now()
	s.stopping.Store(true)
	if err := within(drainTimeout, s.ingest.Drain); err != nil {
		s.logger.Warn("requests were still in flight", "err", err)
	}
	if err := within(quiesceTimeout, s.egress.Quiesce); err != nil {
		s.logger.Warn("a delivery was still in flight", "err", err)
	}
	s.endLead()
	if err := within(leadTimeout, s.awaitLead); err != nil {
		s.logger.Warn("a leader's duty did not end", "err", err)
	}
	if err := within(shutdownTimeout, s.node.Shutdown); err != nil {
		s.logger.Warn("the end of this node's part in its cluster takes longer", "err", err) // Run waits for it
	}
	// Whoever made this node leave its cluster wants to know that it has: for that there is as much time as the rest has left.
	return errors.Join(farewell(web, farewellTimeout), farewell(admin, max(farewellTimeout, stopTimeout-time.Since(began))))
}

// farewell closes a port after the answers that are being written are out.
func farewell(server *http.Server, limit time.Duration) error {
	if err := within(limit, server.Shutdown); err != nil {
		return server.Close()
	}
	return nil
}

// awaitLead returns when lead has returned.
func (s *Server) awaitLead(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		s.leading.Lock()
		defer s.leading.Unlock()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func within(limit time.Duration, step func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return step(ctx)
}

func serving(what string, err error) error {
	if err == nil || errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

func (s *Server) webServer() *http.Server {
	return &http.Server{
		Handler:           s.webRoutes(),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       bodyTimeout,
		WriteTimeout:      answerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    headerBytesMax,
		ErrorLog:          slog.NewLogLogger(s.logger.Handler(), slog.LevelDebug),
	}
}

func (s *Server) serveWeb(server *http.Server) error {
	file := s.Config().Web.ConfigFile
	addresses, systemd := []string{s.WebAddress()}, false
	return web.Serve(s.web, server, &web.FlagConfig{
		WebListenAddresses: &addresses, WebSystemdSocket: &systemd, WebConfigFile: &file,
	}, s.logger)
}

// Close closes what Open opened. After Run it has been done.
func (s *Server) Close() error {
	s.endLead()
	return s.cleanups.Run(s.logger)
}

// lead is what this node does while it leads; it returns when ctx ends, or when the server stops.
func (s *Server) lead(ctx context.Context) {
	s.leading.Lock()
	defer s.leading.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.leadCtx, func() { cancel(errStopping) })()

	s.lookAtGate() // what it said last may be older than the state that this node has just caught up with

	var group sync.WaitGroup
	duty := func(name string, run func(context.Context) error) {
		group.Go(func() {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				s.fatal(fmt.Errorf("%s ended: %w", name, err))
			}
		})
	}
	duty("admission", s.ingest.Lead)
	duty("delivery", s.egress.Lead)
	duty("room", s.runRoom)
	duty("members", s.runMembers)
	if s.options.seams.lead != nil {
		duty("seam", func(ctx context.Context) error { return s.options.seams.lead(ctx, s) })
	}
	group.Wait()
}

// Ready returns why this node should get no traffic, nil if it should: it is not stopping, knows a leader, is caught up with
// it, what its file names under remote_write is registered, and if it leads it takes writes.
func (s *Server) Ready() error {
	if s.stopping.Load() {
		return errStopping
	}
	if err := s.node.Ready(); err != nil {
		return err
	}
	if err := s.registered(); errors.Is(err, errUnregistered) {
		return err // until a moment after the first start
	}
	if s.node.IsLeader() && !s.ingest.Leads() {
		return errTakingOver
	}
	return nil
}
