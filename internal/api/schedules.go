package api

import (
	"context"
	"net/http"
	"net/netip"
	"time"

	"controlplane/internal/accounts"
)

// Schedules are the jobs that run again and again.
type Schedules interface {
	List(ctx context.Context, p accounts.Principal) ([]Schedule, error)
	Update(ctx context.Context, p accounts.Principal, ip netip.Addr, name string, in ScheduleUpdate) (Schedule, error)
	// RunNow has a worker run it, and waits a little for the end.
	RunNow(ctx context.Context, p accounts.Principal, ip netip.Addr, name string) (Schedule, error)
}

// ScheduleUpdate is what may be changed; nil leaves it as it is.
type ScheduleUpdate struct {
	Cron    *string // "": the default again
	Enabled *bool
}

// Schedule is when a job runs and how it went last.
type Schedule struct {
	Name         string
	Description  string
	Cron         string
	DefaultCron  string
	Jitter       time.Duration
	Enabled      bool
	NextRun      time.Time
	RequestedAt  *time.Time // by hand, and not begun yet
	RunningSince *time.Time
	LastRun      *time.Time
	LastStatus   string // "ok", "failed", or "" before the first
	LastError    string
	LastDone     int
	LastFailed   int
	LastNote     string
	LastDuration time.Duration
}

type scheduleInfo struct {
	Name         string    `json:"name"`
	Description  string    `json:"description"`
	Cron         string    `json:"cron"`
	DefaultCron  string    `json:"default_cron"`
	JitterSecs   float64   `json:"jitter_seconds"`
	Enabled      bool      `json:"enabled"`
	NextRun      wireTime  `json:"next_run"`
	RequestedAt  *wireTime `json:"requested_at"`
	RunningSince *wireTime `json:"running_since"`
	LastRun      *wireTime `json:"last_run"`
	LastStatus   *string   `json:"last_status"`
	LastError    *string   `json:"last_error"`
	LastDone     int       `json:"last_done"`
	LastFailed   int       `json:"last_failed"`
	LastNote     *string   `json:"last_note"`
	LastSeconds  float64   `json:"last_duration_seconds"`
}

func newScheduleInfo(c Schedule) scheduleInfo {
	return scheduleInfo{
		Name: c.Name, Description: c.Description, Cron: c.Cron, DefaultCron: c.DefaultCron, JitterSecs: c.Jitter.Seconds(), Enabled: c.Enabled,
		NextRun: wireTime(c.NextRun), RequestedAt: wireTimePtr(c.RequestedAt), RunningSince: wireTimePtr(c.RunningSince),
		LastRun: wireTimePtr(c.LastRun), LastStatus: orNull(c.LastStatus), LastError: orNull(c.LastError), LastDone: c.LastDone,
		LastFailed: c.LastFailed, LastNote: orNull(c.LastNote), LastSeconds: c.LastDuration.Seconds(),
	}
}

type updateScheduleRequest struct {
	Cron    *string `json:"cron" validate:"omitempty,max=200"`
	Enabled *bool   `json:"enabled"`
}

func (s *server) listSchedules(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	list, err := s.deps.Schedules.List(r.Context(), p)
	if err != nil {
		return err
	}
	out := make([]scheduleInfo, 0, len(list))
	for _, c := range list {
		out = append(out, newScheduleInfo(c))
	}
	return reply(w, http.StatusOK, out)
}

func (s *server) updateSchedule(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	name, err := pathName(r)
	if err != nil {
		return err
	}
	var in updateScheduleRequest
	if err := s.decodeJSON(w, r, &in); err != nil {
		return err
	}
	c, err := s.deps.Schedules.Update(r.Context(), p, s.clientIP(r), name, ScheduleUpdate(in))
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, newScheduleInfo(c))
}

// runSchedule answers 202 while it goes on; the list tells how it went.
func (s *server) runSchedule(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	name, err := pathName(r)
	if err != nil {
		return err
	}
	c, err := s.deps.Schedules.RunNow(r.Context(), p, s.clientIP(r), name)
	if err != nil {
		return err
	}
	status := http.StatusOK
	if c.RequestedAt != nil || c.RunningSince != nil {
		status = http.StatusAccepted
	}
	return reply(w, status, newScheduleInfo(c))
}
