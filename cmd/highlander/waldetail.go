package main

import (
	"encoding/hex"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/highlander-io/highlander/fsm"
	"github.com/highlander-io/highlander/fsm/wire"
)

// batchDetail is the header of a batch.
type batchDetail struct {
	Tenant     string   `json:"tenant"`
	Group      string   `json:"group"`
	Source     string   `json:"source"`
	Epoch      uint64   `json:"epoch"`
	Request    string   `json:"request"`
	Part       uint32   `json:"part"`
	Parts      uint32   `json:"parts"`
	Protocol   string   `json:"protocol"`
	Series     uint32   `json:"series"`
	Floats     uint32   `json:"floats"`
	Histograms uint32   `json:"histograms"`
	Exemplars  uint32   `json:"exemplars"`
	Metadata   uint32   `json:"metadata"`
	OldestMS   int64    `json:"oldest_ms"`
	NewestMS   int64    `json:"newest_ms"`
	At         string   `json:"at"`
	Flags      []string `json:"flags,omitempty"`
	BodyBytes  int      `json:"body_bytes"`
}

func (b batchDetail) String() string {
	name := fmt.Sprintf("%q/%q", b.Group, b.Source)
	if b.Tenant != "" {
		name = fmt.Sprintf("%q/%s", b.Tenant, name)
	}
	text := fmt.Sprintf("%s epoch %d, request %s part %d/%d, %s, %d samples", name, b.Epoch, b.Request, b.Part, b.Parts,
		b.Protocol, b.Floats+b.Histograms)
	if b.NewestMS != 0 {
		text += fmt.Sprintf(" of %s to %s", milliText(b.OldestMS), milliText(b.NewestMS))
	}
	for _, flag := range b.Flags {
		text += ", " + flag
	}
	return text
}

// letterDetail is a dead letter without its body.
type letterDetail struct {
	fsm.DeadLetter
	Body      *struct{} `json:"body,omitempty"` // hides the one of the command
	BodyBytes int       `json:"body_bytes"`
}

// describeCommand decodes an entry that the FSM applies.
func describeCommand(entry []byte) (kind string, detail any, err error) {
	k, err := fsm.PeekKind(entry)
	if err != nil {
		return "unknown", nil, err
	}
	kind = kindName(k)
	if k == fsm.KindBatch {
		b, err := fsm.DecodeBatch(entry)
		if err != nil {
			return kind, nil, err
		}
		return kind, batchDetailOf(b), nil
	}
	_, command, err := fsm.Decode(entry)
	if err != nil {
		return kind, nil, err
	}
	if letter, ok := command.(*fsm.DeadLetter); ok {
		return kind, letterDetail{DeadLetter: *letter, BodyBytes: len(letter.Body)}, nil
	}
	return kind, command, nil
}

func batchDetailOf(b fsm.Batch) batchDetail {
	return batchDetail{
		Tenant: b.Group.Tenant, Group: b.Group.Name, Source: b.Source, Epoch: b.Epoch,
		Request: hex.EncodeToString(b.RequestID[:]), Part: b.Part, Parts: b.Parts, Protocol: protocolName(b.Protocol),
		Series: b.Counts.Series, Floats: b.Counts.Floats, Histograms: b.Counts.Histograms,
		Exemplars: b.Counts.Exemplars, Metadata: b.Counts.Metadata,
		OldestMS: b.Counts.MinTime, NewestMS: b.Counts.MaxTime,
		At: stamp(b.Time), Flags: flagNames(b.Flags), BodyBytes: len(b.Body),
	}
}

// stamp is a time as JSON has it, or its number where JSON could not have it.
func stamp(ms int64) string {
	at := time.UnixMilli(ms).UTC()
	if at.Year() < 0 || at.Year() > 9999 {
		return fmt.Sprintf("%d ms", ms)
	}
	return at.Format(time.RFC3339Nano)
}

func protocolName(p wire.Protocol) string {
	switch p {
	case wire.V1:
		return "1.0"
	case wire.V2:
		return "2.0"
	default:
		return fmt.Sprintf("protocol %d", p)
	}
}

func flagNames(flags fsm.BatchFlags) (names []string) {
	if flags&fsm.FlagUnelected != 0 {
		names = append(names, "unelected")
	}
	if flags&fsm.FlagKept != 0 {
		names = append(names, "kept")
	}
	return names
}

func kindName(k fsm.Kind) string {
	switch k {
	case fsm.KindBatch:
		return "batch"
	case fsm.KindElect:
		return "elect"
	case fsm.KindSource:
		return "source"
	case fsm.KindDestination:
		return "destination"
	case fsm.KindCursor:
		return "cursor"
	case fsm.KindDeadLetter:
		return "dead-letter"
	case fsm.KindLetterOp:
		return "letter-op"
	case fsm.KindBooks:
		return "books"
	case fsm.KindCluster:
		return "cluster"
	case fsm.KindFenceEnd:
		return "fence-end"
	default:
		return fmt.Sprintf("kind %d", k)
	}
}

// memberDetail is one member of a configuration entry.
type memberDetail struct {
	ID       string `json:"id"`
	Address  string `json:"address"`
	Suffrage string `json:"suffrage"`
}

// describeConfiguration decodes what Raft says about membership.
func describeConfiguration(data []byte) (members []memberDetail, err error) {
	defer func() {
		if fault := recover(); fault != nil { // the library's decoder knows no error
			err = fmt.Errorf("%v", fault)
		}
	}()
	for _, s := range raft.DecodeConfiguration(data).Servers {
		members = append(members, memberDetail{string(s.ID), string(s.Address), s.Suffrage.String()})
	}
	return members, nil
}
