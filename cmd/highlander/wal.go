package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"

	"github.com/hashicorp/raft"
	"github.com/urfave/cli/v2"

	"github.com/highlander-io/highlander/wal"
)

func (p *program) walCommand() *cli.Command {
	flags := func(own ...cli.Flag) []cli.Flag { return append(own, storagePathFlag(), outputFlag()) }
	return &cli.Command{
		Name:        "wal",
		Usage:       "look into a node's log: a stopped node's, or a running one's without disturbing it",
		Description: "These commands read the data directory and change nothing.",
		Subcommands: []*cli.Command{
			{
				Name: "info", Usage: "first and last index, segments, size",
				Flags: flags(), Action: p.walInfo,
			},
			{
				Name: "verify", Usage: "read everything, check every checksum; status 1 if something is wrong",
				Flags: flags(), Action: p.walVerify,
			},
			{
				Name: "dump", Usage: "print entries, one a line",
				Flags: flags(
					&cli.Uint64Flag{Name: "from", Usage: "`INDEX` first entry (default: the first there is)"},
					&cli.Uint64Flag{Name: "to", Usage: "`INDEX` last entry (default: the last there is)"},
				),
				Action: p.walDump,
			},
		},
	}
}

func (p *program) walDir(c *cli.Context) string {
	return filepath.Join(p.value(c, "storage.path"), "wal")
}

// walSummary is `wal info --output json`.
type walSummary struct {
	Path       string `json:"path"`
	FirstIndex uint64 `json:"first_index"`
	LastIndex  uint64 `json:"last_index"`
	Segments   int    `json:"segments"`
	Bytes      int64  `json:"bytes"`
}

func (p *program) walInfo(c *cli.Context) error {
	dir := p.walDir(c)
	info, err := wal.Inspect(dir)
	if err != nil {
		return err
	}
	s := walSummary{Path: dir, FirstIndex: info.FirstIndex, LastIndex: info.LastIndex, Segments: info.Segments, Bytes: info.Bytes}
	return p.print(c, s, func() {
		fmt.Fprintf(p.out, "path      %s\n", printable(s.Path))
		fmt.Fprintf(p.out, "first     %d\n", s.FirstIndex)
		fmt.Fprintf(p.out, "last      %d\n", s.LastIndex)
		fmt.Fprintf(p.out, "segments  %d\n", s.Segments)
		fmt.Fprintf(p.out, "size      %s\n", sizeText(float64(s.Bytes)))
	})
}

// walVerdict is `wal verify --output json`.
type walVerdict struct {
	OK       bool     `json:"ok"`
	Problems []string `json:"problems"`
}

var errDamaged = errors.New("the log is damaged; as a member of a cluster, start this node on an empty data directory and it gets its data from the others")

func (p *program) walVerify(c *cli.Context) error {
	report, err := wal.Verify(p.walDir(c))
	if err != nil {
		return err
	}
	v := walVerdict{OK: len(report.Problems) == 0, Problems: []string{}}
	for _, problem := range report.Problems {
		v.Problems = append(v.Problems, problem.Err.Error())
	}
	err = p.print(c, v, func() {
		if v.OK {
			fmt.Fprintln(p.out, "ok")
		}
		for _, problem := range v.Problems {
			fmt.Fprintln(p.out, printable(problem))
		}
	})
	if err == nil && !v.OK {
		return errDamaged
	}
	return err
}

func (p *program) walDump(c *cli.Context) error {
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	to := uint64(math.MaxUint64)
	if c.IsSet("to") {
		to = c.Uint64("to")
	}
	show := showEntry
	if asJSON {
		show = showEntryJSON
	}
	return wal.Dump(p.walDir(c), c.Uint64("from"), to, func(e wal.Entry) error { return show(p.out, describe(e)) })
}

// walEntry is one entry as `wal dump` prints it.
type walEntry struct {
	Index  uint64 `json:"index"`
	Term   uint64 `json:"term"`
	Kind   string `json:"kind"`
	Bytes  int    `json:"bytes"`
	Detail any    `json:"detail,omitempty"`
	Error  string `json:"error,omitempty"` // why it cannot be decoded
}

func describe(e wal.Entry) walEntry {
	entry := walEntry{Index: e.Index, Term: e.Term, Bytes: len(e.Data), Kind: raftKind(e.Type)}
	if e.Type != raft.LogCommand {
		return entry
	}
	kind, detail, err := describeCommand(e.Data)
	entry.Kind, entry.Detail = kind, detail
	if err != nil {
		entry.Error = err.Error()
	}
	return entry
}

// raftKind names what Raft itself writes.
func raftKind(t raft.LogType) string {
	switch t {
	case raft.LogNoop:
		return "noop"
	case raft.LogBarrier:
		return "barrier"
	case raft.LogConfiguration:
		return "configuration"
	default:
		return fmt.Sprintf("raft type %d", t)
	}
}

func showEntryJSON(w io.Writer, e walEntry) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(e)
}

func showEntry(w io.Writer, e walEntry) error {
	detail := ""
	switch d := e.Detail.(type) {
	case nil:
	case batchDetail:
		detail = d.String()
	default:
		text, err := json.Marshal(d)
		if err != nil {
			return err
		}
		detail = string(text)
	}
	if e.Error != "" {
		detail = "cannot be decoded: " + e.Error
	}
	line := fmt.Sprintf("%-10d term %-5d %-13s %7d B", e.Index, e.Term, e.Kind, e.Bytes)
	if detail != "" {
		line += "  " + printable(detail)
	}
	_, err := fmt.Fprintln(w, line)
	return err
}
