package cluster

import (
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// A connection begins with one frame from the dialling side and one frame in answer:
//
//	"HLDR" | version, 1 byte | length, 4 bytes big endian | JSON
//
// The frame's layout never changes; what the JSON may say is the version's business. After an accepting
// answer the connection belongs to the stream that was asked for.
const (
	handshakeMagic    = "HLDR"
	handshakeVersion  = 1
	handshakeHeader   = len(handshakeMagic) + 5
	handshakeBytesMax = 256 << 10
	handshakeTimeout  = 3 * time.Second
)

type stream string

const (
	streamRaft  stream = "raft"  // Raft's own RPCs
	streamHTTP  stream = "http"  // requests among members
	streamHello stream = "hello" // one report in answer, nothing more
)

// greeting opens a connection. Only a hello may leave Target and Cluster empty: it asks who is there.
type greeting struct {
	Stream  stream `json:"stream"`
	Target  string `json:"target,omitempty"`
	Cluster string `json:"cluster,omitempty"`
	From    Peer   `json:"from"`
}

// Peer is the other end of a connection as it introduced itself.
type Peer struct {
	Name    string `json:"name"`
	UUID    string `json:"uuid"`
	Cluster string `json:"cluster,omitempty"`
	Address string `json:"address"`
}

// welcome answers a greeting.
type welcome struct {
	Accepted bool    `json:"accepted"`
	Reason   string  `json:"reason,omitempty"`
	UUID     string  `json:"uuid"`
	Report   *Report `json:"report,omitempty"` // for streamHello
}

// RefusedError is the answer of a node that was reached but is not the one that was meant.
type RefusedError struct {
	Address string // host:port that was dialled
	UUID    string // who answered
	Reason  string
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("%s refused the connection: %s", e.Address, e.Reason)
}

func writeFrame(w io.Writer, message any) error {
	body, err := json.Marshal(message)
	if err != nil {
		return err
	}
	frame := make([]byte, 0, handshakeHeader+len(body))
	frame = append(frame, handshakeMagic...)
	frame = append(frame, handshakeVersion)
	frame = binary.BigEndian.AppendUint32(frame, uint32(len(body)))
	_, err = w.Write(append(frame, body...))
	return err
}

var errVersion = errors.New("unknown handshake version")

func readFrame(r io.Reader, message any) error {
	var header [handshakeHeader]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	if string(header[:len(handshakeMagic)]) != handshakeMagic {
		return errors.New("handshake: not a highlander cluster port")
	}
	length := binary.BigEndian.Uint32(header[len(handshakeMagic)+1:])
	if length > uint32(handshakeBytesMax) {
		return fmt.Errorf("handshake: %d bytes, limit %d", length, handshakeBytesMax)
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(r, body); err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	if version := header[len(handshakeMagic)]; version != handshakeVersion {
		return fmt.Errorf("%w %d, want %d", errVersion, version, handshakeVersion)
	}
	if err := json.Unmarshal(body, message); err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	return nil
}

// greet is the dialling side. The error of a node that answered and refused is a *RefusedError.
func greet(conn net.Conn, where string, g greeting) (welcome, error) {
	var w welcome
	if err := conn.SetDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return w, err
	}
	if err := writeFrame(conn, g); err != nil {
		return w, err
	}
	if err := readFrame(conn, &w); err != nil {
		if _, secured := conn.(*tls.Conn); !secured && hungUp(err) {
			err = fmt.Errorf("%w; perhaps it speaks TLS, which this node does only with cluster.tls", err)
		}
		return w, fmt.Errorf("%s: %w", where, err)
	}
	if !w.Accepted {
		return w, &RefusedError{Address: where, UUID: w.UUID, Reason: w.Reason}
	}
	return w, conn.SetDeadline(time.Time{})
}

// hungUp is how a port that speaks TLS takes a greeting without.
func hungUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, unix.ECONNRESET)
}

// examine decides about a greeting; an empty reason accepts it. The reasons are for people on the other side.
func examine(g greeting, own Identity) (reason string) {
	if g.Stream == streamHello && g.Target == "" {
		return ""
	}
	switch {
	case g.Stream != streamRaft && g.Stream != streamHTTP && g.Stream != streamHello:
		return fmt.Sprintf("unknown stream %q", g.Stream)
	case g.Target != own.UUID:
		return fmt.Sprintf("this is node %s (uuid %s), not uuid %s", own.Name, own.UUID, g.Target)
	case g.Stream == streamHello:
		return ""
	case g.Stream == streamRaft && own.Cluster == "":
		return fmt.Sprintf("node %s belongs to no cluster yet", own.Name)
	case g.Cluster != own.Cluster:
		return fmt.Sprintf("node %s belongs to cluster %q, not to %q", own.Name, own.Cluster, g.Cluster)
	}
	return ""
}
