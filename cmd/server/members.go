package server

import (
	"context"
	"slices"
	"time"

	"github.com/highlander-io/highlander/cluster"
	"github.com/highlander-io/highlander/fsm"
)

// memberInterval is how often the leader compares what the members say of themselves.
const memberInterval = time.Second

// runMembers is the leader's look at the other members: it raises the feature level once every member supports
// it, and logs each warning when it appears and when it goes.
func (s *Server) runMembers(ctx context.Context) error {
	var shown []string
	for range ticks(ctx, memberInterval) {
		members := s.node.Members()
		if err := s.raiseFeatureLevel(ctx, members); err != nil && ctx.Err() == nil {
			s.logger.Warn("cannot raise the feature level yet", "err", err)
		}
		warnings := s.warnings(members)
		for _, warning := range warnings {
			if !slices.Contains(shown, warning) {
				s.logger.Warn("needs attention", "warning", warning)
			}
		}
		for _, warning := range shown {
			if !slices.Contains(warnings, warning) {
				s.logger.Info("mended", "warning", warning)
			}
		}
		shown = warnings
	}
	return nil
}

// raiseFeatureLevel commits the highest level that every member supports. New formats are written only at a
// level that is committed, so an old binary never meets an entry that it does not know.
func (s *Server) raiseFeatureLevel(ctx context.Context, members []cluster.Member) error {
	common := fsm.FeatureLevel
	for _, member := range members {
		if !member.Reachable {
			return nil
		}
		common = min(common, member.Info.FeatureLevel)
	}
	if common <= s.state.FeatureLevel() {
		return nil
	}
	return s.propose(ctx, &fsm.ClusterOp{FeatureLevel: common, Time: s.options.Now().UnixMilli()})
}
