package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/highlander-io/highlander/config"
)

func (p *program) configCommand() *cli.Command {
	return &cli.Command{
		Name:  "config",
		Usage: "the configuration file",
		Subcommands: []*cli.Command{
			{
				Name: "check", ArgsUsage: "FILE", Usage: "say whether a file is right, and where it is not",
				Action: p.configCheck,
			},
			{
				Name: "default", Usage: "print a file with every key at its default",
				Action: func(*cli.Context) error {
					_, err := fmt.Fprint(p.out, config.DefaultFile())
					return err
				},
			},
		},
	}
}

func (p *program) configCheck(c *cli.Context) error {
	file := c.Args().First()
	cfg, warnings, err := config.Load(file)
	if err != nil {
		return err
	}
	for _, w := range warnings {
		fmt.Fprintf(p.errOut, "warning: %s\n", w)
	}
	if err := cfg.Validate(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.out, "%s: ok\n", file)
	return err
}
