package api

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"controlplane/internal/accounts"
	"controlplane/internal/errs"
	"controlplane/internal/feed"
	"controlplane/internal/tenants"
)

// Inspector looks at what runs, which takes a worker: it alone knows the engine.
type Inspector interface {
	Stats(ctx context.Context, t tenants.Tenant) (tenants.Stats, error)
	// Logs calls line for each line, oldest first, and ends with its first error.
	Logs(ctx context.Context, t tenants.Tenant, q tenants.LogQuery, line func(tenants.LogLine) error) error
}

var errNoWorker = errs.New(errs.Unavailable, "no_worker", "That can't be looked up at the moment: no worker is reachable.")

// containerAnswer has texts, as old front ends print them, and numbers.
type containerAnswer struct {
	ContainerID   string `json:"container_id"`
	Name          string `json:"name"`
	Status        string `json:"status"`
	CPUPercent    string `json:"cpu_percent"`
	MemoryUsage   string `json:"memory_usage"`
	MemoryPercent string `json:"memory_percent"`
	NetworkIO     string `json:"network_io"`
	BlockIO       string `json:"block_io"`
	PIDs          string `json:"pids"`

	SampledAt        *wireTime `json:"sampled_at"`
	CPU              float64   `json:"cpu"` // percent of one core
	CPULimit         float64   `json:"cpu_limit"`
	MemoryBytes      int64     `json:"memory_bytes"`
	MemoryLimitBytes int64     `json:"memory_limit_bytes"`
	NetworkInBytes   int64     `json:"network_in_bytes"`
	NetworkOutBytes  int64     `json:"network_out_bytes"`
	BlockReadBytes   int64     `json:"block_read_bytes"`
	BlockWriteBytes  int64     `json:"block_write_bytes"`
	PIDCount         int       `json:"pid_count"`
	PIDLimit         int       `json:"pid_limit"`
}

type clientStatsAnswer struct {
	Containers     []containerAnswer `json:"containers"`
	DiskUsageMB    int               `json:"disk_usage_mb"`
	Status         tenants.State     `json:"status"`
	DatabaseBytes  int64             `json:"database_bytes"`
	FilestoreBytes int64             `json:"filestore_bytes"`
	DiskMeasuredAt *wireTime         `json:"disk_measured_at"` // null: not yet
	DiskQuotaMB    int               `json:"disk_quota_mb"`
}

// shortID is how much of an id the container tool prints.
const shortID = 12

func newContainerAnswer(c tenants.ContainerStats) containerAnswer {
	text := c.Texts()
	return containerAnswer{
		ContainerID: c.ID[:min(len(c.ID), shortID)], Name: c.Name, Status: c.Status, CPUPercent: text.CPUPercent, MemoryUsage: text.MemoryUsage,
		MemoryPercent: text.MemoryPercent, NetworkIO: text.NetworkIO, BlockIO: text.BlockIO, PIDs: text.PIDs,
		SampledAt: timeOrNull(c.SampledAt), CPU: c.CPUPercent, CPULimit: cores(c.CPULimitMilli), MemoryBytes: c.MemoryBytes,
		MemoryLimitBytes: c.MemoryLimitBytes, NetworkInBytes: c.NetworkInBytes, NetworkOutBytes: c.NetworkOutBytes,
		BlockReadBytes: c.BlockReadBytes, BlockWriteBytes: c.BlockWriteBytes, PIDCount: c.PIDs, PIDLimit: c.PIDsLimit,
	}
}

func timeOrNull(t time.Time) *wireTime {
	if t.IsZero() {
		return nil
	}
	return wireTimePtr(&t)
}

func (s *server) statsOfClient(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	t, err := s.client(r, p)
	if err != nil {
		return err
	}
	if s.deps.Inspector == nil {
		return errNoWorker
	}
	plan, err := s.deps.Tenants.Plan(r.Context(), t.PlanID)
	if err != nil {
		return err
	}
	stats, err := s.deps.Inspector.Stats(r.Context(), t)
	if err != nil {
		return err
	}
	out := clientStatsAnswer{
		Containers: make([]containerAnswer, 0, len(stats.Containers)), DiskUsageMB: stats.Disk.TotalMB(), Status: stats.State,
		DatabaseBytes: stats.Disk.DatabaseBytes, FilestoreBytes: stats.Disk.FilestoreBytes,
		DiskMeasuredAt: timeOrNull(stats.Disk.MeasuredAt), DiskQuotaMB: plan.StorageGB * 1024,
	}
	for _, c := range stats.Containers {
		out.Containers = append(out.Containers, newContainerAnswer(c))
	}
	return reply(w, http.StatusOK, out)
}

// The forms of a log.
const (
	logText  = "text"
	logJSON  = "json"
	textKind = "text/plain; charset=utf-8"
	jsonKind = "application/x-ndjson"
)

var errLogForm = errs.InvalidField("format", "unknown", "format must be text or json.")

type logLine struct {
	At     wireTime `json:"at"`
	Stream string   `json:"stream"`
	Text   string   `json:"text"`
}

// clientLogs sends the last lines of a client's log and, if asked to, those that come, until one of those ends that end a stream.
func (s *server) clientLogs(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	query, form, err := logQuery(r)
	if err != nil {
		return err
	}
	t, err := s.client(r, p)
	if err != nil {
		return err
	}
	if s.deps.Inspector == nil {
		return errNoWorker
	}
	limit := s.opts.RequestTimeout
	if query.Follow {
		limit = s.opts.Streams.MaxAge
	}
	ctx, cancel := context.WithTimeout(r.Context(), limit)
	defer cancel()
	follower := s.deps.Feed.Follow(feed.Scope{Tenant: t.ID}, p.SessionID)
	defer follower.Close()
	go s.endWith(ctx, cancel, follower, p)
	out := newPipe(w, form.kind)
	err = s.deps.Inspector.Logs(ctx, t, query, func(l tenants.LogLine) error { return out.write(form.encode(l)) })
	switch {
	case out.begun || r.Context().Err() != nil:
		return nil // what was begun can only end
	case err != nil && ctx.Err() == nil:
		return err
	case err != nil && !query.Follow:
		return errTooSlow.WithCause(err)
	}
	_ = out.begin() // it has no lines; the caller may have gone
	return nil
}

// endWith cancels a stream when the session that it was opened in ends.
func (s *server) endWith(ctx context.Context, cancel context.CancelFunc, follower *feed.Follower, p accounts.Principal) {
	heartbeat := time.NewTicker(s.opts.Streams.Heartbeat)
	defer heartbeat.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-follower.Ended():
			cancel()
			return
		case <-heartbeat.C:
			if !s.stillThere(ctx, p) {
				cancel()
				return
			}
		}
	}
}

// logForm is how lines are written.
type logForm struct {
	kind   string
	encode func(l tenants.LogLine) []byte
}

func logQuery(r *http.Request) (tenants.LogQuery, logForm, error) {
	q := parseQuery(r)
	query := tenants.LogQuery{Tail: q.integer("lines", tenants.DefaultLogTail, 1, tenants.MaxLogTail), Follow: q.boolean("follow")}
	name := q.text("format")
	if name == "" && strings.Contains(r.Header.Get("Accept"), jsonKind) {
		name = logJSON
	}
	if q.err != nil {
		return query, logForm{}, q.err
	}
	switch name {
	case "", logText:
		return query, logForm{textKind, textLine}, nil
	case logJSON:
		return query, logForm{jsonKind, jsonLine}, nil
	}
	return query, logForm{}, errLogForm
}

func textLine(l tenants.LogLine) []byte { return append([]byte(l.Text), '\n') }

func jsonLine(l tenants.LogLine) []byte {
	var out bytes.Buffer
	if err := json.NewEncoder(&out).Encode(logLine{At: wireTime(l.At), Stream: l.Stream, Text: l.Text}); err != nil {
		return nil // a struct of strings always encodes
	}
	return out.Bytes()
}
