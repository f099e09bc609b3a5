package fsm

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/highlander-io/highlander/fsm/wire"
)

// BatchOverheadMax is what an entry of the largest size keeps free for headers: that of a batch, and that of a dead
// letter that holds the body of a whole batch.
const BatchOverheadMax = 8 << 10

// MaxBodyBytes is the size to which bodies are cut.
const MaxBodyBytes = MaxEntryBytes - BatchOverheadMax

// PartsMax bounds the parts of one request.
const PartsMax = 4096

// Why an entry cannot be decoded. Each of them stops a node that finds it in its log.
var (
	ErrVersion = errors.New("fsm: unknown version")
	ErrKind    = errors.New("fsm: unknown kind of entry")
	ErrEntry   = errors.New("fsm: malformed entry")
)

const envelopeBytes = 2

// PeekKind returns the kind of an entry of a known version and kind.
func PeekKind(entry []byte) (Kind, error) {
	if len(entry) < envelopeBytes {
		return 0, fmt.Errorf("%w: %d bytes", ErrEntry, len(entry))
	}
	if entry[0] != Version {
		return 0, fmt.Errorf("%w: entry has version %d, this build reads %d", ErrVersion, entry[0], Version)
	}
	kind := Kind(entry[1])
	if kind < KindBatch || int(kind) >= len(commands) {
		return 0, fmt.Errorf("%w: %d", ErrKind, kind)
	}
	return kind, nil
}

// HeaderSize bounds what Append adds to the body.
func (b *Batch) HeaderSize() int {
	const fixed = envelopeBytes + len(RequestID{}) + 2 /* protocol, flags */ + 11*binary.MaxVarintLen64 + 3*binary.MaxVarintLen16
	return fixed + len(b.Group.Tenant) + len(b.Group.Name) + len(b.Source)
}

// Append appends the whole entry to dst. What Check refuses must not get here: an entry that nobody can decode stops
// every node of the cluster, so this panics instead.
func (b *Batch) Append(dst []byte) []byte {
	if err := b.Check(); err != nil {
		panic("BUG: " + err.Error())
	}
	dst = append(dst, Version, byte(KindBatch))
	dst = appendName(dst, b.Group.Tenant)
	dst = appendName(dst, b.Group.Name)
	dst = appendName(dst, b.Source)
	dst = binary.AppendUvarint(dst, b.Epoch)
	dst = append(dst, b.RequestID[:]...)
	dst = binary.AppendUvarint(dst, uint64(b.Part))
	dst = binary.AppendUvarint(dst, uint64(b.Parts))
	dst = append(dst, byte(b.Protocol))
	for _, n := range [...]uint32{b.Counts.Series, b.Counts.Floats, b.Counts.Histograms, b.Counts.Exemplars, b.Counts.Metadata} {
		dst = binary.AppendUvarint(dst, uint64(n))
	}
	dst = binary.AppendVarint(dst, b.Counts.MinTime)
	dst = binary.AppendVarint(dst, b.Counts.MaxTime)
	dst = binary.AppendVarint(dst, b.Time)
	dst = append(dst, byte(b.Flags))
	return append(dst, b.Body...)
}

// header is a batch with views of the entry instead of names.
type header struct {
	tenant, group, source []byte
	Batch
}

// parse reads an entry whose kind is known to be a batch. It does not allocate unless it fails.
func (h *header) parse(entry []byte) error {
	s := scanner{data: entry, offset: envelopeBytes}
	h.tenant = s.name("tenant", NameBytesMax)
	h.group = s.name("group", NameBytesMax)
	h.source = s.name("source", NameBytesMax)
	h.Epoch = s.uvarint()
	copy(h.RequestID[:], s.take(uint64(len(h.RequestID))))
	h.Part, h.Parts = s.uint32(), s.uint32()
	h.Protocol = wire.Protocol(s.byte())
	h.Counts = wire.Counts{
		Series: s.uint32(), Floats: s.uint32(), Histograms: s.uint32(), Exemplars: s.uint32(), Metadata: s.uint32(),
		MinTime: s.varint(), MaxTime: s.varint(),
	}
	h.Time = s.varint()
	h.Flags = BatchFlags(s.byte())
	h.Body = s.rest()
	if s.err == nil {
		s.err = h.Check() // the names are empty strings here, and checked above
	}
	if s.err != nil {
		return fmt.Errorf("%w: batch: %w", ErrEntry, s.err)
	}
	return nil
}

// DecodeBatch reads an entry that holds a batch. Body aliases entry.
func DecodeBatch(entry []byte) (Batch, error) {
	kind, err := PeekKind(entry)
	if err != nil {
		return Batch{}, err
	}
	if kind != KindBatch {
		return Batch{}, fmt.Errorf("%w: want a batch, got kind %d", ErrKind, kind)
	}
	var h header
	if err := h.parse(entry); err != nil {
		return Batch{}, err
	}
	h.Group = GroupID{Tenant: string(h.tenant), Name: string(h.group)}
	h.Source = string(h.source)
	return h.Batch, nil
}

// command is every kind but a batch.
type command interface{ check() error }

// commands are the kinds that this build knows, and what their entries are decoded into.
var commands = []func() command{
	KindBatch:       nil, // binary, see header
	KindElect:       func() command { return new(Elect) },
	KindSource:      func() command { return new(SourceOp) },
	KindDestination: func() command { return new(DestinationOp) },
	KindCursor:      func() command { return new(Cursor) },
	KindDeadLetter:  func() command { return new(DeadLetter) },
	KindLetterOp:    func() command { return new(LetterOp) },
	KindBooks:       func() command { return new(Books) },
	KindCluster:     func() command { return new(ClusterOp) },
	KindFenceEnd:    func() command { return new(FenceEnd) },
}

func kindOf(c any) (Kind, bool) {
	switch c.(type) {
	case *Elect:
		return KindElect, true
	case *SourceOp:
		return KindSource, true
	case *DestinationOp:
		return KindDestination, true
	case *Cursor:
		return KindCursor, true
	case *DeadLetter:
		return KindDeadLetter, true
	case *LetterOp:
		return KindLetterOp, true
	case *Books:
		return KindBooks, true
	case *ClusterOp:
		return KindCluster, true
	case *FenceEnd:
		return KindFenceEnd, true
	}
	return 0, false
}

// Encode makes an entry of a pointer to one of the commands, a batch included. It refuses what Decode would.
func Encode(c any) ([]byte, error) {
	if b, ok := c.(*Batch); ok {
		if err := b.Check(); err != nil {
			return nil, fmt.Errorf("fsm: encode: %w", err)
		}
		return b.Append(make([]byte, 0, b.HeaderSize()+len(b.Body))), nil
	}
	kind, ok := kindOf(c)
	if !ok {
		return nil, fmt.Errorf("fsm: encode: %w: %T", ErrKind, c)
	}
	if err := c.(command).check(); err != nil {
		return nil, fmt.Errorf("fsm: encode: %w", err)
	}
	entry := []byte{Version, byte(kind)}
	if l, ok := c.(*DeadLetter); ok {
		return append(l.append(entry), l.Body...), nil
	}
	payload, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("fsm: encode: %w", err)
	}
	return append(entry, payload...), nil
}

// Decode returns an entry's kind and a pointer to its command. Only a batch's body and a dead letter's body alias entry.
func Decode(entry []byte) (Kind, any, error) {
	kind, err := PeekKind(entry)
	if err != nil {
		return 0, nil, err
	}
	if kind == KindBatch {
		b, err := DecodeBatch(entry)
		if err != nil {
			return 0, nil, err
		}
		return kind, &b, nil
	}
	c := commands[kind]()
	if l, ok := c.(*DeadLetter); ok {
		err = l.parse(entry)
	} else {
		err = decodeStrict(entry[envelopeBytes:], c)
	}
	if err == nil {
		err = c.check()
	}
	if err != nil {
		return 0, nil, fmt.Errorf("%w: kind %d: %w", ErrEntry, kind, err)
	}
	return kind, c, nil
}

// decodeStrict refuses everything that encoding/json would quietly pass over.
func decodeStrict(payload []byte, into any) error {
	if !utf8.Valid(payload) {
		return errors.New("not valid UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(payload))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the object")
	}
	return nil
}

// append writes everything but the body.
func (l *DeadLetter) append(dst []byte) []byte {
	dst = appendName(dst, l.ID)
	dst = appendName(dst, l.Destination)
	dst = appendName(dst, l.Group.Tenant)
	dst = appendName(dst, l.Group.Name)
	dst = appendName(dst, l.Source)
	dst = binary.AppendUvarint(dst, l.Index)
	dst = append(dst, byte(l.Protocol))
	dst = binary.AppendUvarint(dst, l.Samples)
	dst = binary.AppendVarint(dst, int64(l.Status))
	dst = appendName(dst, l.Answer)
	return binary.AppendVarint(dst, l.Time)
}

func (l *DeadLetter) parse(entry []byte) error {
	s := scanner{data: entry, offset: envelopeBytes}
	s.letter(l)
	l.Body = s.rest()
	return s.err
}

// letter reads everything but the body.
func (s *scanner) letter(l *DeadLetter) {
	l.ID = string(s.name("ID", NameBytesMax))
	l.Destination = string(s.name("destination", NameBytesMax))
	l.Group.Tenant = string(s.name("tenant", NameBytesMax))
	l.Group.Name = string(s.name("group", NameBytesMax))
	l.Source = string(s.name("source", NameBytesMax))
	l.Index = s.uvarint()
	l.Protocol = wire.Protocol(s.byte())
	l.Samples = s.uvarint()
	status := s.varint()
	if status < 0 || status > StatusMax {
		s.fail(errRange)
	}
	l.Status = int(status)
	l.Answer = string(s.name("answer", AnswerBytesMax))
	l.Time = s.varint()
}
