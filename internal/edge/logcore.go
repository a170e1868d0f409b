package edge

import (
	"context"
	"log/slog"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap/zapcore"
)

// logCore passes Caddy's own log on to ours. Of a logged request only method, host and address are kept: queries and headers may hold
// secrets.
type logCore struct {
	Edge string `json:"edge"`

	log    *slog.Logger
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
		c.log = e.log
	}
	return err
}

// Enabled keeps Caddy's chatter out: only warnings and worse.
func (c *logCore) Enabled(level zapcore.Level) bool { return level >= zapcore.WarnLevel }

// With returns a core that adds fields to every entry.
func (c *logCore) With(fields []zapcore.Field) zapcore.Core {
	return &logCore{Edge: c.Edge, log: c.log, fields: append(append([]zapcore.Field(nil), c.fields...), fields...)}
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
	for name, value := range encoder.Fields {
		attrs = append(attrs, slog.Any(name, value))
	}
	c.log.LogAttrs(context.Background(), level, "caddy says", attrs...)
	return nil
}

// Sync does nothing: slog doesn't buffer.
func (*logCore) Sync() error { return nil }
