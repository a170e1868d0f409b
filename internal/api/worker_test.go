package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/accounts"
	"controlplane/internal/api"
	"controlplane/internal/capacity"
	"controlplane/internal/errs"
	"controlplane/internal/ops"
	"controlplane/internal/tenants"
)

// worker stands for the real workflows and the engine: it makes nothing, and moves rows as they do.
type worker struct {
	tenants *tenants.Service

	mu     sync.Mutex
	broken map[string]error         // by kind: what its work fails with
	gates  map[string]chan struct{} // by kind: its work waits until it is closed
	lines  []tenants.LogLine
	live   chan tenants.LogLine // what comes to those who follow
	asked  []tenants.LogQuery
}

func newWorker(t *tenants.Service) *worker {
	return &worker{tenants: t, broken: map[string]error{}, gates: map[string]chan struct{}{}, live: make(chan tenants.LogLine)}
}

var endpoint = tenants.Endpoint{Address: netip.MustParseAddr("10.9.8.7"), HTTPPort: 8069, EventPort: 8069} //nolint:gochecknoglobals // a constant

func (w *worker) register(e *ops.Engine) {
	s := w.tenants
	e.Register(ops.Workflow{Kind: tenants.ProvisionKind, Preemptible: true, Steps: []ops.Step{
		{Name: "mint_secrets", Tx: func(ctx context.Context, tx pgx.Tx, r *ops.Run) error {
			return s.MintSecretsTx(ctx, tx, subjectID(r.Subject))
		}},
		{Name: "activate", Do: w.do(tenants.ProvisionKind), Tx: func(ctx context.Context, tx pgx.Tx, r *ops.Run) error {
			return s.ActivateTx(ctx, tx, subjectID(r.Subject), endpoint)
		}},
	}, Held: func(ctx context.Context, tx pgx.Tx, r *ops.Run, _ error) error {
		return s.FailTx(ctx, tx, subjectID(r.Subject), "it didn't work")
	}})
	for kind, mark := range map[string]func(ctx context.Context, tx pgx.Tx, id tenants.ID) error{
		tenants.SuspendKind: s.MarkSuspendedTx,
		tenants.ResumeKind: func(ctx context.Context, tx pgx.Tx, id tenants.ID) error {
			return s.MarkResumedTx(ctx, tx, id, endpoint)
		},
		tenants.DeleteKind: s.MarkDeletedTx,
		tenants.LinksKind: func(ctx context.Context, tx pgx.Tx, id tenants.ID) error {
			t, err := s.Lock(ctx, tx, id)
			if err == nil {
				_, err = s.MarkLinkedTx(ctx, tx, id, t.PrimaryDomain)
			}
			return err
		},
		tenants.NeutraliseKind: func(ctx context.Context, tx pgx.Tx, id tenants.ID) error {
			_, err := s.EndQuarantineTx(ctx, tx, id, true)
			return err
		},
		tenants.StopKind:   func(context.Context, pgx.Tx, tenants.ID) error { return nil },
		tenants.ResizeKind: func(context.Context, pgx.Tx, tenants.ID) error { return nil },
	} {
		e.Register(ops.Workflow{Kind: kind, Preemptible: kind != tenants.DeleteKind, Steps: []ops.Step{
			{Name: "work", Do: w.do(kind), Tx: func(ctx context.Context, tx pgx.Tx, r *ops.Run) error {
				return mark(ctx, tx, subjectID(r.Subject))
			}},
		}})
	}
}

func (w *worker) do(kind string) func(ctx context.Context, r *ops.Run) error {
	return func(ctx context.Context, _ *ops.Run) error {
		w.mu.Lock()
		err, gate := w.broken[kind], w.gates[kind]
		w.mu.Unlock()
		if gate != nil {
			select {
			case <-gate:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return err
	}
}

// breaks has a kind of work fail for good.
func (w *worker) breaks(kind string, because string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken[kind] = ops.Permanent(errors.New(because))
}

// gate has a kind of work wait until the gate is opened.
func (w *worker) gate(kind string) (open func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	g := make(chan struct{})
	w.gates[kind] = g
	return sync.OnceFunc(func() { close(g) })
}

func (w *worker) Stats(_ context.Context, t tenants.Tenant) (tenants.Stats, error) {
	out := tenants.Stats{State: t.State, Disk: tenants.Disk{DatabaseBytes: 30 << 20, FilestoreBytes: 12<<20 - 5, MeasuredAt: time.Unix(1_800_000_000, 0)}}
	if t.State == tenants.Active {
		out.Containers = []tenants.ContainerStats{{
			ID: strings.Repeat("ab", 32), Name: "odoo_" + t.Name, Status: "running", SampledAt: time.Unix(1_800_000_000, 0), CPUPercent: 0.534,
			CPULimitMilli: 1000, MemoryBytes: 191260262, MemoryLimitBytes: 2 << 30, NetworkInBytes: 1450, NetworkOutBytes: 656, PIDs: 17, PIDsLimit: 200,
		}}
	}
	return out, nil
}

func (w *worker) Logs(ctx context.Context, _ tenants.Tenant, q tenants.LogQuery, line func(tenants.LogLine) error) error {
	w.mu.Lock()
	w.asked = append(w.asked, q)
	lines := w.lines[max(0, len(w.lines)-q.Tail):]
	w.mu.Unlock()
	for _, l := range lines {
		if err := line(l); err != nil {
			return err
		}
	}
	for q.Follow {
		select {
		case l := <-w.live:
			if err := line(l); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func subjectID(subject string) tenants.ID {
	var id int64
	_ = json.Unmarshal([]byte(strings.TrimPrefix(subject, "tenant/")), &id)
	return tenants.ID(id)
}

// schedules are two jobs in memory.
type schedules struct {
	mu      sync.Mutex
	changed api.ScheduleUpdate
	ran     []string
}

var errNoSchedule = errs.New(errs.NotFound, "schedule_not_found", "Schedule not found")

func (s *schedules) List(context.Context, accounts.Principal) ([]api.Schedule, error) {
	at := time.Unix(1_800_000_000, 0)
	return []api.Schedule{
		{Name: "deletions", Description: "due deletions", Cron: "0 * * * *", DefaultCron: "0 * * * *", Jitter: 90 * time.Second, Enabled: true, NextRun: at},
		{Name: "unpaid", Cron: "@every 10m", DefaultCron: "0 * * * *", NextRun: at, LastRun: &at, LastStatus: "failed", LastError: "no", LastDone: 3, LastDuration: 1500 * time.Millisecond},
	}, nil
}

func (s *schedules) find(ctx context.Context, p accounts.Principal, name string) (api.Schedule, error) {
	list, _ := s.List(ctx, p)
	i := slices.IndexFunc(list, func(c api.Schedule) bool { return c.Name == name })
	if i < 0 {
		return api.Schedule{}, errNoSchedule
	}
	return list[i], nil
}

func (s *schedules) Update(ctx context.Context, p accounts.Principal, _ netip.Addr, name string, in api.ScheduleUpdate) (api.Schedule, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := s.find(ctx, p, name)
	if err == nil {
		s.changed = in
	}
	return c, err
}

func (s *schedules) RunNow(ctx context.Context, p accounts.Principal, _ netip.Addr, name string) (api.Schedule, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := s.find(ctx, p, name)
	if err == nil {
		s.ran = append(s.ran, name)
		if name == "unpaid" { // takes its time
			c.RunningSince = c.LastRun
		}
	}
	return c, err
}

// cleaner says that it has cleaned.
type cleaner struct {
	report api.CleanupReport
	by     []string // who asked
}

func (c *cleaner) RunExpired(_ context.Context, p accounts.Principal, _ netip.Addr, wait time.Duration) (api.CleanupReport, error) {
	c.by = append(c.by, p.Username)
	if wait != 20*time.Second {
		return api.CleanupReport{}, fmt.Errorf("a wait of %s", wait)
	}
	return c.report, nil
}

type metrics struct{}

func (metrics) Metrics(context.Context) (capacity.Metrics, error) {
	return capacity.Metrics{
		SampledAt: time.Unix(1_800_000_000, 0), Hosts: 1, CPU: capacity.CPU{Percent: 12.5, Count: 2}, Memory: capacity.Share{TotalGB: 24, UsedGB: 6, Percent: 25},
		Containers: 7, Clients: capacity.Clients{Total: 9, Active: 5}, Connections: capacity.Count{Total: 97, Used: 11},
	}, nil
}
