package server

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/highlander-io/highlander/fsm"
	"github.com/highlander-io/highlander/fsm/wire"
)

type joinArguments struct {
	Address string `json:"address"`
}

func (s *Server) join(ctx context.Context, a joinArguments) error {
	if a.Address == "" {
		return fmt.Errorf("%w: address: want HOST:PORT of a member's cluster port", errBadInput)
	}
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	return s.node.Join(ctx, a.Address)
}

func (s *Server) leave(ctx context.Context, _ struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	return s.node.Leave(ctx)
}

type removeArguments struct {
	Node  string `json:"node"`
	Force bool   `json:"force"`
}

func (s *Server) remove(ctx context.Context, a removeArguments) error {
	if a.Node == "" {
		return fmt.Errorf("%w: node: want a node's name or UUID", errBadInput)
	}
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	return s.node.Remove(ctx, a.Node, a.Force)
}

type transferArguments struct {
	Node string `json:"node"`
}

func (s *Server) transferLeadership(ctx context.Context, a transferArguments) error {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	return s.node.TransferLeadership(ctx, a.Node)
}

// propose commits a command and returns what the FSM answered.
func (s *Server) propose(ctx context.Context, command any) error {
	entry, err := fsm.Encode(command)
	if err != nil {
		return fmt.Errorf("%w: %w", errBadInput, err)
	}
	if err := s.spares(entry); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	response, _, err := s.node.Propose(entry, adminTimeout).Wait(ctx)
	if err != nil {
		return err
	}
	if refused, ok := response.(error); ok {
		return refused
	}
	return nil
}

type sourceArguments struct {
	Op     string `json:"op"`
	Tenant string `json:"tenant"`
	Group  string `json:"group"`
	Source string `json:"source"`
	Weight uint64 `json:"weight"`
}

func (s *Server) sourceOp(ctx context.Context, a sourceArguments) error {
	switch a.Op {
	case "pin", "unpin", "promote", "weight", "forget":
	default:
		return fmt.Errorf("%w: op %q: want pin, unpin, promote, weight or forget", errBadInput, a.Op)
	}
	id := fsm.GroupID{Tenant: a.Tenant, Name: a.Group}
	if err := s.ingest.Introduce(ctx, id, a.Source); err != nil {
		return err
	}
	if a.Op == "forget" {
		if err := s.ingest.GiveUp(ctx, id, a.Source); err != nil {
			return err
		}
	}
	if err := s.propose(ctx, &fsm.SourceOp{Op: a.Op, Group: id, Source: a.Source, Weight: a.Weight, Time: s.options.Now().UnixMilli()}); err != nil {
		return err
	}
	if a.Op == "forget" {
		s.ingest.Forget(id, a.Source)
	}
	if a.Op == "pin" || a.Op == "promote" {
		return s.awaitCurrent(ctx, id, a.Source)
	}
	return nil
}

// electionTimeout is how long pin and promote wait for what they ask for; it takes a tick of the leader and two entries.
const electionTimeout = adminTimeout / 2

// awaitCurrent returns when source is current: what pin and promote ask for is carried out by the election,
// and the next look at the source should find it done.
func (s *Server) awaitCurrent(ctx context.Context, id fsm.GroupID, source string) error {
	ctx, cancel := context.WithTimeout(ctx, electionTimeout)
	defer cancel()
	for {
		changed := s.state.Changed()
		if current, _, _ := s.state.Current(id); current == source {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%w: the wish is recorded, but %s is not current yet", errUnavailable, source)
		}
	}
}

type destinationArguments struct {
	Op   string `json:"op"`
	Name string `json:"name"`
	To   uint64 `json:"to"`
}

func (s *Server) destinationOp(ctx context.Context, a destinationArguments) error {
	if err := s.knownDestination(a.Name); err != nil {
		return err
	}
	switch a.Op {
	case "skip":
		return s.egress.Skip(ctx, a.Name, a.To)
	case "pause", "resume":
	case "forget":
		if s.egress.Configured(a.Name) {
			return fmt.Errorf("destination %s is in the leader's configuration: remove it there and reload first", a.Name)
		}
	default:
		return fmt.Errorf("%w: op %q: want pause, resume, skip or forget", errBadInput, a.Op)
	}
	return s.propose(ctx, &fsm.DestinationOp{Op: a.Op, Name: a.Name, Time: s.options.Now().UnixMilli()})
}

func (s *Server) knownDestination(name string) error {
	var names []string
	for _, destination := range s.state.Destinations() {
		if destination.Name == name {
			return nil
		}
		names = append(names, destination.Name)
	}
	return fmt.Errorf("%w destination %q: want one of: %s", fsm.ErrUnknown, name, strings.Join(names, ", "))
}

// serveHistory answers the changes of a group's current source, oldest first.
func (s *Server) serveHistory(w http.ResponseWriter, r *http.Request) {
	id := fsm.GroupID{Tenant: r.FormValue("tenant"), Name: r.FormValue("group")}
	group, ok := s.state.Group(id)
	if !ok {
		refuse(w, s.unknownGroup(id))
		return
	}
	respond(w, http.StatusOK, changes(group.History))
}

func (s *Server) unknownGroup(id fsm.GroupID) error {
	var names []string
	for _, group := range s.state.Groups() {
		if group.ID.Tenant == id.Tenant {
			names = append(names, group.ID.Name)
		}
	}
	return fmt.Errorf("%w group %q of tenant %q: want one of: %s", fsm.ErrUnknown, id.Name, id.Tenant, strings.Join(names, ", "))
}

type letterArguments struct {
	Op string `json:"op"`
	ID string `json:"id"`
}

func (s *Server) letterOp(ctx context.Context, a letterArguments) error {
	switch {
	case a.Op == "replay" && a.ID == "":
		return fmt.Errorf("%w: id: want the ID of a dead letter, see `highlander dead-letter list`", errBadInput)
	case a.Op == "replay", a.Op == "purge":
		return s.propose(ctx, &fsm.LetterOp{Op: a.Op, ID: a.ID, Time: s.options.Now().UnixMilli()})
	}
	return fmt.Errorf("%w: op %q: want replay or purge", errBadInput, a.Op)
}

func (s *Server) serveLetters(w http.ResponseWriter, _ *http.Request) {
	letters := []DeadLetter{}
	for _, info := range s.state.DeadLetters() {
		letters = append(letters, letter(info))
	}
	respond(w, http.StatusOK, letters)
}

func (s *Server) serveLetter(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	for _, info := range s.state.DeadLetters() {
		if info.ID != id {
			continue
		}
		document := letter(info)
		if whole, ok := s.state.DeadLetter(id); ok {
			series, err := letterSeries(whole)
			if err != nil {
				refuse(w, err)
				return
			}
			document.Series = series
		}
		respond(w, http.StatusOK, document)
		return
	}
	refuse(w, fmt.Errorf("%w dead letter %q: see `highlander dead-letter list`", fsm.ErrUnknown, id))
}

func letter(info fsm.DeadLetterInfo) DeadLetter {
	return DeadLetter{
		ID: info.ID, Destination: info.Destination, Tenant: info.Group.Tenant, Group: info.Group.Name, Source: info.Source,
		Index: info.Index, At: time.UnixMilli(info.Time).UTC(), Samples: info.Samples, Bytes: info.Bytes,
		Status: info.Status, Answer: info.Answer, Replaying: info.Replaying,
	}
}

// letterSeries opens a dead letter's body for a person.
func letterSeries(whole fsm.DeadLetter) ([]LetterSeries, error) {
	raw, err := wire.Decompress(nil, whole.Body, letterDecodedMax)
	if err != nil {
		return nil, fmt.Errorf("dead letter %s: %w", whole.ID, err)
	}
	var request wire.Request
	if err := request.Scan(raw, whole.Protocol, wire.Labels{}); err != nil {
		return nil, fmt.Errorf("dead letter %s: %w", whole.ID, err)
	}
	series := make([]LetterSeries, len(request.Series))
	for i := range request.Series {
		labels := map[string]string{}
		for _, label := range request.Labels(i, nil) {
			labels[label.Name] = label.Value
		}
		counts := request.Series[i].Counts
		series[i] = LetterSeries{
			Labels: labels, Samples: int(counts.Floats), Histograms: int(counts.Histograms),
			OldestMS: counts.MinTime, NewestMS: counts.MaxTime,
		}
	}
	return series, nil
}

// letterDecodedMax is far above what an entry of 256 KiB, made by splitting, can hold decoded.
const letterDecodedMax = 64 << 20
