package fsm

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Sizes that an entry may not exceed. They are part of the format: a longer name cannot be decoded.
const (
	NameBytesMax   = 2 << 10 // of a tenant, group, source, destination, reason or ID
	URLBytesMax    = 8 << 10
	AnswerBytesMax = 2 << 10 // of an LTS's answer in a dead letter
	// StatusMax is the largest HTTP status in a dead letter; 0 stands for none.
	StatusMax = 999
)

// ErrInvalid is in the chain of every error that Encode and CheckName return for what a command says.
var ErrInvalid = errors.New("invalid command")

// CheckName says whether a tenant, group or source can be stored: valid UTF-8, not too long.
func CheckName(s string) error { return checkString("name", s, NameBytesMax) }

func checkString(what, s string, bytesMax int) error {
	if len(s) > bytesMax {
		return fmt.Errorf("%w: %s has %d bytes, at most %d are allowed", ErrInvalid, what, len(s), bytesMax)
	}
	if !utf8.ValidString(s) {
		return fmt.Errorf("%w: %s %q is not valid UTF-8", ErrInvalid, what, s)
	}
	return nil
}

func checkBytes(what string, b []byte, bytesMax int) error {
	if len(b) <= bytesMax && utf8.Valid(b) {
		return nil
	}
	return checkString(what, string(b), bytesMax)
}

func checkNames(names ...string) error {
	for _, name := range names {
		if err := CheckName(name); err != nil {
			return err
		}
	}
	return nil
}

func checkOp(op string, known ...string) error {
	if slices.Contains(known, op) {
		return nil
	}
	return fmt.Errorf("%w: operation %q: want one of %s", ErrInvalid, op, strings.Join(known, ", "))
}

func checkPresent(what, s string) error {
	if s == "" {
		return fmt.Errorf("%w: no %s", ErrInvalid, what)
	}
	return nil
}

func checkReasons(counts map[string]uint64) error {
	for reason := range counts {
		if err := checkPresent("reason", reason); err != nil {
			return err
		}
		if err := checkNames(reason); err != nil {
			return err
		}
	}
	return nil
}

// Check says whether the batch can be stored.
func (b *Batch) Check() error {
	switch {
	case b.Part < 1 || b.Part > b.Parts || b.Parts > PartsMax:
		return fmt.Errorf("%w: part %d of %d, at most %d are allowed", ErrInvalid, b.Part, b.Parts, PartsMax)
	case b.Protocol == 0:
		return fmt.Errorf("%w: batch without a protocol", ErrInvalid)
	}
	return checkNames(b.Group.Tenant, b.Group.Name, b.Source)
}

func (e *Elect) check() error {
	return errors.Join(checkPresent("source", e.To), checkPresent("reason", e.Reason),
		checkNames(e.Group.Tenant, e.Group.Name, e.To, e.Reason))
}

func (e *FenceEnd) check() error { return checkNames(e.Group.Tenant, e.Group.Name) }

func (o *SourceOp) check() error {
	if err := checkOp(o.Op, OpPin, OpUnpin, OpPromote, OpWeight, OpForget); err != nil {
		return err
	}
	if o.Op != OpUnpin {
		if err := checkPresent("source", o.Source); err != nil {
			return err
		}
	}
	return checkNames(o.Group.Tenant, o.Group.Name, o.Source)
}

func (o *DestinationOp) check() error {
	return errors.Join(checkOp(o.Op, OpRegister, OpPause, OpResume, OpForget), checkPresent("destination", o.Name),
		checkNames(o.Name), checkString("URL", o.URL, URLBytesMax))
}

func (c *Cursor) check() error {
	return errors.Join(checkPresent("destination", c.Destination), checkNames(c.Destination), checkReasons(c.Dropped))
}

func (l *DeadLetter) check() error {
	if l.Protocol == 0 {
		return fmt.Errorf("%w: dead letter without a protocol", ErrInvalid)
	}
	return errors.Join(checkPresent("ID", l.ID), checkPresent("destination", l.Destination),
		checkNames(l.ID, l.Destination, l.Group.Tenant, l.Group.Name, l.Source), checkAnswer(l.Status, l.Answer))
}

func checkAnswer(status int, answer string) error {
	if status < 0 || status > StatusMax {
		return fmt.Errorf("%w: HTTP status %d", ErrInvalid, status)
	}
	return checkString("answer", answer, AnswerBytesMax)
}

func (o *LetterOp) check() error {
	if err := checkOp(o.Op, OpReplay, OpDelivered, OpRefused, OpPurge); err != nil {
		return err
	}
	if o.Op != OpPurge {
		if err := checkPresent("ID", o.ID); err != nil {
			return err
		}
	}
	return errors.Join(checkNames(o.ID), checkAnswer(o.Status, o.Answer))
}

func (b *Books) check() error {
	if err := errors.Join(checkPresent("origin", b.Origin), checkNames(b.Origin)); err != nil {
		return err
	}
	for i := range b.Groups {
		if err := b.Groups[i].check(); err != nil {
			return err
		}
	}
	return nil
}

func (g *GroupBooks) check() error {
	if err := errors.Join(checkNames(g.Group.Tenant, g.Group.Name), checkReasons(g.Rejected)); err != nil {
		return err
	}
	for source := range g.Received {
		if err := checkNames(source); err != nil {
			return err
		}
	}
	for source := range g.Standby {
		if err := checkNames(source); err != nil {
			return err
		}
	}
	return nil
}

func (o *ClusterOp) check() error { return checkNames(o.UUID, o.FromUUID) }
