package ingest

import "log/slog"

// streak logs the first failure of a row, and the end of the row with its length.
type streak struct{ n int }

// books notes whether the books could be committed.
func (s *streak) books(log *slog.Logger, err error) {
	switch {
	case err != nil && s.n == 0:
		log.Warn("books cannot be committed", "err", err)
		s.n = 1
	case err != nil:
		s.n++
	case s.n > 0:
		log.Info("books are committed again", "failures", s.n)
		s.n = 0
	}
}
