package history

import "github.com/anishathalye/porcupine"

// state is what a group's machine holds.
type state struct {
	epoch                     uint64
	current, pinned, promoted string
	weight                    uint64              // of one source, in a machine of its own
	over                      bool                // nothing happens any more
	used                      [uncertainMax]uint8 // uncertain calls of each kind that have happened
}

// event is one step of a machine. The possible ones tell so, and the state after it.
type event struct {
	step func(state) (bool, state)
	name string
}

func (e *event) String() string { return e.name }

var theEnd = &event{func(s state) (bool, state) { s.over = true; return true, s }, "the end"}

var machine = porcupine.Model{
	Init: func() any { return state{} },
	Step: func(s, input, _ any) (bool, any) { return input.(*event).step(s.(state)) },
}

func currentIs(source string) func(state) (bool, state) {
	return func(s state) (bool, state) { return s.current == source, s }
}

// step is the rule of the state machine: an operator's wish stands until it is carried out, or another one or a silence
// overtakes it.
func (c Change) step(s state) (bool, state) {
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

// uncertainMax bounds the kinds of uncertain calls: what is asked, and of which source.
const uncertainMax = 16

// doubts counts uncertain calls by kind.
type doubts map[string]*doubt

type doubt struct {
	kind  int
	calls uint8
}

// step lets an uncertain call happen at any time, or never. Those that would change nothing never happen, and those of one
// kind happen in the order in which they were given: nothing else could be told from it, and would be tried for nothing.
func (d doubts) step(c Call, happen func(state) (bool, state)) func(state) (bool, state) {
	key := string(c.Op) + " " + c.Source
	if d[key] == nil {
		if len(d) == uncertainMax {
			panic("BUG: too many kinds of uncertain calls")
		}
		d[key] = &doubt{kind: len(d)}
	}
	kind, before := d[key].kind, d[key].calls
	d[key].calls++
	return func(s state) (bool, state) {
		if s.over {
			return true, s
		}
		possible, after := happen(s)
		if !possible || after == s || s.used[kind] != before {
			return false, s
		}
		after.used[kind]++
		return true, after
	}
}

func (v View) state() state {
	return state{epoch: v.Epoch, current: v.Current, pinned: v.Pinned, promoted: v.Promoted}
}

// shows says whether a view is one of the state.
func (s state) shows(v View) bool {
	return s.epoch == v.Epoch && s.current == v.Current && s.pinned == v.Pinned && s.promoted == v.Promoted
}

func (c Call) step(s state) (bool, state) {
	overruled := s.pinned != "" && s.pinned != c.Source
	switch c.Op {
	case Read:
		return s.shows(c.View), s
	case Pin:
		s.pinned, s.promoted = c.Source, ""
	case Unpin:
		s.pinned = ""
	case Promote:
		if overruled || c.Outcome == Overruled {
			return overruled && c.Outcome == Overruled, s
		}
		s.promoted = c.Source
	case Forget:
		if s.current == c.Source || s.pinned == c.Source {
			return false, s
		}
		if s.promoted == c.Source {
			s.promoted = ""
		}
	}
	return true, s
}
