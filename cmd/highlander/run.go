package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/highlander-io/highlander/cmd/server"
	"github.com/highlander-io/highlander/config"
)

func (p *program) runCommand() *cli.Command {
	return &cli.Command{
		Name:  "run",
		Usage: "run a node",
		Description: "Every flag is also an environment variable (--storage.path is HIGHLANDER_STORAGE_PATH) and, but for those of\n" +
			"config, remote-write and log, a key of the configuration file (storage.path); see \"highlander config default\".\n" +
			"A flag beats the variable, the variable beats the file. SIGHUP reloads the file.",
		Flags: nodeFlags(&cli.BoolFlag{
			Name: "cluster.rejoin", Category: "cluster",
			Usage: "start although this node has left its cluster",
		}),
		Action: p.runNode,
	}
}

func (p *program) runNode(c *cli.Context) error {
	options, err := p.serverOptions(c)
	if err != nil {
		return err
	}
	options.Rejoin, err = p.enabled(c, "cluster.rejoin")
	if err != nil {
		return err
	}
	logger := options.Logger
	options.Fatal = func(error) { p.exit(exitFailed) } // the server has logged why
	logger.Info("starting", "version", options.Version, "go", runtime.Version(), "config_file", options.ConfigFile,
		"config_hash", options.Config.Hash())
	if len(options.Config.RemoteWrite) == 0 {
		logger.Warn("no remote_write: writes are answered 503 until a destination is configured")
	}
	ctx, cancel := context.WithCancel(c.Context)
	defer cancel()
	// From the first moment on: a signal while the log is being read must stop the node as well.
	signals, ignore := p.signals()
	defer ignore()
	reload := make(chan struct{}, 1)
	watched := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(watched)
		p.watch(logger, signals, reload, cancel, done)
	}()
	err = p.serve(ctx, options, reload)
	close(done)
	<-watched
	if err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	logger.Info("stopped")
	return nil
}

// serve opens a node and runs it until ctx ends; every reload asks it to read its file again.
func (p *program) serve(ctx context.Context, options server.Options, reload <-chan struct{}) error {
	n, err := p.open(ctx, options)
	if err != nil {
		return err
	}
	result := make(chan error, 1)
	go func() { result <- n.Run(ctx) }()
	for {
		select {
		case <-reload:
			// The node keeps its last good configuration, and has said in its log why it does.
			_ = n.Reload()
		case err := <-result:
			return err
		}
	}
}

// watch turns signals into what they mean: reload, stop, and on the second of them stop at once.
func (p *program) watch(logger *slog.Logger, signals <-chan os.Signal, reload chan<- struct{}, stop func(), done <-chan struct{}) {
	stopping := false
	for {
		select {
		case <-done:
			return
		case s := <-signals:
			switch {
			case s == syscall.SIGHUP:
				select {
				case reload <- struct{}{}:
				default: // one is waiting already, and will read what is there by then
				}
			case stopping:
				logger.Error("stopping at once on a second signal", "signal", s.String())
				p.exit(exitFailed)
				return
			default:
				logger.Info("stopping", "signal", s.String())
				stopping = true
				stop()
			}
		}
	}
}

// serverOptions reads file, environment and flags.
func (p *program) serverOptions(c *cli.Context) (server.Options, error) {
	logger, err := p.logger(c)
	if err != nil {
		return server.Options{}, err
	}
	overrides, err := p.overrides(c)
	if err != nil {
		return server.Options{}, err
	}
	file := p.value(c, "config.file")
	cfg, err := loadConfig(logger, file, overrides)
	var wrong *config.Error
	if errors.As(err, &wrong) && strings.HasPrefix(wrong.Origin, "--") {
		return server.Options{}, usagef(c, "%s", err)
	}
	if err != nil {
		return server.Options{}, err
	}
	return server.Options{
		Config:     cfg,
		ConfigFile: file,
		Overrides:  overrides.lay,
		Version:    buildVersion(),
		Logger:     logger,
	}, nil
}

func loadConfig(logger *slog.Logger, file string, o overrides) (config.Config, error) {
	cfg := config.Default()
	if file != "" {
		fromFile, warnings, err := config.Load(file)
		if err != nil {
			return config.Config{}, err
		}
		for _, w := range warnings {
			logger.Warn("configuration", "warning", w.String())
		}
		cfg = fromFile
	}
	if err := o.lay(&cfg); err != nil {
		return config.Config{}, err
	}
	return cfg, cfg.Validate()
}
