package egress

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/highlander-io/highlander/fsm"
	"github.com/highlander-io/highlander/fsm/wire"
)

// answerMax bounds the endpoint's words in a dead letter.
const answerMax = 512

// bury commits dead letters for everything that was refused of a window. It returns when they are in the
// log: only then may the cursor pass.
func (s *sender) bury(ctx context.Context, w *window) error {
	if len(w.refusals) == 0 {
		return nil
	}
	letters, err := s.write(w)
	if err != nil {
		return err
	}
	if err := s.room(ctx, letters); err != nil {
		return err
	}
	var samples uint64
	for _, l := range letters {
		if err := s.store(ctx, l); err != nil {
			return err
		}
		samples += l.Samples
	}
	w.sent.deadLetter += samples
	s.mourn(samples, w)
	w.refusals = nil
	return nil
}

// mourn logs dead letters: at once, then what came together in a minute.
func (s *sender) mourn(samples uint64, w *window) {
	s.buried += samples
	if s.now().Sub(s.mourned) < time.Minute {
		return
	}
	s.log.Warn("destination refused samples for good, they are dead letters", "samples", s.buried, "index", w.to,
		"err", w.refusals[0].result.String())
	s.buried, s.mourned = 0, s.now()
}

// heap is what becomes one dead letter: the refused series of one batch with the same answer.
type heap struct {
	owner  int32
	status int
	answer string
	picks  []int32
}

// write makes dead letters of a window's refusals: one for each batch and answer, more if that is too large for
// an entry.
func (s *sender) write(w *window) ([]*fsm.DeadLetter, error) {
	c, err := w.takeApart()
	if err != nil {
		return nil, err
	}
	var letters []*fsm.DeadLetter
	for _, h := range heaps(c, w) {
		parts, err := c.req.Parts(h.picks, false, false, wire.DefaultMaxStored)
		if errors.Is(err, wire.ErrUncuttable) { // only relabelling can have made it so large
			w.sent.drop(DroppedRefused, c.samples(h.picks))
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, part := range parts {
			if part.Counts.Samples() > 0 {
				letters = append(letters, s.letter(w, w.origins[h.owner], h, part))
			}
		}
	}
	return letters, nil
}

func heaps(c *cut, w *window) []*heap {
	var out []*heap
	for _, it := range w.refusals {
		r := it.result
		for _, run := range c.byOrigin(w, it.piece.series(c)) {
			owner := c.owners(w)[run[0]]
			i := slices.IndexFunc(out, func(h *heap) bool {
				return h.owner == owner && h.status == r.status && h.answer == r.answer
			})
			if i < 0 {
				i = len(out)
				out = append(out, &heap{owner: owner, status: r.status, answer: r.answer})
			}
			out[i].picks = append(out[i].picks, run...)
		}
	}
	for _, h := range out {
		slices.Sort(h.picks)
	}
	slices.SortStableFunc(out, func(a, b *heap) int { return cmp.Compare(a.owner, b.owner) })
	return out
}

func (s *sender) letter(w *window, from origin, h *heap, part wire.Part) *fsm.DeadLetter {
	return &fsm.DeadLetter{
		ID:          letterID(s.target.Name, from.index, part.Body),
		Destination: s.target.Name,
		Group:       from.group,
		Source:      from.source,
		Index:       from.index,
		Protocol:    w.protocol,
		Samples:     part.Counts.Samples(),
		Status:      h.status,
		Answer:      shorten(h.answer),
		Time:        s.now().UnixMilli(),
		Body:        part.Body,
	}
}

// letterID is the same for the same refusal, whoever leads.
func letterID(destination string, index uint64, body []byte) string {
	h := sha256.New()
	_, _ = h.Write([]byte(destination))
	_, _ = h.Write(binary.BigEndian.AppendUint64([]byte{0}, index))
	_, _ = h.Write(body)
	return hex.EncodeToString(h.Sum(nil)[:12])
}

func shorten(answer string) string {
	if len(answer) > answerMax {
		answer = answer[:answerMax]
	}
	return valid(answer)
}

// room waits until all of a window's letters fit. All, because those of a window that has not been passed
// cannot be purged: half of them would block the other half for ever.
func (s *sender) room(ctx context.Context, letters []*fsm.DeadLetter) error {
	for {
		var size int64
		for _, l := range letters {
			if _, there := s.state.DeadLetter(l.ID); !there {
				size += int64(len(l.Body))
			}
		}
		used := s.state.DeadLetterBytes()
		if size == 0 || used+size <= s.letters {
			return nil
		}
		s.show.held(fmt.Sprintf("dead letters are full: %d bytes and %d more, at most %d; replay or purge them", used, size, s.letters))
		if err := s.rest(ctx, 0); err != nil {
			return err
		}
	}
}

// store commits one dead letter.
func (s *sender) store(ctx context.Context, l *fsm.DeadLetter) error {
	if err := s.journal.settle(ctx, l); err != nil {
		return fmt.Errorf("egress: store dead letter of entry %d: %w", l.Index, err)
	}
	return nil
}

// replay sends the dead letters that an operator put back into the backlog. They are apart from the log, so
// the cursor has nothing to do with them.
func (s *sender) replay(ctx context.Context) error {
	for _, l := range s.state.Replaying(s.target.Name) {
		w := &window{tenant: l.Group.Tenant, protocol: l.Protocol, body: l.Body, samples: l.Samples, replay: true}
		r, err := s.push(ctx, wholePiece(w))
		if err != nil {
			return err
		}
		op := &fsm.LetterOp{Op: "delivered", ID: l.ID, Time: s.now().UnixMilli()}
		if r.outcome != delivered {
			op.Op, op.Status, op.Answer = "refused", r.status, shorten(r.answer)
		} else {
			s.show.up()
		}
		if err := s.journal.settle(ctx, op); err != nil && !isRefusal(err) {
			return fmt.Errorf("egress: replay dead letter %s: %w", l.ID, err)
		}
	}
	return nil
}
