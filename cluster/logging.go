package cluster

import (
	"context"
	"fmt"
	"io"
	"log" //nolint:depguard // what hclog's interface speaks of
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// raftLogger lets Raft write to slog. Raft is talkative and loud: its Info is our Debug, and its Error, which
// includes every failed heartbeat to a node that is down, is our Warn: what is fatal ends the process by
// other ways. A message that repeats is written once in a while, with the number of times it was not.
type raftLogger struct {
	logger  *slog.Logger
	name    string
	implied []any
	level   hclog.Level
	quiet   *quieter
}

func newRaftLogger(logger *slog.Logger) hclog.Logger {
	return &raftLogger{logger: logger.With("component", "raft"), level: hclog.Debug, quiet: newQuieter(10 * time.Second)}
}

func slogLevel(level hclog.Level) slog.Level {
	switch {
	case level >= hclog.Warn:
		return slog.LevelWarn
	default:
		return slog.LevelDebug
	}
}

// Log implements hclog.Logger.
func (l *raftLogger) Log(level hclog.Level, msg string, args ...any) {
	to := slogLevel(level)
	if !l.logger.Enabled(context.Background(), to) {
		return
	}
	for i, arg := range args {
		switch value := arg.(type) {
		case hclog.Format:
			args[i] = fmt.Sprintf(value[0].(string), value[1:]...)
		case error:
			args[i] = value.Error()
		}
		if i%2 == 0 && args[i] == "error" {
			args[i] = "err"
		}
	}
	if level >= hclog.Warn {
		write, skipped := l.quiet.allow(msg, time.Now())
		if !write {
			return
		}
		if skipped > 0 {
			args = append(args, "repeated", skipped)
		}
	}
	//nolint:sloglint // Raft's own constants arrive here as a variable
	l.logger.Log(context.Background(), to, strings.ToLower(msg), append(args, l.implied...)...)
}

// Trace implements hclog.Logger; so do the methods below.
func (l *raftLogger) Trace(msg string, args ...any) { l.Log(hclog.Trace, msg, args...) }

// Debug implements hclog.Logger.
func (l *raftLogger) Debug(msg string, args ...any) { l.Log(hclog.Debug, msg, args...) }

// Info implements hclog.Logger.
func (l *raftLogger) Info(msg string, args ...any) { l.Log(hclog.Info, msg, args...) }

// Warn implements hclog.Logger.
func (l *raftLogger) Warn(msg string, args ...any) { l.Log(hclog.Warn, msg, args...) }

// Error implements hclog.Logger.
func (l *raftLogger) Error(msg string, args ...any) { l.Log(hclog.Error, msg, args...) }

func (l *raftLogger) enabled(level hclog.Level) bool {
	return l.logger.Enabled(context.Background(), slogLevel(level))
}

// IsTrace implements hclog.Logger.
func (l *raftLogger) IsTrace() bool { return false }

// IsDebug implements hclog.Logger.
func (l *raftLogger) IsDebug() bool { return l.enabled(hclog.Debug) }

// IsInfo implements hclog.Logger.
func (l *raftLogger) IsInfo() bool { return l.enabled(hclog.Info) }

// IsWarn implements hclog.Logger.
func (l *raftLogger) IsWarn() bool { return l.enabled(hclog.Warn) }

// IsError implements hclog.Logger.
func (l *raftLogger) IsError() bool { return l.enabled(hclog.Error) }

// ImpliedArgs implements hclog.Logger.
func (l *raftLogger) ImpliedArgs() []any { return l.implied }

// With implements hclog.Logger.
func (l *raftLogger) With(args ...any) hclog.Logger {
	next := *l
	next.implied = append(append([]any{}, l.implied...), args...)
	return &next
}

// Name implements hclog.Logger.
func (l *raftLogger) Name() string { return l.name }

// Named implements hclog.Logger.
func (l *raftLogger) Named(name string) hclog.Logger { return l.ResetNamed(name) }

// ResetNamed implements hclog.Logger.
func (l *raftLogger) ResetNamed(name string) hclog.Logger {
	next := *l
	next.name = name
	return &next
}

// SetLevel implements hclog.Logger. The level is slog's business.
func (l *raftLogger) SetLevel(hclog.Level) {}

// GetLevel implements hclog.Logger.
func (l *raftLogger) GetLevel() hclog.Level { return l.level }

// StandardLogger implements hclog.Logger.
func (l *raftLogger) StandardLogger(*hclog.StandardLoggerOptions) *log.Logger {
	return slog.NewLogLogger(l.logger.Handler(), slog.LevelWarn)
}

// StandardWriter implements hclog.Logger.
func (l *raftLogger) StandardWriter(*hclog.StandardLoggerOptions) io.Writer {
	return l.StandardLogger(nil).Writer()
}

// quieter lets a message through once per interval and counts what it held back. The messages are constants,
// so there are few.
type quieter struct {
	interval time.Duration

	mu   sync.Mutex
	seen map[string]*streak
}

type streak struct {
	last    time.Time
	skipped int
}

func newQuieter(interval time.Duration) *quieter {
	return &quieter{interval: interval, seen: make(map[string]*streak)}
}

func (q *quieter) allow(msg string, now time.Time) (write bool, skipped int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	s, ok := q.seen[msg]
	if !ok {
		q.seen[msg] = &streak{last: now}
		return true, 0
	}
	if now.Sub(s.last) < q.interval {
		s.skipped++
		return false, 0
	}
	skipped = s.skipped
	s.last, s.skipped = now, 0
	return true, skipped
}
