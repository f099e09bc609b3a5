package history

import (
	"math"
	"time"
)

// Fenced tells which acknowledged samples a change of source explains if they are not at the LTS; it is meant for
// Rules.Missing. The contract: when a source's turn begins, the newest sample of each series that turns before it delivered, plus
// the guard, is the series' line, and what the source sends at or below it is answered as accepted and held back.
//
// The record of the group tells in which turns a request can have been answered, and in which turns a sample at the LTS can have
// been delivered: not before it was first sent. A sample is explained if in the last of its turns its series can have had a
// line at or above it. So neither what the same turn delivers around a sample explains it, nor what the next source has kept.
func Fenced(h History, r Record, guard time.Duration) func(Sample) bool {
	turns, contradictions := r.turns()
	spans, more := r.spans(len(turns))
	if len(contradictions)+len(more) > 0 {
		return func(Sample) bool { return false } // Linear names them
	}
	f := fences{turns: turns, spans: spans, end: r.end(), guard: guard.Milliseconds(), answered: map[Sample]Request{}}
	sent := map[Sample]Request{}
	for _, q := range h.Requests {
		for _, s := range q.Samples {
			sent[s] = q
			if q.outcome() == accepted {
				f.answered[s] = q
			}
		}
	}
	f.draw(h.Received, sent)
	return f.explain
}

// fences are the highest lines that the series of a group can have had.
type fences struct {
	turns    []Change
	spans    []span
	end      time.Duration // of what the record tells
	guard    int64
	answered map[Sample]Request // by sample, those that were acknowledged
	// newest is, by series, the newest sample that can have been delivered by the end of each turn, the one of epoch n at n.
	newest map[string][]int64
}

// noSample is older than all samples.
const noSample = math.MinInt64

func (f *fences) draw(received []Sample, sent map[Sample]Request) {
	f.newest = map[string][]int64{}
	for _, s := range received {
		q, known := sent[s]
		epoch := f.first(q.Source, f.reached(q.Began))
		if !known || epoch == 0 {
			continue
		}
		list := f.newest[s.Series]
		if list == nil {
			list = make([]int64, len(f.turns)+1)
			for i := range list {
				list[i] = noSample
			}
			f.newest[s.Series] = list
		}
		list[epoch] = max(list[epoch], s.Time)
	}
	for _, list := range f.newest {
		for i := 1; i < len(list); i++ {
			list[i] = max(list[i], list[i-1])
		}
	}
}

// explain says whether a fence can have held a sample back.
func (f *fences) explain(s Sample) bool {
	q, acknowledged := f.answered[s]
	epoch := f.last(q.Source, f.begun(q.Ended))
	if !acknowledged || epoch == 0 || epoch < f.reached(q.Began) {
		return false
	}
	list := f.newest[s.Series]
	return list != nil && list[epoch-1] != noSample && s.Time <= list[epoch-1]+f.guard
}

// reached is the latest epoch that had begun for certain at an instant.
func (f *fences) reached(at time.Duration) (epoch int) {
	for epoch < len(f.spans) && f.spans[epoch].to <= at && f.spans[epoch].to < f.end {
		epoch++
	}
	return epoch
}

// begun is the latest epoch that can have begun by an instant.
func (f *fences) begun(by time.Duration) (epoch int) {
	for epoch < len(f.spans) && f.spans[epoch].from <= by {
		epoch++
	}
	return epoch
}

// first is the first turn of a source from an epoch on; 0: there is none.
func (f *fences) first(source string, from int) int {
	for epoch := max(from, 1); epoch <= len(f.turns); epoch++ {
		if f.turns[epoch-1].To == source {
			return epoch
		}
	}
	return 0
}

// last is the last turn of a source up to an epoch; 0: there is none.
func (f *fences) last(source string, to int) int {
	for epoch := to; epoch > 0; epoch-- {
		if f.turns[epoch-1].To == source {
			return epoch
		}
	}
	return 0
}
