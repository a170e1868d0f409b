package ops

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// repeatAfter is how soon River may say the same thing again.
const repeatAfter = 10 * time.Second

// quiet passes on only what needs attention, and not too often: River tells every start, stop and sweep at level Info, and while the
// database is away its every look for work is an error.
func quiet(log *slog.Logger) *slog.Logger {
	return slog.New(&warnings{Handler: log.Handler(), said: &said{last: map[string]time.Time{}}})
}

type warnings struct {
	slog.Handler
	said *said
}

// said remembers when each message was passed on; there are few different ones.
type said struct {
	mu   sync.Mutex
	last map[string]time.Time
}

func (s *said) lately(message string, at time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at.Sub(s.last[message]) < repeatAfter {
		return true
	}
	s.last[message] = at
	return false
}

// Enabled reports whether records of this level are passed on.
func (w *warnings) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && w.Handler.Enabled(ctx, level)
}

// Handle drops what was said lately.
func (w *warnings) Handle(ctx context.Context, record slog.Record) error {
	if w.said.lately(record.Message, record.Time) {
		return nil
	}
	return w.Handler.Handle(ctx, record)
}

// WithAttrs keeps the filter.
func (w *warnings) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &warnings{Handler: w.Handler.WithAttrs(attrs), said: w.said}
}

// WithGroup keeps the filter.
func (w *warnings) WithGroup(name string) slog.Handler {
	return &warnings{Handler: w.Handler.WithGroup(name), said: w.said}
}
