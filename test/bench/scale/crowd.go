package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/test/rig"
)

const (
	crowdSize     = 60
	groupSize     = 10
	activeTimeout = time.Minute
	startTimeout  = 2 * time.Minute
)

// crowd makes clients one after another and prints how long their steps took as they became more.
func crowd(ctx context.Context, r *rig.Rig) error {
	err := rig.Eventually(ctx, startTimeout, func(ctx context.Context) error {
		var ready bool
		err := r.Pool.QueryRow(ctx, "SELECT count(*) > 0 AND bool_and(state = 'ready') FROM templates").Scan(&ready)
		if err == nil && !ready {
			err = errors.New("the templates aren't ready")
		}
		return err
	})
	if err != nil {
		return err
	}
	admin, err := r.Admin(ctx)
	if err != nil {
		return err
	}
	var names []string
	fmt.Printf("%d clients on one engine, one after another; medians by tens\n", crowdSize)
	for group := range crowdSize / groupSize {
		var made []string
		for range groupSize {
			name, err := makeActive(ctx, r)
			if err != nil {
				return err
			}
			made = append(made, name)
		}
		names = append(names, made...)
		if err := printSteps(ctx, r, group, made); err != nil {
			return err
		}
	}
	for _, name := range names {
		if _, err := admin.Must(ctx, http.MethodPost, "/api/clients/"+name+"/force-delete", nil); err != nil {
			return err
		}
	}
	return rig.Eventually(ctx, startTimeout, func(ctx context.Context) error {
		var left int
		err := r.Pool.QueryRow(ctx, "SELECT count(*) FROM tenants WHERE state <> 'deleted'").Scan(&left)
		if err == nil && left > 0 {
			err = fmt.Errorf("%d clients aren't deleted yet", left)
		}
		return err
	})
}

func makeActive(ctx context.Context, r *rig.Rig) (string, error) {
	owner, err := r.SignUp(ctx)
	if err != nil {
		return "", err
	}
	name, err := owner.Buy(ctx, "basic")
	if err != nil {
		return "", err
	}
	return name, rig.Eventually(ctx, activeTimeout, func(ctx context.Context) error {
		var state string
		err := r.Pool.QueryRow(ctx, "SELECT state FROM tenants WHERE name = $1", name).Scan(&state)
		if err == nil && state != "active" {
			err = errors.New(name + " is " + state)
		}
		return err
	})
}

// printSteps prints the median time of each step of some clients' provisioning, and of all together.
func printSteps(ctx context.Context, r *rig.Rig, group int, names []string) error {
	rows, err := r.Pool.Query(ctx, `
		SELECT e.step, e.at, lead(e.at) OVER (PARTITION BY e.operation_id ORDER BY e.id)
		FROM operation_events e JOIN operations o ON o.id = e.operation_id JOIN tenants t ON o.subject = 'tenant/' || t.id
		WHERE o.kind = 'tenant.provision' AND t.name = ANY($1) AND e.event IN ('started', 'done') ORDER BY e.id`, names)
	if err != nil {
		return err
	}
	var step string
	var at time.Time
	var next *time.Time
	var order []string
	times, total := map[string][]time.Duration{}, time.Duration(0)
	_, err = pgx.ForEachRow(rows, []any{&step, &at, &next}, func() error {
		if next == nil {
			return nil
		}
		if times[step] == nil {
			order = append(order, step)
		}
		times[step] = append(times[step], next.Sub(at))
		total += next.Sub(at)
		return nil
	})
	if err != nil {
		return err
	}
	var texts []string
	for _, step := range order {
		slices.Sort(times[step])
		texts = append(texts, step+" "+ms(percentile(times[step], 50)))
	}
	fmt.Printf("  %2d-%2d: %s; together %s\n", group*groupSize+1, (group+1)*groupSize, strings.Join(texts, ", "), ms(total/time.Duration(len(names))))
	return nil
}
