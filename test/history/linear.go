package history

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// searchMax bounds the search for an order of events that explains a record.
const searchMax = time.Minute

// Linear names what contradicts that a group is one register machine, to which every call happens at one instant
// between question and answer:
//
//	state     epoch, current, pinned, promoted; beside it the weight of each source
//	commands  change it as their answer says; an uncertain one does so at any time after it was given, or never
//	changes   of source happen by themselves, one epoch after the other; when is not known, the nodes' histories say which
//	reads     show it as it is; one that is marked stale shows it as it once was
//
// The weights are registers of their own, since a status document looks at them after the rest.
func Linear(r Record) []string {
	turns, found := r.turns()
	if len(found) > 0 {
		return found
	}
	spans, found := r.spans(len(turns))
	if len(found) > 0 {
		return found
	}
	if text := decide("the group", machine, r.events(turns, spans)); text != "" {
		found = append(found, text)
	}
	for _, source := range r.sources(turns) {
		if text := decide("the weight of "+source, register, r.weightEvents(source)); text != "" {
			found = append(found, text)
		}
	}
	return found
}

func decide(what string, model porcupine.Model, events []porcupine.Operation) string {
	switch porcupine.CheckOperationsTimeout(model, events, searchMax) {
	case porcupine.Illegal:
		return fmt.Sprintf("%s: no order of %d events explains what was answered", what, len(events))
	case porcupine.Unknown:
		return fmt.Sprintf("%s: whether an order of %d events explains what was answered was not found out in %v", what, len(events), searchMax)
	}
	return ""
}

// turns puts the changes that the nodes showed into order, the one of epoch n at n-1.
func (r Record) turns() (turns []Change, found []string) {
	byEpoch := map[uint64][]Change{}
	highest := uint64(0)
	for c := range r.Changes {
		byEpoch[c.Epoch] = append(byEpoch[c.Epoch], c)
		highest = max(highest, c.Epoch)
	}
	for _, c := range r.Calls {
		if c.Op == Read {
			highest = max(highest, c.View.Epoch)
		}
	}
	previous := ""
	for epoch := uint64(1); epoch <= highest; epoch++ {
		list := byEpoch[epoch]
		if len(list) != 1 {
			return nil, []string{fmt.Sprintf("epoch %d has %d changes: %v", epoch, len(list), r.shownBy(list))}
		}
		if list[0].From != previous {
			found = append(found, fmt.Sprintf("epoch %d: %q follows %q, but %q was current", epoch, list[0].To, list[0].From, previous))
		}
		previous = list[0].To
		turns = append(turns, list[0])
	}
	for _, c := range r.Calls {
		if c.Op == Read && c.Outcome == Done && c.View.Epoch > 0 && turns[c.View.Epoch-1].To != c.View.Current {
			found = append(found, fmt.Sprintf("epoch %d: node %s showed current %q at %v, it was %q",
				c.View.Epoch, c.Node, c.View.Current, c.Ended, turns[c.View.Epoch-1].To))
		}
	}
	return turns, found
}

func (r Record) shownBy(list []Change) map[Change]string {
	by := map[Change]string{}
	for _, c := range list {
		by[c] = r.Changes[c]
	}
	return by
}

// span is when a change can have happened.
type span struct {
	from, to       time.Duration
	before, behind Call // the reads that say so
}

// spans bounds each change by the reads that saw its epoch and those that did not yet. Porcupine would find that out by
// itself, by trying every change at every instant.
func (r Record) spans(turns int) (spans []span, found []string) {
	end := r.end()
	for epoch := uint64(1); epoch <= uint64(turns); epoch++ {
		s := span{to: end}
		for _, c := range r.Calls {
			switch {
			case c.Op != Read || c.Outcome != Done:
			case c.View.Epoch >= epoch && c.Ended < s.to:
				s.to, s.behind = c.Ended, c
			case c.View.Epoch < epoch && !c.View.Stale && c.Began > s.from:
				s.from, s.before = c.Began, c
			}
		}
		if s.from > s.to {
			found = append(found, fmt.Sprintf("node %s showed epoch %d to a question at %v, node %s had shown epoch %d by %v",
				s.before.Node, s.before.View.Epoch, s.from, s.behind.Node, s.behind.View.Epoch, s.to))
		}
		spans = append(spans, s)
	}
	return spans, found
}

// end is after everything: what is uncertain may happen until then.
func (r Record) end() time.Duration {
	end := time.Duration(0)
	for _, c := range r.Calls {
		end = max(end, c.Began, c.Ended)
	}
	return end + 1
}

// state is what a group's machine holds.
type state struct {
	epoch                     uint64
	current, pinned, promoted string
}

// event is one step of a machine: true if it is possible, and the state after it.
type event func(state) (bool, state)

var machine = porcupine.Model{
	Init: func() any { return state{} },
	Step: func(s, input, _ any) (bool, any) { return input.(event)(s.(state)) },
}

func operation(input any, from, to time.Duration) porcupine.Operation {
	return porcupine.Operation{Input: input, Call: int64(from), Return: int64(to)}
}

func (r Record) events(turns []Change, spans []span) []porcupine.Operation {
	var list []porcupine.Operation
	for i, change := range turns {
		list = append(list, operation(change.event(), spans[i].from, spans[i].to))
	}
	end := r.end()
	for _, c := range r.Calls {
		switch {
		case c.Op == Weight || c.Outcome == Refused:
		case c.Op == Read && c.Outcome == Uncertain:
		case c.Op == Read && c.View.Stale:
			from, to := c.past(spans)
			list = append(list, operation(c.event(), from, to))
		case c.Outcome == Uncertain:
			list = append(list, operation(c.event(), c.Began, end))
		default:
			list = append(list, operation(c.event(), c.Began, c.Ended))
			if c.Outcome == Done && (c.Op == Promote || c.Op == Pin) {
				list = append(list, operation(currentIs(c.Source), c.Began, c.Ended))
			}
		}
	}
	return list
}

// past is when the state of a stale read can have been the present one.
func (c Call) past(spans []span) (from, to time.Duration) {
	to = c.Ended
	if c.View.Epoch > 0 {
		from = spans[c.View.Epoch-1].from
	}
	if next := int(c.View.Epoch); next < len(spans) {
		to = min(to, spans[next].to)
	}
	return from, to
}

func currentIs(source string) event {
	return func(s state) (bool, state) { return s.current == source, s }
}

// event is the rule of fsm: an operator's wish stands until it is carried out, or another one or a silence overtakes it.
func (c Change) event() event {
	return func(s state) (bool, state) {
		preference := c.Reason == "weight" || c.Reason == "lag"
		switch {
		case s.epoch+1 != c.Epoch || s.current != c.From || c.From == c.To:
			return false, s
		case s.pinned != "" && s.pinned != c.To, s.promoted != "" && s.promoted == s.current && preference:
			return false, s
		}
		if s.promoted != c.To && !preference {
			s.promoted = ""
		}
		s.epoch, s.current = c.Epoch, c.To
		return true, s
	}
}

func (c Call) event() event {
	switch c.Op {
	case Read:
		v := c.View
		return func(s state) (bool, state) { return s == state{v.Epoch, v.Current, v.Pinned, v.Promoted}, s }
	case Pin:
		return func(s state) (bool, state) { return true, state{s.epoch, s.current, c.Source, ""} }
	case Unpin:
		return func(s state) (bool, state) { return true, state{s.epoch, s.current, "", s.promoted} }
	case Forget:
		return c.forget
	case Promote:
		return c.promote
	}
	panic("BUG: no event for " + string(c.Op))
}

func (c Call) promote(s state) (bool, state) {
	overruled := s.pinned != "" && s.pinned != c.Source
	switch {
	case c.Outcome == Overruled:
		return overruled, s
	case !overruled:
		s.promoted = c.Source
		return true, s
	}
	return c.Outcome == Uncertain, s
}

func (c Call) forget(s state) (bool, state) {
	inUse := s.current == c.Source || s.pinned == c.Source
	if !inUse && s.promoted == c.Source {
		s.promoted = ""
	}
	return !inUse || c.Outcome == Uncertain, s
}

// register is the weight of one source.
var register = porcupine.Model{
	Init: func() any { return uint64(0) },
	Step: func(s, input, _ any) (bool, any) {
		e := input.(weighing)
		return !e.read || s == e.value, e.value
	},
}

type weighing struct {
	read  bool
	value uint64
}

func (r Record) weightEvents(source string) []porcupine.Operation {
	var list []porcupine.Operation
	end := r.end()
	for _, c := range r.Calls {
		switch {
		case c.Op == Read && c.Outcome == Done:
			from := c.Began
			if c.View.Stale {
				from = 0
			}
			list = append(list, operation(weighing{true, c.View.Weights[source]}, from, c.Ended))
		case c.Source != source || c.Op != Weight && c.Op != Forget:
		case c.Outcome == Done:
			list = append(list, operation(weighing{value: c.Weight}, c.Began, c.Ended))
		case c.Outcome == Uncertain:
			list = append(list, operation(weighing{value: c.Weight}, c.Began, end))
		}
	}
	return list
}

func (r Record) sources(turns []Change) []string {
	names := map[string]bool{}
	for _, t := range turns {
		names[t.To] = true
	}
	for _, c := range r.Calls {
		for name := range c.View.Weights {
			names[name] = true
		}
		if c.Source != "" {
			names[c.Source] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}
