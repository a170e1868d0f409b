package docker

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"

	"controlplane/internal/provision"
)

const (
	followCall   = time.Hour // whoever follows longer asks again
	maxLineBytes = 15 << 10  // the engine cuts what it stores into pieces of 16 KiB, and each begins with a time of its own
)

// ContainerLogs reads both streams of the container's log; see provision.Meter. A line that is longer than 15 KiB ends there.
func (r *Runtime) ContainerLogs(ctx context.Context, name string, q provision.LogQuery, line func(provision.LogLine) error) error {
	limit := quickCall
	if q.Follow {
		limit = followCall
	}
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := r.call(bounded, limit+stopMargin, "read the log of container "+name, func(ctx context.Context) error {
		found, err := r.findContainer(ctx, name)
		if err != nil || found == nil {
			return err
		}
		logs, err := r.api.ContainerLogs(ctx, found.ID, client.ContainerLogsOptions{
			ShowStdout: true, ShowStderr: true, Timestamps: true, Tail: strconv.Itoa(q.Tail), Follow: q.Follow,
		})
		if err != nil {
			return ignoreNotFound(err)
		}
		defer func() { _ = logs.Close() }()
		stdout, stderr := lineWriter{stream: "stdout", line: line}, lineWriter{stream: "stderr", line: line}
		if _, err := stdcopy.StdCopy(&stdout, &stderr, logs); err != nil {
			return err
		}
		return errors.Join(stdout.flush(), stderr.flush())
	})
	if q.Follow && ctx.Err() == nil && bounded.Err() != nil {
		return nil
	}
	return err
}

// lineWriter cuts one stream into lines and keeps no more of a line than maxLineBytes.
type lineWriter struct {
	stream string
	line   func(provision.LogLine) error
	rest   bytes.Buffer
}

// Write fails when line does.
func (w *lineWriter) Write(p []byte) (int, error) {
	n := len(p)
	for {
		head, tail, ended := bytes.Cut(p, []byte("\n"))
		w.rest.Write(head[:min(len(head), maxLineBytes-w.rest.Len())])
		if !ended {
			return n, nil
		}
		if err := w.flush(); err != nil {
			return 0, err
		}
		p = tail
	}
}

// flush passes on what there is of a line.
func (w *lineWriter) flush() error {
	if w.rest.Len() == 0 {
		return nil
	}
	raw := strings.TrimSuffix(w.rest.String(), "\r")
	w.rest.Reset()
	stamp, text, _ := strings.Cut(raw, " ")
	at, err := time.Parse(time.RFC3339Nano, stamp)
	if err != nil {
		text = raw // not the engine's; show it rather than lose it
	}
	return w.line(provision.LogLine{At: at, Stream: w.stream, Text: strings.ToValidUTF8(text, "�")})
}
