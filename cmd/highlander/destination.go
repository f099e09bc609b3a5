package main

import "github.com/urfave/cli/v2"

func (p *program) destinationCommand() *cli.Command {
	return &cli.Command{
		Name:  "destination",
		Usage: "where samples go",
		Subcommands: []*cli.Command{
			{
				Name: "list", Usage: "all destinations with their backlog and books",
				Flags: adminFlags(), Action: p.destinationList,
			},
			{
				Name: "pause", ArgsUsage: "NAME", Usage: "send nothing for now; the backlog grows",
				Flags: adminFlags(), Action: p.destinationOp("pause", "destination %s is paused"),
			},
			{
				Name: "resume", ArgsUsage: "NAME", Usage: "send again after a pause",
				Flags: adminFlags(), Action: p.destinationOp("resume", "destination %s is resumed"),
			},
			{
				Name: "skip", ArgsUsage: "NAME", Usage: "drop the backlog, counted; all of it, or up to an index",
				Flags:  adminFlags(&cli.Uint64Flag{Name: "to", Usage: "`INDEX` last entry to skip (default: the whole backlog)"}),
				Action: p.destinationOp("skip", "skipped the backlog of destination %s"),
			},
			{
				Name: "forget", ArgsUsage: "NAME", Usage: "forget a destination that is not in the configuration any more",
				Flags: adminFlags(), Action: p.destinationOp("forget", "destination %s is forgotten"),
			},
		},
	}
}

func (p *program) destinationList(c *cli.Context) error {
	doc, err := p.document(c)
	if err != nil {
		return err
	}
	return p.print(c, doc.Destinations, func() { p.showDestinations(doc.Destinations) })
}

func (p *program) destinationOp(op, done string) cli.ActionFunc {
	return func(c *cli.Context) error {
		name := c.Args().First()
		command := map[string]any{"op": op, "name": name}
		if op == "skip" {
			command["to"] = c.Uint64("to")
		}
		if err := p.admin(c).post(c, "/v1/destination", command); err != nil {
			return err
		}
		if to := c.Uint64("to"); to > 0 {
			return p.printDone(c, done+" up to entry %d", name, to)
		}
		return p.printDone(c, done, name)
	}
}
