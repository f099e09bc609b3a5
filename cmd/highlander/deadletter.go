package main

import (
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/highlander-io/highlander/cmd/server"
)

func (p *program) deadLetterCommand() *cli.Command {
	return &cli.Command{
		Name:  "dead-letter",
		Usage: "samples that a destination refused for good",
		Subcommands: []*cli.Command{
			{
				Name: "list", Usage: "all of them, with the destination's answer",
				Flags: adminFlags(), Action: p.deadLetterList,
			},
			{
				Name: "show", ArgsUsage: "ID", Usage: "one of them, with its series",
				Flags: adminFlags(), Action: p.deadLetterShow,
			},
			{
				Name: "replay", ArgsUsage: "ID", Usage: "send one again",
				Flags: adminFlags(), Action: p.deadLetterReplay,
			},
			{
				Name: "purge", Usage: "drop all of them, counted",
				Flags: adminFlags(), Action: p.deadLetterPurge,
			},
		},
	}
}

func (p *program) deadLetterList(c *cli.Context) error {
	letters := []server.DeadLetter{}
	if err := p.admin(c).get(c, "/v1/dead-letters", &letters); err != nil {
		return err
	}
	return p.print(c, letters, func() {
		if len(letters) == 0 {
			fmt.Fprintln(p.out, "no dead letters")
			return
		}
		t := newTable("ID", "DESTINATION", "GROUP", "SOURCE", ">SAMPLES", ">BYTES", "AGE", ">STATUS", "ANSWER")
		for _, l := range letters {
			t.add(l.ID, l.Destination, letterGroup(&l), l.Source, number(l.Samples), sizeText(float64(l.Bytes)), p.agoText(l.At),
				letterStatus(&l), l.Answer)
		}
		t.write(p.out)
	})
}

func letterGroup(l *server.DeadLetter) string {
	if l.Tenant == "" {
		return l.Group
	}
	return l.Tenant + "/" + l.Group
}

func letterStatus(l *server.DeadLetter) string {
	if l.Replaying {
		return "replaying"
	}
	return strconv.Itoa(l.Status)
}

func (p *program) deadLetterShow(c *cli.Context) error {
	var letter server.DeadLetter
	if err := p.admin(c).get(c, "/v1/dead-letters/"+url.PathEscape(c.Args().First()), &letter); err != nil {
		return err
	}
	return p.print(c, letter, func() { p.showLetter(p.out, &letter) })
}

func (p *program) showLetter(w io.Writer, l *server.DeadLetter) {
	for _, line := range [][2]string{
		{"id", l.ID},
		{"destination", l.Destination},
		{"group", letterGroup(l)},
		{"source", l.Source},
		{"index", number(l.Index)},
		{"at", timeText(l.At)},
		{"samples", number(l.Samples)},
		{"bytes", strconv.Itoa(l.Bytes)},
		{"status", letterStatus(l)},
		{"answer", l.Answer},
	} {
		fmt.Fprintf(w, "%-12s %s\n", line[0], printable(line[1]))
	}
	fmt.Fprintln(w)
	t := newTable("SERIES", ">SAMPLES", ">HISTOGRAMS", "OLDEST", "NEWEST")
	for _, s := range l.Series {
		t.add(seriesText(s.Labels), strconv.Itoa(s.Samples), strconv.Itoa(s.Histograms), milliText(s.OldestMS), milliText(s.NewestMS))
	}
	t.write(w)
}

// seriesText is a series as PromQL writes it.
func seriesText(labels map[string]string) string {
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		if name != "__name__" {
			pairs = append(pairs, fmt.Sprintf("%s=%q", name, labels[name]))
		}
	}
	if len(pairs) == 0 && labels["__name__"] != "" {
		return labels["__name__"]
	}
	return labels["__name__"] + "{" + strings.Join(pairs, ", ") + "}"
}

func milliText(ms int64) string {
	if ms == 0 {
		return ""
	}
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z")
}

func (p *program) deadLetterReplay(c *cli.Context) error {
	id := c.Args().First()
	if err := p.admin(c).post(c, "/v1/dead-letter", map[string]string{"op": "replay", "id": id}); err != nil {
		return err
	}
	return p.printDone(c, "dead letter %s is in the backlog again", id)
}

func (p *program) deadLetterPurge(c *cli.Context) error {
	if err := p.admin(c).post(c, "/v1/dead-letter", map[string]string{"op": "purge"}); err != nil {
		return err
	}
	return p.printDone(c, "dead letters are purged")
}
