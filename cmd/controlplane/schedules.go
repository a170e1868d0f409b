package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/alerts"
	"controlplane/internal/cleanup"
	"controlplane/internal/idempotency"
	"controlplane/internal/ops"
	"controlplane/internal/ratelimit"
)

// wireSchedules lists all that is done again and again, but for what the worker does for its own engine.
func (p *platform) wireSchedules() {
	p.schedules = cleanup.New(cleanup.Deps{
		Pool: p.pool, Ops: p.ops, Tenants: p.tenants, Money: p.billing, Audit: p.audit, Log: p.log,
	}, cleanup.Options{})
	p.schedules.Add(p.schedules.Unpaid(), p.schedules.Deletions(), p.schedules.Edges(p.cfg.Edge.SilentAfter()))
	p.schedules.Add(
		cleanup.Sweep{
			Name: "payments", Description: "Asks the payment gateway about payments that aren't finished", Cron: "@every 5s",
			Run: cleanup.Plain(p.billing.Poll),
		},
		cleanup.Sweep{
			Name: "subscriptions", Description: "Asks for the next period's money, reminds, suspends and gives up what stays unpaid",
			Cron: "*/5 * * * *", Jitter: 30 * time.Second, AtStart: true,
			Run: cleanup.Counted(p.billing.Renew),
		},
		cleanup.Sweep{
			Name: "paid_clients", Description: "Starts provisioning again for paid clients that nobody works on", Cron: "@every 30s",
			Run: cleanup.Plain(p.billing.ResumeProvisioning),
		},
		cleanup.Sweep{
			Name: "payment_operations", Description: "Forgets how old payment events were applied", Cron: "30 * * * *", Jitter: time.Minute,
			Run: cleanup.Plain(p.billing.ForgetApplied),
		},
	)
	p.schedules.Add(p.moneySweeps()...)
	p.schedules.Add(p.domainSweeps()...)
	limits, keys := ratelimit.New(p.pool), idempotency.New(p.pool, idempotency.Options{})
	p.schedules.Add(
		cleanup.Sweep{
			Name: "sessions", Description: "Removes sessions and tokens that have expired", Cron: "*/10 * * * *", Jitter: time.Minute,
			Run: cleanup.Counted(p.accounts.DeleteExpired),
		},
		cleanup.Sweep{
			Name: "rate_limits", Description: "Removes rate limits that limit nobody any more", Cron: "*/10 * * * *", Jitter: time.Minute,
			Run: cleanup.Counted(limits.DeleteStale),
		},
		cleanup.Sweep{
			Name: "idempotency_keys", Description: "Removes answers kept for repeated requests that are too old", Cron: "*/10 * * * *", Jitter: time.Minute,
			Run: cleanup.Counted(keys.DeleteExpired),
		},
		cleanup.Sweep{
			Name: "audit_chain", Description: "Chains new entries of the activity log", Cron: "*/10 * * * *", Jitter: time.Minute,
			Run: cleanup.Counted(p.chain.Seal),
		},
		cleanup.Sweep{
			Name: "operation_logs", Description: "Removes the step logs of operations that ended long ago", Cron: "15 3 * * *", Jitter: time.Hour,
			Run: cleanup.Counted(p.ops.ForgetLogs),
		},
	)
	if p.backupPlans != nil {
		p.schedules.Add(p.backupSweeps()...)
	} else {
		p.schedules.Add(backupAge(p.missingBackups))
	}
	if p.provision != nil {
		p.schedules.Add(p.reconcile())
		p.schedules.Add(p.measurements()...)
	}
	p.schedules.Register()
}

// moneySweeps look after what went back, and compare our books with the gateway's.
func (p *platform) moneySweeps() []cleanup.Sweep {
	return []cleanup.Sweep{
		{
			Name: "refunds", Description: "Asks the payment gateway how far refunds are", Cron: "@every 10s",
			Run: cleanup.Plain(p.billing.PollRefunds),
		},
		{
			Name: "payment_reconciliation", Description: "Compares what the payment gateway lists with our payments", Cron: "40 2 * * *",
			Jitter: 10 * time.Minute,
			Run: func(ctx context.Context) (cleanup.Result, error) {
				run, err := p.billing.Reconcile(ctx)
				result := cleanup.Result{Done: int(run.Healed)}
				if run.Differences > 0 {
					result.Note = fmt.Sprintf("%d differences are unexplained", run.Differences)
				}
				return result, err
			},
		},
		{
			Name: "payment_event_bodies", Description: "Removes the text of payment events after 90 days", Cron: "50 3 * * *", Jitter: time.Hour,
			Run: cleanup.Counted(p.billing.ForgetBodies),
		},
	}
}

// reconcile is for workers: an API process has no engine to look at.
func (p *platform) reconcile() cleanup.Sweep {
	return cleanup.Sweep{
		Name: "reconcile", Description: "Compares what should run with what does, and has the difference mended", Cron: "*/2 * * * *", AtStart: true,
		Run: func(ctx context.Context) (cleanup.Result, error) {
			r, err := p.provision.Reconcile(ctx)
			result := cleanup.Result{Done: len(r.Enqueued) + r.Removed}
			if r.Missing+r.Orphans+r.Later > 0 {
				result.Note = fmt.Sprintf("%d clients lack their data, %d orphans are left, %d mendings are put off", r.Missing, r.Orphans, r.Later)
			}
			return result, err
		},
	}
}

// heldKind is the alert for operations that a person has to look at.
const heldKind = "operation.held"

func raiseHeld(ctx context.Context, tx pgx.Tx, o ops.Operation) error {
	return alerts.Raise(ctx, tx, alerts.Alert{
		Kind: heldKind, Subject: o.Subject, Message: fmt.Sprintf("Operation %d (%s) is held at step %s: %s", o.ID, o.Kind, o.Step, o.Error),
	})
}

func resolveHeld(ctx context.Context, tx pgx.Tx, o ops.Operation) error {
	return alerts.Resolve(ctx, tx, heldKind, o.Subject)
}
