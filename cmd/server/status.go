package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/highlander-io/highlander/cluster"
	"github.com/highlander-io/highlander/fsm"
)

// statusTimeout bounds how long a follower waits for what only the leader knows.
const statusTimeout = 2 * time.Second

// Status returns the status document. A follower asks the leader for what only the leader knows, and marks the
// document stale where it gets no answer. So does a leader that a majority does not confirm.
func (s *Server) Status(ctx context.Context) Document {
	turn := s.node.Leadership()
	document := s.localStatus()
	if turn != nil {
		document.Stale = s.deposed(ctx, turn)
		return document
	}
	remote, err := s.leaderStatus(ctx)
	if err != nil {
		document.Stale = true
		return document
	}
	document.Groups, document.Destinations = remote.Groups, remote.Destinations
	document.Cluster, document.Warnings = remote.Cluster, remote.Warnings
	document.Stale = remote.Stale
	return document
}

// deposed says whether what was read under a turn as leader may have been overtaken by another leader.
func (s *Server) deposed(ctx context.Context, turn any) bool {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	return s.node.StillLeads(ctx, turn) != nil
}

// leaderStatus asks the leader for its own document.
func (s *Server) leaderStatus(ctx context.Context) (document Document, err error) {
	leader, known := s.node.Leader()
	if !known || leader.UUID == s.identity.UUID {
		return document, errNoLeader
	}
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+leader.UUID+localStatusPath, nil)
	if err != nil {
		return document, err
	}
	answer, err := s.node.RoundTripper(leader.UUID).RoundTrip(request)
	if err != nil {
		return document, err
	}
	defer func() { _ = answer.Body.Close() }() // it was read, or the attempt failed anyway
	if answer.StatusCode != http.StatusOK {
		return document, fmt.Errorf("leader %s answered %s", leader.Name, answer.Status)
	}
	return document, json.NewDecoder(answer.Body).Decode(&document)
}

// localStatusPath is where members ask each other, so that the question goes one hop.
const localStatusPath = "/v1/status/local"

// serveLocalStatus answers a follower that takes this node for the leader.
func (s *Server) serveLocalStatus(w http.ResponseWriter, r *http.Request) {
	turn := s.node.Leadership()
	document := s.localStatus()
	document.Stale = turn == nil || s.deposed(r.Context(), turn)
	respond(w, http.StatusOK, document)
}

func (s *Server) localStatus() Document {
	members := s.node.Members()
	return Document{
		Node: NodeStatus{
			ID: s.identity.Name, UUID: s.identity.UUID, Role: s.node.Stats().Role,
			Version: s.options.Version, ConfigHash: s.Config().Hash(),
		},
		Cluster:      s.clusterStatus(members),
		Groups:       s.groupStatus(),
		Destinations: s.destinationStatus(),
		Storage:      s.storageStatus(),
		Warnings:     s.warnings(members),
	}
}

func (s *Server) clusterStatus(members []cluster.Member) ClusterStatus {
	status := ClusterStatus{UUID: s.node.ClusterUUID(), Term: s.node.Stats().Term, FeatureLevel: s.state.FeatureLevel(), Nodes: []MemberStatus{}}
	if leader, known := s.node.Leader(); known {
		status.Leader = leader.Name
	}
	for _, member := range members {
		status.Nodes = append(status.Nodes, MemberStatus{
			ID: member.Name, UUID: member.UUID, Address: member.Address, Voter: member.Voter, Reachable: member.Reachable,
			AppliedIndex: member.AppliedIndex, Version: member.Info.Version, ConfigHash: member.Info.ConfigHash,
			FreeBytes: member.Info.FreeBytes, Full: member.Info.Full,
		})
	}
	return status
}

func (s *Server) groupStatus() []GroupStatus {
	list := []GroupStatus{}
	for _, group := range s.state.Groups() {
		status := GroupStatus{
			Tenant: group.ID.Tenant, Name: group.ID.Name, Current: group.Current, Epoch: group.Epoch,
			Since: time.UnixMilli(group.Since).UTC(), Pinned: group.Pinned != "", PinnedTo: group.Pinned, Promoted: group.Promoted,
			WatermarkMS: group.Watermark, Sources: s.sourceStatus(group), History: changes(group.History),
			Samples: SampleBooks{
				Received: group.Books.Received, Accepted: group.Books.Accepted, Covered: group.Books.Covered,
				Duplicate: group.Books.Duplicate, Rejected: group.Books.Rejected,
			},
			Standby: StandbyBooks{
				Requests: group.Standby.Requests, Bytes: group.Standby.Bytes, Kept: group.Standby.Kept,
				Discarded: group.Standby.Discarded, Used: group.Standby.Used, KeptBytes: group.Standby.KeptBytes,
			},
		}
		list = append(list, status)
	}
	return list
}

// sourceStatus joins what the log knows of a group's sources with what this node, if it leads, has seen.
func (s *Server) sourceStatus(group fsm.Group) []SourceStatus {
	list := []SourceStatus{}
	at := map[string]int{}
	for _, source := range group.Sources {
		status := SourceStatus{Name: source.Name, Weight: source.Weight, State: "silent", NewestSampleMS: source.Newest, Received: source.Received}
		if source.Name == group.Current {
			status.State, status.Coverage = "current", 1
		}
		at[source.Name] = len(list)
		list = append(list, status)
	}
	for _, seen := range s.ingest.Sources(group.ID) {
		i, known := at[seen.Name]
		if !known {
			i = len(list)
			list = append(list, SourceStatus{Name: seen.Name})
		}
		status := &list[i]
		status.Weight, status.Coverage, status.State = seen.Weight, seen.Coverage, seen.State
		status.OutOfOrder = seen.OutOfOrder
		status.NewestSampleMS = max(status.NewestSampleMS, seen.Newest)
		if !seen.LastSeen.IsZero() {
			last := seen.LastSeen.UTC()
			status.LastSeen = &last
		}
	}
	return list
}

func changes(history []fsm.Change) []Change {
	list := make([]Change, len(history))
	for i, change := range history {
		list[i] = Change{
			At: time.UnixMilli(change.At).UTC(), Epoch: change.Epoch, From: change.From, To: change.To, Reason: change.Reason,
			BoundaryMS: change.Boundary, KeptUsed: change.KeptUsed, Fenced: change.Fenced, LargestGapMS: change.LargestGap,
		}
	}
	return list
}

func (s *Server) destinationStatus() []DestinationStatus {
	live := map[string]DestinationStatus{}
	for _, status := range s.egress.Status() {
		live[status.Name] = DestinationStatus{
			State: status.State, Error: status.Error, Backlog: Backlog{OldestSeconds: status.Oldest.Seconds()},
		}
	}
	list := []DestinationStatus{}
	for _, destination := range s.state.Destinations() {
		status, known := live[destination.Name]
		if !known {
			status.State = "up"
		}
		status.Name, status.URL, status.Cursor = destination.Name, destination.URL, destination.Cursor
		status.Backlog.Entries, status.Backlog.Samples, status.Backlog.Bytes = destination.Backlog.Entries, destination.Backlog.Samples, destination.Backlog.Bytes
		status.Samples = DestinationBooks{
			Accepted: destination.Accepted, Delivered: destination.Delivered, Redelivered: destination.Redelivered,
			DeadLetter: destination.DeadLetter, RelabelDropped: destination.RelabelDropped, Dropped: destination.Dropped,
		}
		list = append(list, status)
	}
	return list
}

func (s *Server) storageStatus() StorageStatus {
	disk, log := s.storage.State(), s.log.Info()
	return StorageStatus{
		FirstIndex: log.FirstIndex, LastIndex: log.LastIndex, WALBytes: log.Bytes,
		FreeBytes: disk.freeBytes, Full: disk.full != "",
	}
}

// info is what this node tells other members about itself.
func (s *Server) info() cluster.Info {
	disk := s.storage.State()
	return cluster.Info{
		Version: s.options.Version, FeatureLevel: fsm.FeatureLevel, ConfigHash: s.Config().Hash(),
		FreeBytes: disk.freeBytes, WALBytes: disk.walBytes, Full: disk.full != "",
	}
}

// warnings are what an operator should mend: they are shown with every status, and logged by the leader when
// they appear.
func (s *Server) warnings(members []cluster.Member) []string {
	var list []string
	if err := s.refusing(); err != nil {
		list = append(list, "writes are refused: "+err.Error())
	}
	own := s.Config().Hash()
	for _, member := range members {
		if member.Reachable && member.Info.ConfigHash != "" && member.Info.ConfigHash != own {
			list = append(list, fmt.Sprintf("node %s decides by another configuration: its hash is %s, that of %s is %s",
				member.Name, member.Info.ConfigHash, s.identity.Name, own))
		}
	}
	if len(members) > 1 && len(s.Config().Cluster.Join) == 0 {
		list = append(list, fmt.Sprintf("node %s is a member of a cluster of %d without cluster.join: on a new disk it could not take its old place",
			s.identity.Name, len(members)))
	}
	list = append(list, s.unregistered()...)
	return append(list, s.bookWarnings()...)
}

// refusing is why writes are answered 503. Without a leader they are whatever the gate says, and that reason comes first: a
// node that belongs to no cluster yet cannot know of destinations either.
func (s *Server) refusing() error {
	if _, known := s.node.Leader(); !known {
		if err := s.node.Ready(); err != nil {
			return err
		}
	}
	return s.Gate()
}

// unregistered are the destinations of the leader's file that the log does not take: nothing is kept for them.
func (s *Server) unregistered() (list []string) {
	for _, status := range s.egress.Status() {
		if _, known := s.state.Destination(status.Name); !known && status.Leading {
			list = append(list, fmt.Sprintf("destination %s: %s", status.Name, status.Error))
		}
	}
	return list
}

// bookWarnings checks the two equations that the replicated state fulfils after every entry.
func (s *Server) bookWarnings() []string {
	var list []string
	for _, group := range s.state.Groups() {
		if !group.Books.Balanced() {
			list = append(list, fmt.Sprintf("the books of group %q (tenant %q) do not balance: %+v", group.ID.Name, group.ID.Tenant, group.Books))
		}
	}
	for _, destination := range s.state.Destinations() {
		if !destination.Balanced() {
			list = append(list, fmt.Sprintf("the books of destination %s do not balance: %+v", destination.Name, destination))
		}
	}
	return list
}
