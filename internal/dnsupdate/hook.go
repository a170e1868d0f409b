package dnsupdate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/libdns/libdns"
)

const (
	hookTimeout = 2 * time.Minute
	hookOutput  = 2 << 10
)

// Hook changes hosted DNS by a command of the operator's: "COMMAND add NAME TYPE VALUE" and "COMMAND remove NAME TYPE VALUE", NAME with
// the root's dot. It exits with 0 when the record is there, or gone; it may be called again for what is done already. What it needs to
// log in somewhere is its own affair: it gets our environment without our secrets.
type Hook struct {
	command string
	environ []string
}

// NewHook returns a provider that calls command, a program's path, with environ.
func NewHook(command string, environ []string) *Hook {
	return &Hook{command: command, environ: environ}
}

// AppendRecords has records added.
func (h *Hook) AppendRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	return h.call(ctx, "add", zone, records)
}

// DeleteRecords has records removed.
func (h *Hook) DeleteRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	return h.call(ctx, "remove", zone, records)
}

func (h *Hook) call(ctx context.Context, verb, zone string, records []libdns.Record) ([]libdns.Record, error) {
	for i, r := range records {
		rr := r.RR()
		if err := h.run(ctx, verb, libdns.AbsoluteName(rr.Name, strings.TrimSuffix(zone, ".")+"."), rr.Type, rr.Data); err != nil {
			return records[:i], err
		}
	}
	return records, nil
}

func (h *Hook) run(ctx context.Context, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, hookTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, h.command, args...) //nolint:gosec // the operator's command; no shell reads the arguments
	output := &bounded{}
	cmd.Stdout, cmd.Stderr, cmd.Env = output, output, h.environ
	cmd.WaitDelay = 5 * time.Second // a child that it left behind may hold the pipe
	err := cmd.Run()
	if err == nil || errors.Is(err, exec.ErrWaitDelay) {
		return nil
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if said := strings.TrimSpace(output.String()); said != "" {
		return fmt.Errorf("the DNS hook, asked to %s %s: %w: %s", args[0], args[1], err, said)
	}
	return fmt.Errorf("the DNS hook, asked to %s %s: %w", args[0], args[1], err)
}

// bounded keeps the beginning of what is written.
type bounded struct{ bytes.Buffer }

// Write takes everything and keeps what there is room for.
func (b *bounded) Write(p []byte) (int, error) {
	if room := hookOutput - b.Len(); room > 0 {
		b.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}
