package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
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

// walFault says what a person can do about a directory without a log.
func walFault(dir string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no log in %s (--storage.path says which data directory is meant)", dir)
	}
	return err
}

// walSummary is `wal info --output json`.
type walSummary struct {
	Path       string       `json:"path"`
	FirstIndex uint64       `json:"first_index"`
	LastIndex  uint64       `json:"last_index"`
	Bytes      int64        `json:"bytes"`
	TornIndex  uint64       `json:"torn_index,omitempty"` // first entry that a crash left incomplete
	Segments   []walSegment `json:"segments"`
}

type walSegment struct {
	ID         uint64 `json:"id"`
	FirstIndex uint64 `json:"first_index"`
	LastIndex  uint64 `json:"last_index"` // first_index - 1: none
	Bytes      int64  `json:"bytes"`
	DiskBytes  int64  `json:"disk_bytes"`
	Sealed     bool   `json:"sealed"`
	File       string `json:"file"`
}

func (p *program) walInfo(c *cli.Context) error {
	dir := p.walDir(c)
	layout, err := wal.Inspect(dir)
	if err != nil {
		return walFault(dir, err)
	}
	s := summarize(dir, &layout)
	return p.print(c, s, func() { p.showSummary(&s) })
}

func summarize(dir string, layout *wal.Layout) walSummary {
	s := walSummary{
		Path: dir, FirstIndex: layout.FirstIndex, LastIndex: layout.LastIndex, Bytes: layout.Bytes, TornIndex: layout.TornIndex,
		Segments: []walSegment{},
	}
	for _, f := range layout.Files {
		s.Segments = append(s.Segments, walSegment{
			ID: f.ID, FirstIndex: f.First, LastIndex: f.Last, Bytes: f.Bytes, DiskBytes: f.DiskBytes, Sealed: f.Sealed, File: filepath.Base(f.Path),
		})
	}
	return s
}

func (p *program) showSummary(s *walSummary) {
	fmt.Fprintf(p.out, "%s: entries %d to %d in %d segments, %s\n", printable(s.Path), s.FirstIndex, s.LastIndex, len(s.Segments), sizeText(float64(s.Bytes)))
	if s.TornIndex != 0 {
		fmt.Fprintf(p.out, "the last write, from entry %d on, is incomplete: it was never acknowledged, or is being made right now\n", s.TornIndex)
	}
	fmt.Fprintln(p.out)
	t := newTable(">SEGMENT", ">FIRST", ">LAST", ">BYTES", ">ON DISK", "STATE", "FILE")
	for _, f := range s.Segments {
		state := "open"
		if f.Sealed {
			state = "sealed"
		}
		t.add(number(f.ID), number(f.FirstIndex), number(f.LastIndex), sizeText(float64(f.Bytes)), sizeText(float64(f.DiskBytes)), state, f.File)
	}
	t.write(p.out)
}

// walVerdict is `wal verify --output json`.
type walVerdict struct {
	OK         bool     `json:"ok"`
	FirstIndex uint64   `json:"first_index"`
	LastIndex  uint64   `json:"last_index"`
	Segments   int      `json:"segments"`
	Entries    uint64   `json:"entries"`
	Bytes      int64    `json:"bytes"`
	Problems   []string `json:"problems"`
}

var errDamaged = errors.New("the log is damaged; as a member of a cluster, start this node on an empty data directory and it gets its data from the others")

func (p *program) walVerify(c *cli.Context) error {
	dir := p.walDir(c)
	report, err := wal.Verify(dir)
	if err != nil {
		return walFault(dir, err)
	}
	v := walVerdict{
		OK: len(report.Problems) == 0, FirstIndex: report.FirstIndex, LastIndex: report.LastIndex,
		Segments: report.Segments, Entries: report.Entries, Bytes: report.Bytes, Problems: []string{},
	}
	for _, problem := range report.Problems {
		v.Problems = append(v.Problems, fmt.Sprintf("%s: %v", problem.Path, problem.Err))
	}
	err = p.print(c, v, func() {
		for _, problem := range v.Problems {
			fmt.Fprintln(p.out, printable(problem))
		}
		if v.OK {
			fmt.Fprintf(p.out, "ok: read %d entries, %d to %d, %s\n", v.Entries, v.FirstIndex, v.LastIndex, sizeText(float64(v.Bytes)))
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
	show := showEntry
	if asJSON {
		show = showEntryJSON
	}
	dir := p.walDir(c)
	err = wal.Dump(dir, c.Uint64("from"), c.Uint64("to"), func(e wal.Entry) error { return show(p.out, describe(e)) })
	return walFault(dir, err)
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
	if e.Type == raft.LogConfiguration {
		members, err := describeConfiguration(e.Data)
		entry.Detail = members
		if err != nil {
			entry.Error = err.Error()
		}
	}
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
