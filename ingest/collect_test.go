package ingest

import (
	"context"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// slowly is a reader behind a slow line.
type slowly struct{ io.Reader }

func (s slowly) Read(p []byte) (int, error) {
	time.Sleep(9 * time.Second)
	return s.Reader.Read(p[:1])
}

// A member that keeps much behind a slow line is heard out, and one that falls silent is not waited for.
func TestUntilSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		untilSilent(t.Context(), 10*time.Second, func(ctx context.Context, heard func()) {
			if got, err := io.ReadAll(listener{slowly{strings.NewReader("what is kept")}, heard}); string(got) != "what is kept" || err != nil || ctx.Err() != nil {
				t.Errorf("read %q, %v; %v", got, err, ctx.Err())
			}
			time.Sleep(11 * time.Second)
			if ctx.Err() == nil {
				t.Error("a silent member is waited for")
			}
		})
	})
}
