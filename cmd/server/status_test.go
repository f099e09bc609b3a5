package server

import (
	"fmt"
	"strings"
	"testing"

	"github.com/highlander-io/highlander/fsm"
)

// A destination that the log does not take is a warning, with the reason: nothing is kept for it.
func TestDestinationThatCannotBeRegistered(t *testing.T) {
	var text strings.Builder
	text.WriteString("remote_write:\n")
	for i := range fsm.DestinationsMax + 1 {
		fmt.Fprintf(&text, "- {name: d%d, url: 'http://127.0.0.1:1/'}\n", i)
	}
	n := start(t, text.String())
	n.eventually("warned", func() bool {
		document := n.Status(t.Context())
		return len(document.Destinations) == fsm.DestinationsMax && len(document.Warnings) == 1 &&
			strings.Contains(document.Warnings[0], fmt.Sprint(fsm.DestinationsMax)) && strings.Contains(document.Warnings[0], "cannot be registered")
	})
}
