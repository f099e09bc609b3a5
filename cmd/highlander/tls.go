package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"
)

func (p *program) tlsCommand() *cli.Command {
	directory := func() cli.Flag {
		return &cli.StringFlag{Name: "dir", Value: ".", Usage: "`DIR` where to write to, and where the CA is"}
	}
	days := func(n int) cli.Flag {
		return &cli.IntFlag{Name: "days", Value: n, Usage: "`N` how many days it is valid"}
	}
	force := func() cli.Flag { return &cli.BoolFlag{Name: "force", Usage: "replace files that exist"} }
	return &cli.Command{
		Name:  "tls",
		Usage: "make the certificates that the nodes know each other by",
		Subcommands: []*cli.Command{
			{
				Name: "ca", Usage: "make ca.crt and ca.key",
				Description: "ca.crt goes to every node (--cluster.tls.ca-file). ca.key signs new nodes: keep it off the nodes. Whoever has\n" +
					"a certificate of this CA is a member's equal on the cluster port, so use the CA for nothing else.",
				Flags: []cli.Flag{directory(), days(3650), force()}, Action: p.tlsCA,
			},
			{
				Name: "node", ArgsUsage: "NAME", Usage: "make NAME.crt and NAME.key, signed by ca.key",
				Description: "They go to the node (--cluster.tls.cert-file, --cluster.tls.key-file). Files are read again at each handshake,\n" +
					"so that replacing them needs no restart. Nodes know each other by the CA and by UUIDs and compare no host names:\n" +
					"--host is for clients who do, such as those of the web port.",
				Flags: []cli.Flag{
					directory(),
					&cli.StringSliceFlag{Name: "host", Usage: "`HOST` a name or IP address of the node, besides NAME; repeatable"},
					days(825), force(),
				},
				Action: p.tlsNode,
			},
		},
	}
}

func (p *program) tlsCA(c *cli.Context) error {
	validity, err := validityOf(c)
	if err != nil {
		return err
	}
	pair, err := newAuthority(p.now(), validity)
	if err != nil {
		return err
	}
	return p.writePair(c, "ca", pair)
}

func (p *program) tlsNode(c *cli.Context) error {
	name := c.Args().First()
	if name == "ca" || name != filepath.Base(name) || name == "." || name == ".." {
		return usagef(c, "NAME: expected the name of a node, got %q", name)
	}
	validity, err := validityOf(c)
	if err != nil {
		return err
	}
	ca, err := readAuthority(pairPaths(c.String("dir"), "ca"))
	if err != nil {
		return fmt.Errorf("%w (\"highlander tls ca\" makes it)", err)
	}
	pair, err := ca.newNode(name, c.StringSlice("host"), p.now(), validity)
	if err != nil {
		return err
	}
	return p.writePair(c, name, pair)
}

func validityOf(c *cli.Context) (time.Duration, error) {
	days := c.Int("days")
	if days < 1 || days > 36500 {
		return 0, usagef(c, "--days: expected 1 to 36500, got %d", days)
	}
	return time.Duration(days) * 24 * time.Hour, nil
}

// paths are where a pair of certificate and key is.
type paths struct{ certificate, key string }

func pairPaths(dir, name string) paths {
	return paths{filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")}
}

// writePair writes both files, for their owner alone, and neither if one exists.
func (p *program) writePair(c *cli.Context, name string, pair pemPair) error {
	to := pairPaths(c.String("dir"), name)
	for _, path := range []string{to.key, to.certificate} {
		if _, err := os.Lstat(path); err == nil && !c.Bool("force") {
			return fmt.Errorf("%s exists; --force replaces it", path)
		}
	}
	if err := writePrivate(to.key, pair.key); err != nil {
		return err
	}
	if err := writePrivate(to.certificate, pair.certificate); err != nil {
		return err
	}
	_, err := fmt.Fprintf(p.out, "wrote %s and %s\n", to.certificate, to.key)
	return err
}

// writePrivate replaces a file whole or not at all, with mode 0600 from the start.
func writePrivate(path string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // CreateTemp's mode is 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	if _, err := f.Write(data); err != nil {
		_ = f.Close()
		return err
	}
	if err := f.Sync(); err != nil {
		_ = f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
