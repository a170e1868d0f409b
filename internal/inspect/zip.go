package inspect

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"controlplane/internal/errs"
)

const (
	// zipTimeout is how long the first byte of a download may take: a container is started for it.
	zipTimeout = 2 * time.Minute
	// maxOrderBytes bounds what a download is asked for with.
	maxOrderBytes = 64 << 10
	zipPath       = "/v1/downloads"
)

// errNoZips is a worker's answer that has no place for backups.
var errNoZips = errs.New(errs.Unavailable, "backups_not_configured", "This platform keeps no backups: no place for them is configured.")

// Zip has the worker make a download of what order says, which only the backups' package understands, and writes it as it comes. What was
// written before an error is of no use. Errors: the worker's, as long as nothing is written, and ErrUnreachable.
func (c *Client) Zip(ctx context.Context, order []byte, w io.Writer) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+zipPath, bytes.NewReader(order)) //nolint:gosec // the operator names the worker
	if err != nil {
		return fmt.Errorf("ask the worker: %w", err)
	}
	res, err := c.do(ctx, c.zips, req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if _, err := io.Copy(w, res.Body); err != nil {
		return fmt.Errorf("hand on a download: %w", err)
	}
	return nil
}

// zip streams. What goes wrong after the first byte breaks the connection: half a zip must not pass for one.
func (s server) zip(w http.ResponseWriter, r *http.Request) {
	if s.deps.Zip == nil {
		s.fail(w, r, errNoZips)
		return
	}
	order, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxOrderBytes))
	if err != nil {
		s.fail(w, r, errs.New(errs.Malformed, "bad_order", "The order can't be read.").WithCause(err))
		return
	}
	out := &late{ResponseWriter: w}
	err = s.deps.Zip(r.Context(), order, out)
	switch {
	case err == nil:
	case !out.begun:
		s.fail(w, r, err)
	default:
		s.deps.Log.WarnContext(r.Context(), "a download broke off", "error", err)
		panic(http.ErrAbortHandler)
	}
}

// late is an answer whose header goes out with its first byte, so that until then errors can be told.
type late struct {
	http.ResponseWriter
	begun bool
}

// Write sends a piece.
func (l *late) Write(p []byte) (int, error) {
	if !l.begun {
		l.begun = true
		l.Header().Set("Content-Type", "application/zip")
	}
	return l.ResponseWriter.Write(p) //nolint:wrapcheck // as its interface wants it
}
