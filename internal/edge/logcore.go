package edge

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap/zapcore"
)

// logCore passes Caddy's own log on to ours. Of a logged request only method, host and address are kept: queries and headers may hold
// secrets.
type logCore struct {
	Edge string `json:"edge"`

	log    *slog.Logger
	calm   *calm
	fields []zapcore.Field
}

// CaddyModule names the module.
func (*logCore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.logging.cores.odoohost", New: func() caddy.Module { return new(logCore) }}
}

// Provision finds the edge's logger.
func (c *logCore) Provision(caddy.Context) error {
	e, err := instance(c.Edge)
	if err == nil {
		c.log, c.calm = e.log, newCalm()
	}
	return err
}

// Enabled keeps Caddy's chatter out: only warnings and worse.
func (c *logCore) Enabled(level zapcore.Level) bool { return level >= zapcore.WarnLevel }

// With returns a core that adds fields to every entry.
func (c *logCore) With(fields []zapcore.Field) zapcore.Core {
	return &logCore{Edge: c.Edge, log: c.log, calm: c.calm, fields: append(append([]zapcore.Field(nil), c.fields...), fields...)}
}

// Check adds the core to an entry that it wants. That we have no admin endpoint is no warning to us.
func (c *logCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(entry.Level) && entry.LoggerName != "admin" {
		return checked.AddCore(entry, c)
	}
	return checked
}

// Write logs one entry.
func (c *logCore) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	kept, dropped := c.calm.take(entry.Message, entry.Time)
	if !kept {
		return nil
	}
	encoder := zapcore.NewMapObjectEncoder()
	for _, list := range [][]zapcore.Field{c.fields, fields} {
		for _, f := range list {
			f.AddTo(encoder)
		}
	}
	if request, ok := encoder.Fields["request"].(map[string]any); ok {
		encoder.Fields["request"] = map[string]any{
			"method": request["method"], "host": request["host"], "client_ip": request["client_ip"],
		}
	}
	level := slog.LevelWarn
	if entry.Level >= zapcore.ErrorLevel {
		level = slog.LevelError
	}
	attrs := []slog.Attr{slog.String("logger", entry.LoggerName), slog.String("message", entry.Message)}
	if dropped > 0 {
		attrs = append(attrs, slog.Int("left_out_before", dropped))
	}
	for name, value := range encoder.Fields {
		attrs = append(attrs, slog.Any(name, value))
	}
	c.log.LogAttrs(context.Background(), level, "caddy says", attrs...)
	return nil
}

// Sync does nothing: slog doesn't buffer.
func (*logCore) Sync() error { return nil }

const (
	calmLines  = 10
	calmWindow = time.Minute
	calmWords  = 1000 // different messages, which are Caddy's own words: more than it has
)

// calm keeps strangers from filling the log, by handshakes that fail say: of each message so many lines a minute are kept.
type calm struct {
	mu   sync.Mutex
	said map[string]*calmCount
}

type calmCount struct {
	since          time.Time
	lines, dropped int
}

func newCalm() *calm { return &calm{said: map[string]*calmCount{}} }

// take reports whether a message is to be kept, and how many like it weren't since the last one that was.
func (c *calm) take(message string, now time.Time) (kept bool, dropped int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	count, ok := c.said[message]
	if !ok {
		if len(c.said) >= calmWords {
			clear(c.said)
		}
		count = &calmCount{since: now}
		c.said[message] = count
	}
	if now.Sub(count.since) >= calmWindow {
		count.since, count.lines = now, 0
	}
	if count.lines >= calmLines {
		count.dropped++
		return false, 0
	}
	count.lines++
	dropped, count.dropped = count.dropped, 0
	return true, dropped
}
