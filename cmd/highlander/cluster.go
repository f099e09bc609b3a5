package main

import (
	"fmt"
	"net/http"

	"github.com/urfave/cli/v2"
)

func (p *program) clusterCommand() *cli.Command {
	return &cli.Command{
		Name:  "cluster",
		Usage: "members of the cluster",
		Subcommands: []*cli.Command{
			{
				Name: "status", Usage: "who belongs to the cluster, and who leads",
				Flags: adminFlags(), Action: p.clusterStatus,
			},
			{
				Name: "join", ArgsUsage: "ADDR", Usage: "make this node, which holds no batches, a member of the cluster at ADDR",
				Description: "ADDR is HOST:PORT of any member's cluster port. The command returns when this node has the whole log.",
				Flags:       adminFlags(), Action: p.clusterJoin,
			},
			{
				Name: "leave", Usage: "take this node out of its cluster",
				Description: "A leader hands leadership over first. The data directory is marked: it starts again only with\n" +
					"\"highlander run --cluster.rejoin\".",
				Flags: adminFlags(), Action: p.clusterLeave,
			},
			{
				Name: "remove", ArgsUsage: "NAME|UUID", Usage: "take a node that is gone for good out of the cluster",
				Flags: adminFlags(&cli.BoolFlag{Name: "force", Usage: "although the node still answers"}), Action: p.clusterRemove,
			},
			{
				Name: "transfer-leadership", ArgsUsage: "[NAME]", Usage: "hand leadership to a node, or to the one with the most of the log",
				Flags: adminFlags(), Action: p.clusterTransfer,
			},
			{
				Name: "recover", Usage: "make this stopped node, the last one left, a cluster of one with every batch it holds",
				Description: "For the loss of a majority only. The cluster gets a new UUID: old members that return are refused, and must\n" +
					"join with an empty data directory. What the lost nodes had acknowledged and this one never received is lost.\n" +
					"The node must be stopped; give it the flags or the configuration file that it runs with.",
				Flags: nodeFlags(), Action: p.clusterRecover,
			},
		},
	}
}

func (p *program) clusterStatus(c *cli.Context) error {
	doc, err := p.document(c)
	if err != nil {
		return err
	}
	return p.print(c, doc.Cluster, func() {
		p.showHead(doc)
		p.showNodes(doc)
	})
}

func (p *program) clusterJoin(c *cli.Context) error {
	address := c.Args().First()
	command := map[string]string{"address": address}
	if err := p.admin(c).call(c, joinTimeout, http.MethodPost, "/v1/cluster/join", command, nil); err != nil {
		return err
	}
	return p.printDone(c, "joined the cluster at %s", address)
}

func (p *program) clusterLeave(c *cli.Context) error {
	if err := p.admin(c).post(c, "/v1/cluster/leave", struct{}{}); err != nil {
		return err
	}
	return p.printDone(c, "left the cluster; a restart needs --cluster.rejoin")
}

func (p *program) clusterRemove(c *cli.Context) error {
	name := c.Args().First()
	command := map[string]any{"node": name, "force": c.Bool("force")}
	if err := p.admin(c).post(c, "/v1/cluster/remove", command); err != nil {
		return err
	}
	return p.printDone(c, "removed node %s", name)
}

func (p *program) clusterTransfer(c *cli.Context) error {
	name := c.Args().First()
	if err := p.admin(c).post(c, "/v1/cluster/transfer-leadership", map[string]string{"node": name}); err != nil {
		return err
	}
	if name == "" {
		return p.printDone(c, "handed leadership over")
	}
	return p.printDone(c, "handed leadership to %s", name)
}

func (p *program) clusterRecover(c *cli.Context) error {
	options, err := p.serverOptions(c)
	if err != nil {
		return err
	}
	if err := p.recover(c.Context, options); err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.out, "recovered %s as a cluster of one; start it with \"highlander run\"\n", printable(options.Config.Storage.Path))
	return err
}
