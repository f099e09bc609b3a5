package ingest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/highlander-io/highlander/fsm"
	"github.com/highlander-io/highlander/fsm/wire"
)

// KeptPath is where the cluster port serves kept samples: POST takes copies, GET offers all of them, and POST on
// KeptReleasePath says which may go.
const (
	KeptPath        = "/v1/kept"
	KeptReleasePath = "/v1/kept/release"
)

const (
	headerKeeper = "X-Highlander-Keeper" // on a forwarded request: the window of its sender, which keeps what the leader tells it to
	headerKept   = "X-Highlander-Kept"   // on the leader's answer: a note of what is to be kept; one for each standby
)

const (
	// notesMax is up to how many standbys in one body the follower it came through is told to keep it.
	notesMax = 16
	// offerTimeout bounds how long one member may take to store a copy before another is asked.
	offerTimeout   = 2 * time.Second
	frameHeaderMax = 1 << 20
)

var errNoCopy = errors.New("no other node has taken a copy of the standby's samples; try again")

// Peer is another member, as Node sees it. Copies are for voters; a member that is none yet may keep what came through it.
type Peer struct {
	Name      string // unique among the peers
	Voter     bool
	Reachable bool
	Via       http.RoundTripper
}

// keptNote says whose a body is and when it arrived: with the body, all that is needed to offer it again.
type keptNote struct {
	Group   string `json:"group"`
	Source  string `json:"source"`
	Arrived int64  `json:"arrived"`
	Share   int    `json:"share"`
}

func (n keptNote) header() string {
	return url.Values{
		"group": {n.Group}, "source": {n.Source}, "arrived": {strconv.FormatInt(n.Arrived, 10)}, "share": {strconv.Itoa(n.Share)},
	}.Encode()
}

func parseNote(header string) (n keptNote, err error) {
	v, err := url.ParseQuery(header)
	if err != nil {
		return n, fmt.Errorf("%s: %w", headerKept, err)
	}
	n.Group, n.Source = v.Get("group"), v.Get("source")
	arrived, err := strconv.ParseInt(v.Get("arrived"), 10, 64)
	share, err2 := strconv.Atoi(v.Get("share"))
	if err = errors.Join(err, err2); err != nil {
		return n, fmt.Errorf("%s: %w", headerKept, err)
	}
	n.Arrived, n.Share = arrived, share
	return n, nil
}

// secondCopy sees to it that another node holds what this one keeps of a request: the follower it came through, which is
// told in the answer, else whoever takes a copy. Where there is no other voter there is nobody to ask.
func (h *Handler) secondCopy(ctx context.Context, wk *work) error {
	var notes []keptNote
	for it := range wk.kept() {
		notes = append(notes, keptNote{it.owner.group.Name, it.owner.source, it.arrived, it.share})
	}
	holder := wk.request.keeper
	voters := h.voters()
	switch {
	case len(notes) == 0 || len(voters) == 0:
		return nil
	case holder != "" && len(notes) <= notesMax:
		wk.notes = notes
	default:
		var err error
		if holder, err = h.offer(ctx, voters, wk.request.frame(notes)); err != nil {
			return err
		}
	}
	for it := range wk.kept() {
		h.window.hold(it.id, holder)
	}
	return nil
}

// kept ranges over what is kept of a request.
func (wk *work) kept() iter.Seq[*keptItem] {
	return func(yield func(*keptItem) bool) {
		for i := range wk.claims {
			if it := wk.claims[i].kept; it != nil && !yield(it) {
				return
			}
		}
	}
}

// voters are the peers that copies are for.
func (h *Handler) voters() []Peer {
	peers := h.peers.Load()
	if peers == nil {
		return nil
	}
	for i := range *peers {
		if !(*peers)[i].Voter { // rare, and not for long
			return slices.DeleteFunc(slices.Clone(*peers), func(p Peer) bool { return !p.Voter })
		}
	}
	return *peers
}

// offer posts a copy to the member that took the last one, else to another, and returns whose window it is in.
func (h *Handler) offer(ctx context.Context, peers []Peer, frame []byte) (holder string, err error) {
	start := int(h.keeper.Load())
	for _, reachable := range [...]bool{true, false} { // what was not reachable a moment ago may be now
		for i := range peers {
			at := (start + i) % len(peers)
			if peers[at].Reachable != reachable {
				continue
			}
			if holder, err := h.post(ctx, peers[at], KeptPath, frame, offerTimeout); err == nil {
				h.keeper.Store(int64(at))
				return holder, nil
			}
			if ctx.Err() != nil {
				return "", errNoCopy
			}
		}
	}
	return "", errNoCopy
}

// post returns the window that the member has answered from.
func (h *Handler) post(ctx context.Context, to Peer, path string, body []byte, timeout time.Duration) (window string, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	rq, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+peerHost+path, bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	resp, err := to.Via.RoundTrip(rq)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, relayedMax)) // so that the connection can be used again
	if resp.StatusCode != http.StatusNoContent {
		return "", fmt.Errorf("%s answered %s", to.Name, resp.Status)
	}
	window = resp.Header.Get(headerWindow)
	h.holders.learn(to.Name, window, h.now())
	return window, nil
}

const peerHost = "member" // the way to a member does not depend on it

// keptFrame is the head of a body on its way between members: its length and that of the body as four bytes each, then
// this as JSON, then the body.
type keptFrame struct {
	Tenant   string        `json:"tenant,omitempty"`
	Group    string        `json:"group,omitempty"` // as URL or headers said
	Source   string        `json:"source,omitempty"`
	Client   string        `json:"client,omitempty"`
	Protocol wire.Protocol `json:"protocol"`
	Notes    []keptNote    `json:"notes"`
}

func (f *keptFrame) append(dst, body []byte) []byte {
	head, err := json.Marshal(f)
	if err != nil {
		panic(fmt.Sprintf("BUG: a kept frame cannot be encoded: %v", err))
	}
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(head)))
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(body)))
	return append(append(dst, head...), body...)
}

func (rq *request) frame(notes []keptNote) []byte {
	f := keptFrame{Tenant: rq.tenant, Group: rq.group, Source: rq.source, Client: rq.client, Protocol: rq.protocol, Notes: notes}
	return f.append(nil, rq.body)
}

func (it *keptItem) frame(dst []byte) []byte {
	f := keptFrame{
		Tenant: it.named.tenant, Group: it.named.group, Source: it.named.source, Client: it.client, Protocol: it.protocol,
		Notes: []keptNote{{it.owner.group.Name, it.owner.source, it.arrived, it.share}},
	}
	return f.append(dst, it.body)
}

// readFrame reads one frame; io.EOF at the end of a stream.
func readFrame(r *bufio.Reader, bodyMax int64) (f keptFrame, body []byte, err error) {
	var sizes [8]byte
	if _, err := io.ReadFull(r, sizes[:]); err != nil {
		return f, nil, err
	}
	head, size := binary.BigEndian.Uint32(sizes[:4]), binary.BigEndian.Uint32(sizes[4:])
	if head > frameHeaderMax || int64(size) > bodyMax {
		return f, nil, fmt.Errorf("ingest: kept frame of %d and %d bytes, at most %d and %d are right", head, size, frameHeaderMax, bodyMax)
	}
	text, err := readSized(r, int(head))
	if err == nil {
		body, err = readSized(r, int(size))
	}
	if err != nil {
		return f, nil, io.ErrUnexpectedEOF
	}
	if err := json.Unmarshal(text, &f); err != nil {
		return f, nil, fmt.Errorf("ingest: kept frame: %w", err)
	}
	if err := f.check(len(body)); err != nil {
		return f, nil, fmt.Errorf("ingest: kept frame: %w", err)
	}
	return f, body, nil
}

// sizedAtOnce is up to how much memory is taken for a length that was only said.
const sizedAtOnce = 256 << 10

// readSized reads size bytes into a slice that is no larger.
func readSized(r io.Reader, size int) ([]byte, error) {
	b := make([]byte, 0, min(size, sizedAtOnce))
	for len(b) < size {
		if len(b) == cap(b) {
			b = append(make([]byte, 0, min(2*cap(b), size)), b...)
		}
		n, err := io.ReadFull(r, b[len(b):cap(b)])
		if b = b[:len(b)+n]; err != nil {
			return b, err
		}
	}
	return b, nil
}

// check refuses what the books could not take: it would be counted by whoever leads next.
func (f *keptFrame) check(size int) error {
	if f.Protocol != wire.V1 && f.Protocol != wire.V2 {
		return fmt.Errorf("unknown protocol %d", f.Protocol)
	}
	for _, n := range f.Notes {
		if n.Share < 0 || n.Share > size {
			return fmt.Errorf("a share of %d bytes of a body of %d", n.Share, size)
		}
		if err := errors.Join(fsm.CheckName(f.Tenant), fsm.CheckName(n.Group), fsm.CheckName(n.Source)); err != nil {
			return err
		}
	}
	return nil
}

// items makes the items of a frame. They share the body.
func (f *keptFrame) items(body []byte) []*keptItem {
	var hash xxh3.Hasher
	items := make([]*keptItem, 0, len(f.Notes))
	for _, note := range f.Notes {
		owner := shelfKey{fsm.GroupID{Tenant: f.Tenant, Name: note.Group}, note.Source}
		items = append(items, &keptItem{
			id: keptID(&hash, owner.group, owner.source, body), owner: owner,
			named: named{tenant: f.Tenant, group: f.Group, source: f.Source}, client: f.Client,
			protocol: f.Protocol, arrived: note.Arrived, share: note.Share, body: body,
		})
	}
	return items
}

// keepRelayed stores what the leader's answer says is to be kept of a request that this node passed on. It comes before
// the answer is passed back.
func (h *Handler) keepRelayed(rq *request, header http.Header) error {
	values := header[headerKept]
	if len(values) == 0 {
		return nil
	}
	if !h.window.room(len(rq.body)) {
		h.metrics.windowFull.Inc()
		return errWindowFull
	}
	f := keptFrame{Tenant: rq.tenant, Group: rq.group, Source: rq.source, Client: rq.client, Protocol: rq.protocol}
	for _, value := range values {
		note, err := parseNote(value)
		if err != nil {
			return err
		}
		f.Notes = append(f.Notes, note)
	}
	if err := f.check(len(rq.body)); err != nil {
		return fmt.Errorf("%s: %w", headerKept, err)
	}
	for _, it := range f.items(bytes.Clone(rq.body)) {
		if _, err := h.window.copy(it); err != nil {
			h.metrics.windowFull.Inc()
			return err
		}
	}
	return nil
}

// Kept serves KeptPath on the cluster port.
func (h *Handler) Kept() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+KeptPath, h.serveCopy)
	mux.HandleFunc("GET "+KeptPath, h.serveKept)
	mux.HandleFunc("POST "+KeptReleasePath, h.serveRelease)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()[headerWindow] = []string{h.window.id}
		mux.ServeHTTP(w, r)
	})
}

// serveCopy keeps one frame or several.
func (h *Handler) serveCopy(w http.ResponseWriter, r *http.Request) {
	stream, bodyMax := bufio.NewReader(r.Body), h.options.Load().MaxBodyBytes
	for {
		f, body, err := readFrame(stream, bodyMax)
		switch {
		case errors.Is(err, io.EOF):
			w.WriteHeader(http.StatusNoContent)
			return
		case err != nil:
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		for _, it := range f.items(body) {
			if _, err := h.window.copy(it); err != nil {
				h.metrics.windowFull.Inc()
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
		}
	}
}

// serveKept streams everything that this node keeps.
func (h *Handler) serveKept(w http.ResponseWriter, _ *http.Request) {
	var buf []byte
	for _, it := range h.window.list() {
		buf = it.frame(buf[:0])
		if _, err := w.Write(buf); err != nil {
			return // whoever asked has gone
		}
	}
}
