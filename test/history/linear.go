package history

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// searchMax bounds the search for an order of events that explains a record. One that exists is found at once; that none
// exists may take longer to prove than anybody waits, but not being found in so much time says enough.
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
	if text := decide("the group", r.events(turns, spans)); text != "" {
		found = append(found, text)
	}
	for _, source := range r.sources(turns) {
		if text := decide("the weight of "+source, r.weightEvents(source)); text != "" {
			found = append(found, text)
		}
	}
	return found
}

func decide(what string, events []porcupine.Operation) string {
	result, info := porcupine.CheckOperationsVerbose(machine, events, searchMax)
	if result == porcupine.Ok {
		return ""
	}
	found := "no order"
	if result == porcupine.Unknown {
		found = fmt.Sprintf("after %v no order", searchMax)
	}
	return fmt.Sprintf("%s: %s of %d events is found that explains what was answered; most are explained without %s",
		what, found, len(events), missing(info.PartialLinearizationsOperations()[0], events))
}

// missing describes the earliest event that the longest explanation lacks.
func missing(explanations [][]porcupine.Operation, events []porcupine.Operation) string {
	explained := map[any]bool{}
	for _, e := range explanations {
		if len(e) > len(explained) {
			explained = map[any]bool{}
			for _, operation := range e {
				explained[operation.Input] = true
			}
		}
	}
	var first *porcupine.Operation
	for i := range events {
		if e := &events[i]; !explained[e.Input] && (first == nil || e.Return < first.Return) {
			first = e
		}
	}
	if first == nil {
		return "nothing"
	}
	return fmt.Sprintf("%v between %v and %v", first.Input, time.Duration(first.Call), time.Duration(first.Return))
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

func operation(input any, from, to time.Duration) porcupine.Operation {
	return porcupine.Operation{Input: input, Call: int64(from), Return: int64(to)}
}

func (r Record) events(turns []Change, spans []span) []porcupine.Operation {
	var list []porcupine.Operation
	add := func(from, to time.Duration, step func(state) (bool, state), format string, args ...any) {
		list = append(list, operation(&event{step, fmt.Sprintf(format, args...)}, from, to))
	}
	for i, change := range turns {
		add(spans[i].from, spans[i].to, change.step, "change %+v", change)
	}
	end := r.end()
	list = append(list, operation(theEnd, end, end))
	maybe := doubts{}
	for _, c := range r.Calls {
		switch {
		case c.Op == Weight || c.Op == Read || c.Outcome == Refused:
		case c.Outcome == Uncertain:
			add(c.Began, end+1, maybe.step(c, c.step), "%v", c)
		default:
			add(c.Began, c.Ended, c.step, "%v", c)
			if c.Outcome == Done && (c.Op == Promote || c.Op == Pin) {
				add(c.Began, c.Ended, currentIs(c.Source), "%v carried out", c)
			}
		}
	}
	for _, c := range r.views(spans) {
		add(c.Began, c.Ended, c.step, "%v", c)
	}
	return list
}

func (c Call) String() string {
	if c.Op == Read {
		return fmt.Sprintf("read %+v at %s", c.View, c.Node)
	}
	return fmt.Sprintf("%s %s at %s (%v)", c.Op, c.Source, c.Node, c.Outcome)
}

// views are the reads, with the spans in which what they showed must have been so. Of marked ones that showed the same, the
// first says it for all.
func (r Record) views(spans []span) []Call {
	var list []Call
	first := map[state]int{}
	for _, c := range r.Calls {
		if c.Op != Read || c.Outcome != Done {
			continue
		}
		if c.View.Stale && spans != nil {
			c.Began, c.Ended = c.past(spans)
			if i, known := first[c.View.state()]; known {
				list[i].Ended = min(list[i].Ended, c.Ended)
				continue
			}
			first[c.View.state()] = len(list)
		}
		list = append(list, c)
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

// weightEvents are those of one source's weight. No two orders set the same one, so what a read shows tells which order had
// happened by then, whatever its answer was; one that is never shown may as well not have happened.
func (r Record) weightEvents(source string) []porcupine.Operation {
	var list []porcupine.Operation
	add := func(from, to time.Duration, step func(state) (bool, state), c Call) {
		list = append(list, operation(&event{step, c.String()}, from, to))
	}
	end := r.end()
	shown := map[uint64]time.Duration{} // when each was first shown
	marked := map[uint64]bool{}
	for _, c := range r.views(nil) {
		weight := c.View.Weights[source]
		if first, known := shown[weight]; !known || c.Ended < first {
			shown[weight] = c.Ended
		}
		marked[weight] = marked[weight] || c.View.Stale
		if !c.View.Stale {
			add(c.Began, c.Ended, func(s state) (bool, state) { return s.weight == weight, s }, c)
		}
	}
	for weight, by := range shown {
		if marked[weight] { // it once was so, by then
			c := Call{Op: Read, Node: "any", View: View{Weights: map[string]uint64{source: weight}, Stale: true}}
			add(0, by, func(s state) (bool, state) { return s.weight == weight, s }, c)
		}
	}
	maybe := doubts{}
	for _, c := range r.Calls {
		if c.Source != source || c.Op != Weight && c.Op != Forget || c.Outcome == Refused {
			continue
		}
		set := func(s state) (bool, state) { s.weight = c.Weight; return true, s }
		first, known := shown[c.Weight]
		switch {
		case c.Outcome == Done:
			add(c.Began, c.Ended, set, c)
		case c.Op == Forget:
			add(c.Began, end+1, maybe.step(c, set), c)
		case known:
			add(c.Began, max(c.Began, first), set, c)
		}
	}
	return append(list, operation(theEnd, end, end))
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
