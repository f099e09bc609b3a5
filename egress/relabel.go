package egress

import (
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"

	"github.com/highlander-io/highlander/fsm/wire"
)

// relabeller applies write_relabel_configs with Prometheus' own code. It is used by one goroutine.
type relabeller struct {
	rules   []*relabel.Config
	scratch labels.ScratchBuilder
	builder *labels.Builder
	out     []wire.Label
}

// newRelabeller returns nil if there are no rules.
func newRelabeller(rules []*relabel.Config) *relabeller {
	if len(rules) == 0 {
		return nil
	}
	return &relabeller{rules: rules, scratch: labels.NewScratchBuilder(32), builder: labels.NewBuilder(labels.EmptyLabels())}
}

// apply returns the new labels, sorted, valid until the next call; false: the series is to be dropped, because a
// rule says so or because no label is left.
func (r *relabeller) apply(in []wire.Label) ([]wire.Label, bool) {
	r.scratch.Reset()
	for _, l := range in {
		r.scratch.Add(l.Name, l.Value)
	}
	r.scratch.Sort()
	r.builder.Reset(r.scratch.Labels())
	if !relabel.ProcessBuilder(r.builder, r.rules...) {
		return nil, false
	}
	r.out = r.out[:0]
	r.builder.Labels().Range(func(l labels.Label) {
		r.out = append(r.out, wire.Label{Name: l.Name, Value: l.Value})
	})
	return r.out, len(r.out) > 0
}
