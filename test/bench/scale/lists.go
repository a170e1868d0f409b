package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"time"

	"controlplane/test/rig"
)

const (
	few, many = 100, 100_000
	perOwner  = 10
	asked     = 300
	passes    = 3
)

// question is a request whose time is taken.
type question struct {
	name, path string
	who        *rig.Person
}

// lists compares the slowest hundredth of lists and gets with few clients and with many.
func lists(ctx context.Context, r *rig.Rig) error {
	owner, err := r.SignUp(ctx)
	if err != nil {
		return err
	}
	admin, err := r.Admin(ctx)
	if err != nil {
		return err
	}
	if err := fill(ctx, r, owner, 0, few); err != nil {
		return err
	}
	questions := []question{
		{"owner's list", "/api/clients", owner},
		{"admin's first hundred", "/api/clients?limit=100", admin},
		{"admin's, by status", "/api/clients?limit=100&status=pending", admin},
		{"get", "/api/clients/bulk-0", owner},
	}
	before, err := ask(ctx, questions)
	if err != nil {
		return err
	}
	if err := fill(ctx, r, owner, few, many); err != nil {
		return err
	}
	after, err := ask(ctx, questions)
	if err != nil {
		return err
	}
	for i, q := range questions {
		fmt.Printf("%s: p99 with %d clients %s, with %d %s, ratio %.2f (target: below 2)\n", q.name, few, ms(before[i]), many, ms(after[i]), float64(after[i])/float64(before[i]))
	}
	return nil
}

// fill adds unpaid clients whose deadline is far away, ten of each account; the first ten are the owner's.
func fill(ctx context.Context, r *rig.Rig, owner *rig.Person, from, to int) error {
	_, err := r.Pool.Exec(ctx, `
		INSERT INTO accounts (email, email_key, username, username_key, password_hash)
		SELECT n || '@example.com', n || '@example.com', n, n, 'none' FROM (SELECT 'bulk' || g AS n FROM generate_series($1::int / $3, $2::int / $3 - 1) g) s`, from, to, perOwner)
	if err != nil {
		return err
	}
	_, err = r.Pool.Exec(ctx, `
		INSERT INTO tenants (account_id, name, db_name, domain, email, plan_id, state, payment_deadline)
		SELECT CASE WHEN g < $3 THEN (SELECT id FROM accounts WHERE username = $4) ELSE a.id END,
			'bulk-' || g, 'odoo_bulk_' || g, 'bulk-' || g || '.localhost', 'bulk@example.com', 'basic', 'pending', now() + interval '30 days'
		FROM generate_series($1::int, $2::int - 1) g JOIN accounts a ON a.username = 'bulk' || g / $3`, from, to, perOwner, owner.Name)
	if err != nil {
		return err
	}
	_, err = r.Pool.Exec(ctx, "ANALYZE tenants, accounts")
	return err
}

// ask returns the p99 of each question, the best of some passes: other work on the machine makes single ones slow.
func ask(ctx context.Context, questions []question) ([]time.Duration, error) {
	best := make([]time.Duration, len(questions))
	for i := range best {
		best[i] = math.MaxInt64
	}
	for range passes {
		for i, q := range questions {
			times := make([]time.Duration, 0, asked)
			for range asked {
				start := time.Now()
				a, err := q.who.Do(ctx, http.MethodGet, q.path, nil)
				if err := errors.Join(err, a.OK()); err != nil {
					return nil, fmt.Errorf("%s: %w", q.name, err)
				}
				times = append(times, time.Since(start))
			}
			best[i] = min(best[i], percentile(times, 99))
		}
	}
	return best, nil
}
