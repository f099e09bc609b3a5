package ingest

import "log/slog"

// streak logs the first failure of a row, and the end of the row with its length.
type streak struct{ n int }

func (s *streak) note(log *slog.Logger, msg string, err error) {
	switch {
	case err != nil && s.n == 0:
		log.Warn(msg, "err", err)
		s.n = 1
	case err != nil:
		s.n++
	case s.n > 0:
		log.Info(msg+": over", "failures", s.n)
		s.n = 0
	}
}
