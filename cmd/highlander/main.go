package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/highlander-io/highlander/cmd/server"
	"github.com/highlander-io/highlander/config"
)

const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	os.Exit(newProgram().run(os.Args[1:]))
}

// program is one run of the command line, with the world outside made replaceable for tests.
type program struct {
	out, errOut io.Writer
	now         func() time.Time
	getenv      func(string) string
	signals     func() (<-chan os.Signal, func()) // what to react to, and how to stop listening
	exit        func(status int)                  // at once, without cleaning up
	open        func(context.Context, server.Options) (node, error)
	recover     func(context.Context, server.Options) error
}

// node is what `run` needs of a server.
type node interface {
	Run(ctx context.Context) error
	Reload() error
}

func newProgram() *program {
	return &program{
		out:     os.Stdout,
		errOut:  os.Stderr,
		now:     time.Now,
		getenv:  os.Getenv,
		signals: systemSignals,
		exit:    os.Exit,
		open:    func(ctx context.Context, o server.Options) (node, error) { return server.Open(ctx, o) },
		recover: recoverNode,
	}
}

func recoverNode(_ context.Context, o server.Options) error {
	return server.Recover(o.Config, o.Logger)
}

func systemSignals() (<-chan os.Signal, func()) {
	c := make(chan os.Signal, 4)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	return c, func() { signal.Stop(c) }
}

// run does what the arguments say and returns the exit status.
func (p *program) run(args []string) int {
	app := p.app()
	call, err := arrange(app, args)
	switch {
	case err != nil:
		return p.fail(err)
	case call.help:
		printHelp(p.out, call.command, call.path)
		return exitDone
	}
	if err := app.Run(call.line(app.Name)); err != nil {
		return p.fail(err)
	}
	return exitDone
}

// fail says why on stderr and turns the reason into a status.
func (p *program) fail(err error) int {
	fmt.Fprintf(p.errOut, "highlander: %s\n", strings.ReplaceAll(err.Error(), "\n", "\nhighlander: "))
	var usage *usageError
	if !errors.As(err, &usage) {
		return exitFailed
	}
	if usage.path != "" {
		fmt.Fprintf(p.errOut, "See \"%s --help\".\n", usage.path)
	}
	return exitUsage
}

// app is the tree of all commands.
func (p *program) app() *cli.App {
	app := &cli.App{
		Name:  "highlander",
		Usage: "a small Raft cluster between Prometheus pairs and long-term storage",
		Description: "Identical Prometheus servers push remote write to any node; exactly one of them gets through, and every\n" +
			"accepted sample stays on the disks of a majority until the long-term storage has it.\n" +
			"\n" +
			"A first node:  highlander run --remote-write.url http://lts.example/api/v1/write",
		Commands: []*cli.Command{
			p.runCommand(),
			p.statusCommand(),
			p.clusterCommand(),
			p.sourceCommand(),
			p.destinationCommand(),
			p.deadLetterCommand(),
			p.walCommand(),
			p.configCommand(),
			p.tlsCommand(),
			p.versionCommand(),
		},
		Writer:                    p.out,
		ErrWriter:                 p.errOut,
		HideHelp:                  true,
		HideVersion:               true,
		DisableSliceFlagSeparator: true,
		OnUsageError:              onUsageError,
		ExitErrHandler:            func(*cli.Context, error) {},
	}
	for _, c := range app.Commands {
		tame(c)
	}
	return app
}

// tame keeps the library from adding help commands and from printing on its own.
func tame(c *cli.Command) {
	c.HideHelp = true
	c.OnUsageError = onUsageError
	if _, ok := flagsOf(c)["output"]; ok {
		c.Before = func(ctx *cli.Context) error { // before anything is changed
			_, err := wantsJSON(ctx)
			return err
		}
	}
	for _, sub := range c.Subcommands {
		tame(sub)
	}
}

func onUsageError(c *cli.Context, err error, _ bool) error {
	return &usageError{path: c.Command.HelpName, text: err.Error()}
}

// logger is made from --log.level and --log.format.
func (p *program) logger(c *cli.Context) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(p.value(c, "log.level"))); err != nil {
		return nil, usagef(c, "--log.level: expected debug, info, warn or error, got %q", p.value(c, "log.level"))
	}
	options := &slog.HandlerOptions{Level: level}
	switch format := p.value(c, "log.format"); format {
	case "logfmt":
		return slog.New(slog.NewTextHandler(p.errOut, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(p.errOut, options)), nil
	default:
		return nil, usagef(c, "--log.format: expected logfmt or json, got %q", format)
	}
}

// value is a flag's value, else its environment variable's, else its default.
func (p *program) value(c *cli.Context, flag string) string {
	if !c.IsSet(flag) {
		if v := p.getenv(config.EnvName(flag)); v != "" {
			return v
		}
	}
	return c.String(flag)
}
