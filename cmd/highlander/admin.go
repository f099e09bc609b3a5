package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os/signal"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/highlander-io/highlander/cmd/server"
	"github.com/highlander-io/highlander/config"
)

const (
	// adminTimeout is longer than a node's own bound for a command: its answer says more than a timeout here.
	adminTimeout = 45 * time.Second
	// joinTimeout likewise: joining waits until the newcomer has the whole log.
	joinTimeout = 11 * time.Minute
	// answerBytesMax bounds what is read of an answer.
	answerBytesMax = 64 << 20
)

// adminFlags say which node to speak to. Commands have them besides their own.
func adminFlags(own ...cli.Flag) []cli.Flag {
	return append(own,
		storagePathFlag(),
		&cli.StringFlag{Name: "admin.socket", Usage: "`FILE` the node's admin socket (default: admin.sock in --storage.path)"},
		outputFlag(),
	)
}

func storagePathFlag() cli.Flag {
	return &cli.StringFlag{Name: "storage.path", Value: config.Default().Storage.Path, Usage: "`DIR` the node's data directory"}
}

// admin speaks to a node over its unix socket.
type admin struct {
	socket string
	client *http.Client
}

func (p *program) admin(c *cli.Context) *admin {
	socket := p.value(c, "admin.socket")
	// A directory on the command line is more specific than a socket in the environment.
	if socket == "" || c.IsSet("storage.path") && !c.IsSet("admin.socket") {
		socket = server.AdminSocket(p.value(c, "storage.path"))
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}
	return &admin{socket: socket, client: &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

func (a *admin) get(c *cli.Context, path string, into any) error {
	return a.call(c, adminTimeout, http.MethodGet, path, nil, into)
}

func (a *admin) post(c *cli.Context, path string, command any) error {
	return a.call(c, adminTimeout, http.MethodPost, path, command, nil)
}

// call sends a command and reads the answer into into, which may be a *json.RawMessage, or nil.
func (a *admin) call(c *cli.Context, timeout time.Duration, method, path string, command, into any) error {
	ctx, stop := signal.NotifyContext(c.Context, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var body io.Reader
	if command != nil {
		text, err := json.Marshal(command)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://node"+path, body)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := a.client.Do(request)
	if err != nil {
		return a.explain(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, answerBytesMax))
	if err != nil {
		return a.explain(err)
	}
	if response.StatusCode != http.StatusOK {
		return refusal(response.Status, text)
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("the node at %s answered something else than JSON: %w", a.socket, err)
	}
	return nil
}

// refusal is what the node said.
func refusal(status string, text []byte) error {
	var answer struct {
		Error string `json:"error"`
	}
	if err := json.Unmarshal(text, &answer); err != nil || answer.Error == "" {
		return fmt.Errorf("the node answered %s", status)
	}
	return errors.New(printable(answer.Error))
}

// explain says what a person can do about a socket that does not answer.
func (a *admin) explain(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("no node seems to run here: there is no socket %s (--storage.path or --admin.socket say where it is)", a.socket)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no node seems to run here: nobody listens on the socket %s that a node left behind", a.socket)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("not allowed to use the socket %s: it belongs to the user and group that the node runs as", a.socket)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the node at %s does not answer; it may still do what it was told, \"highlander status\" shows it", a.socket)
	default:
		return fmt.Errorf("the node at %s: %w", a.socket, err)
	}
}
