package main

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/highlander-io/highlander/cmd/server"
)

func (p *program) sourceCommand() *cli.Command {
	flags := func() []cli.Flag {
		return adminFlags(&cli.StringFlag{Name: "tenant", Usage: "`TENANT` tenant of the group (X-Scope-OrgID)"})
	}
	return &cli.Command{
		Name:  "source",
		Usage: "who gets through",
		Subcommands: []*cli.Command{
			{
				Name: "list", Usage: "all groups and their sources",
				Flags: flags(), Action: p.sourceList,
			},
			{
				Name: "promote", ArgsUsage: "GROUP SOURCE", Usage: "make a source current until it is silent",
				Flags: flags(), Action: p.sourceOp("promote", "source SOURCE of group GROUP is current"),
			},
			{
				Name: "pin", ArgsUsage: "GROUP SOURCE", Usage: "make a source current and keep it, even when it is silent",
				Flags: flags(), Action: p.sourceOp("pin", "group GROUP is pinned to source SOURCE"),
			},
			{
				Name: "unpin", ArgsUsage: "GROUP", Usage: "let the group fail over again",
				Flags: flags(), Action: p.sourceOp("unpin", "group GROUP is not pinned any more"),
			},
			{
				Name: "weight", ArgsUsage: "GROUP SOURCE N", Usage: "prefer the source with the highest weight; beats the weight in requests",
				Flags: flags(), Action: p.sourceWeight,
			},
			{
				Name: "forget", ArgsUsage: "GROUP SOURCE", Usage: "forget a source that is gone",
				Flags: flags(), Action: p.sourceOp("forget", "source SOURCE of group GROUP is forgotten"),
			},
			{
				Name: "history", ArgsUsage: "GROUP", Usage: "when and why the current source changed",
				Flags: flags(), Action: p.sourceHistory,
			},
		},
	}
}

// sourceRow is one source in `source list --output json`.
type sourceRow struct {
	Tenant string `json:"tenant"`
	Group  string `json:"group"`
	server.SourceStatus
}

func (p *program) sourceList(c *cli.Context) error {
	doc, err := p.document(c)
	if err != nil {
		return err
	}
	groups := doc.Groups
	if c.IsSet("tenant") {
		groups = nil
		for _, g := range doc.Groups {
			if g.Tenant == c.String("tenant") {
				groups = append(groups, g)
			}
		}
	}
	rows := []sourceRow{}
	for _, g := range groups {
		for _, s := range g.Sources {
			rows = append(rows, sourceRow{g.Tenant, g.Name, s})
		}
	}
	return p.print(c, rows, func() {
		if len(rows) == 0 {
			fmt.Fprintln(p.out, "no sources yet")
			return
		}
		p.showSources(groups)
	})
}

// sourceCommand is what the node takes.
type sourceCommand struct {
	Op     string `json:"op"`
	Tenant string `json:"tenant"`
	Group  string `json:"group"`
	Source string `json:"source"`
	Weight uint64 `json:"weight"`
}

// sourceOp is a command about a group, or a source of it; done says what is true afterwards.
func (p *program) sourceOp(op, done string) cli.ActionFunc {
	return func(c *cli.Context) error {
		command := sourceCommand{Op: op, Tenant: c.String("tenant"), Group: c.Args().Get(0), Source: c.Args().Get(1)}
		if err := p.admin(c).post(c, "/v1/source", command); err != nil {
			return err
		}
		return p.printDone(c, "%s", strings.NewReplacer("GROUP", command.Group, "SOURCE", command.Source).Replace(done))
	}
}

func (p *program) sourceWeight(c *cli.Context) error {
	weight, err := strconv.ParseUint(c.Args().Get(2), 10, 64)
	if err != nil {
		return usagef(c, "N: expected a whole number of 0 or more, got %q", c.Args().Get(2))
	}
	command := sourceCommand{Op: "weight", Tenant: c.String("tenant"), Group: c.Args().Get(0), Source: c.Args().Get(1), Weight: weight}
	if err := p.admin(c).post(c, "/v1/source", command); err != nil {
		return err
	}
	return p.printDone(c, "source %s of group %s has weight %d", command.Source, command.Group, weight)
}

func (p *program) sourceHistory(c *cli.Context) error {
	query := url.Values{"tenant": {c.String("tenant")}, "group": {c.Args().First()}}
	changes := []server.Change{}
	if err := p.admin(c).get(c, "/v1/source/history?"+query.Encode(), &changes); err != nil {
		return err
	}
	return p.print(c, changes, func() {
		t := newTable("AT", ">EPOCH", "FROM", "TO", "REASON", "BOUNDARY", ">KEPT USED", ">FENCED", ">LARGEST GAP")
		for _, ch := range changes {
			boundary, gap := "", ""
			if ch.BoundaryMS != 0 {
				boundary = timeText(time.UnixMilli(ch.BoundaryMS))
			}
			if ch.LargestGapMS != 0 {
				gap = durationText(time.Duration(ch.LargestGapMS) * time.Millisecond)
			}
			t.add(timeText(ch.At), number(ch.Epoch), ch.From, ch.To, ch.Reason, boundary, number(ch.KeptUsed), number(ch.Fenced), gap)
		}
		t.write(p.out)
	})
}

// timeText is a time in UTC, to the second.
func timeText(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }
