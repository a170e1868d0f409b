package prove_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"controlplane/test/rig"
)

// scenarios are all workflows that there are. The real Odoo's installation takes minutes, so that its template is built once only.
func scenarios() []scenario {
	list := []scenario{provisioning(), suspending(), resuming(), stopping(), cancelling(), resizing(), resetting(), deleting()}
	if !realOdoo {
		list = append(list, building())
	}
	return list
}

// post asks the API for a transition of the tenant, which may still be going on when it answers.
func post(p *rig.Person, t tenant, what string) func(context.Context) error {
	return func(ctx context.Context) error {
		a, err := p.Do(ctx, http.MethodPost, "/api/clients/"+t.Name+"/"+what, nil)
		return errors.Join(err, a.OK())
	}
}

func provisioning() scenario {
	return scenario{
		name: "provision",
		prepare: func(ctx context.Context, w *world) (subject, error) {
			owner, err := w.SignUp(ctx) // checkouts are limited by account
			if err != nil {
				return subject{}, err
			}
			name, err := owner.Create(ctx, plan)
			if err != nil {
				return subject{}, err
			}
			_, page, err := owner.Checkout(ctx, name, plan)
			if err != nil {
				return subject{}, err
			}
			t, err := w.tenant(ctx, name)
			return subject{
				tenant: t, kind: "tenant.provision", names: []string{name},
				begin: func(ctx context.Context) error { return rig.Pay(ctx, page) },
				goal:  func(ctx context.Context) error { return w.active(ctx, t) },
			}, err
		},
		tidy: remove,
	}
}

func suspending() scenario {
	return scenario{
		name: "suspend",
		prepare: func(ctx context.Context, w *world) (subject, error) {
			t, err := w.house(ctx)
			return subject{
				tenant: t, kind: "tenant.suspend", names: []string{t.Name}, begin: post(w.owner, t, "suspend"),
				goal: func(ctx context.Context) error { return w.stopped(ctx, t, "suspended") },
			}, err
		},
		tidy: keep,
	}
}

func resuming() scenario {
	return scenario{
		name: "resume",
		prepare: func(ctx context.Context, w *world) (subject, error) {
			t, err := w.house(ctx)
			if err == nil {
				err = w.do(ctx, post(w.owner, t, "suspend"), func(ctx context.Context) error { return w.stopped(ctx, t, "suspended") })
			}
			return subject{
				tenant: t, kind: "tenant.resume", names: []string{t.Name}, begin: post(w.owner, t, "resume"),
				goal: func(ctx context.Context) error { return w.active(ctx, t) },
			}, err
		},
		tidy: keep,
	}
}

func stopping() scenario {
	return scenario{
		name: "stop (deletion scheduled)",
		prepare: func(ctx context.Context, w *world) (subject, error) {
			t, err := w.house(ctx)
			return subject{
				tenant: t, kind: "tenant.stop", names: []string{t.Name}, begin: post(w.owner, t, "schedule-delete"),
				goal: func(ctx context.Context) error { return w.stopped(ctx, t, "scheduled_for_deletion") },
			}, err
		},
		tidy: keep,
	}
}

func cancelling() scenario {
	return scenario{
		name: "resume (deletion cancelled)",
		prepare: func(ctx context.Context, w *world) (subject, error) {
			t, err := w.house(ctx)
			if err == nil {
				scheduled := func(ctx context.Context) error { return w.stopped(ctx, t, "scheduled_for_deletion") }
				err = w.do(ctx, post(w.owner, t, "schedule-delete"), scheduled)
			}
			return subject{
				tenant: t, kind: "tenant.resume", names: []string{t.Name}, begin: post(w.owner, t, "cancel-delete"),
				goal: func(ctx context.Context) error { return w.active(ctx, t) },
			}, err
		},
		tidy: keep,
	}
}

func resizing() scenario {
	return scenario{
		name: "resize",
		prepare: func(ctx context.Context, w *world) (subject, error) {
			t, err := w.house(ctx)
			if err != nil {
				return subject{}, err
			}
			var other string
			if err := w.Pool.QueryRow(ctx, "SELECT CASE plan_id WHEN 'basic' THEN 'business' ELSE 'basic' END FROM tenants WHERE id = $1", t.ID).Scan(&other); err != nil {
				return subject{}, err
			}
			return subject{
				tenant: t, kind: "tenant.resize", names: []string{t.Name},
				begin: func(ctx context.Context) error {
					_, err := w.admin.Must(ctx, http.MethodPatch, "/api/clients/"+t.Name, map[string]any{"plan": other})
					return err
				},
				goal: func(ctx context.Context) error { return errors.Join(w.active(ctx, t), w.sized(ctx, t, other)) },
			}, err
		},
		tidy: keep,
	}
}

// resetting waits for an owner's new password: whatever dies, the one that is shown works.
func resetting() scenario {
	return scenario{
		name: "reset of the administrator's password",
		prepare: func(ctx context.Context, w *world) (subject, error) {
			t, err := w.house(ctx)
			if err != nil {
				return subject{}, err
			}
			if _, err := w.Pool.Exec(ctx, "DELETE FROM rate_limits"); err != nil { // nobody resets so often
				return subject{}, err
			}
			var before, works int64
			err = w.Pool.QueryRow(ctx, "SELECT coalesce(max(id), 0) FROM operations").Scan(&before)
			return subject{
				tenant: t, kind: "tenant.reset_admin_password", names: []string{t.Name}, begin: post(w.owner, t, "reset-admin-password"),
				goal: func(ctx context.Context) error {
					if err := w.active(ctx, t); err != nil || works == t.ID {
						return err
					}
					done := "SELECT count(*) = 1 AND bool_and(state = 'done') FROM operations WHERE subject = $1 AND id > $2 AND kind = 'tenant.reset_admin_password'"
					if err := w.holds(ctx, done, t.Subject, before); err != nil {
						return err
					}
					if err := w.passwordWorks(ctx, t); err != nil {
						return err
					}
					works = t.ID // it can be read once
					return nil
				},
			}, err
		},
		tidy: keep,
	}
}

// building has a customer pay for a plan whose apps nobody has had.
func building() scenario {
	return scenario{
		name: "template build",
		prepare: func(ctx context.Context, w *world) (subject, error) {
			owner, err := w.SignUp(ctx)
			if err != nil {
				return subject{}, err
			}
			id, err := w.newPlan(ctx)
			if err != nil {
				return subject{}, err
			}
			name, err := owner.Create(ctx, id)
			if err != nil {
				return subject{}, err
			}
			_, page, err := owner.Checkout(ctx, name, id)
			if err != nil {
				return subject{}, err
			}
			t, err := w.tenant(ctx, name)
			return subject{
				tenant: tenant{ID: t.ID, Name: t.Name, Subject: "template/"}, kind: "template.build", names: []string{"odootmpl_" + w.Installation},
				begin: func(ctx context.Context) error { return rig.Pay(ctx, page) },
				goal:  func(ctx context.Context) error { return w.active(ctx, t) },
			}, err
		},
		tidy: remove,
	}
}

func deleting() scenario {
	return scenario{
		name: "delete",
		prepare: func(ctx context.Context, w *world) (subject, error) {
			owner, err := w.SignUp(ctx)
			if err != nil {
				return subject{}, err
			}
			t, err := w.provision(ctx, owner, plan)
			return subject{
				tenant: t, kind: "tenant.delete", names: []string{t.Name}, begin: post(w.admin, t, "force-delete"),
				goal: func(ctx context.Context) error { return w.gone(ctx, t) },
			}, err
		},
		tidy: keep,
	}
}

func keep(context.Context, *world, subject) error { return nil }

// remove deletes the tenant as an administrator does.
func remove(ctx context.Context, w *world, s subject) error {
	t, err := w.tenant(ctx, s.Name)
	if err != nil {
		return err
	}
	return w.do(ctx, post(w.admin, t, "force-delete"), func(ctx context.Context) error { return w.gone(ctx, t) })
}

// do asks for something and waits for it.
func (w *world) do(ctx context.Context, begin, goal func(context.Context) error) error {
	if err := begin(ctx); err != nil {
		return err
	}
	return rig.Eventually(ctx, quietTimeout, goal)
}

// house returns an active client that many tests may use one after another, whatever the last one did to it.
func (w *world) house(ctx context.Context) (tenant, error) {
	if w.reused.ID != 0 {
		var state string
		if err := w.Pool.QueryRow(ctx, "SELECT state FROM tenants WHERE id = $1", w.reused.ID).Scan(&state); err != nil {
			return tenant{}, err
		}
		t, back := w.reused, ""
		switch state {
		case "active":
			return t, rig.Eventually(ctx, quietTimeout, func(ctx context.Context) error { return w.active(ctx, t) })
		case "suspended":
			back = "resume"
		case "scheduled_for_deletion":
			back = "cancel-delete"
		}
		if back != "" && w.do(ctx, post(w.owner, t, back), func(ctx context.Context) error { return w.active(ctx, t) }) == nil {
			return t, nil
		}
	}
	var err error
	w.reused, err = w.provision(ctx, w.owner, plan)
	return w.reused, err
}

// newPlan offers a plan with a set of apps of its own, and forgets the template that an earlier call had built: its building begins by
// removing what is there under its name.
func (w *world) newPlan(ctx context.Context) (string, error) {
	const id = "rig"
	_, err := w.Pool.Exec(ctx, `
		INSERT INTO plans SELECT (p).* FROM (SELECT jsonb_populate_record(b, jsonb_build_object('id', $1::text, 'name', 'Rig', 'position', 100,
			'apps', jsonb_build_array('contacts', $1::text))) AS p FROM plans b WHERE b.id = 'basic') q ON CONFLICT DO NOTHING`, id)
	if err != nil {
		return "", err
	}
	_, err = w.Pool.Exec(ctx, "DELETE FROM templates WHERE apps = ARRAY['contacts', $1]", id)
	return id, err
}

// stopped says that the tenant is in the state, that nothing of it runs, and that its address says so.
func (w *world) stopped(ctx context.Context, t tenant, state string) error {
	if err := w.settled(ctx, t, state); err != nil {
		return err
	}
	running, err := w.running(ctx, t)
	if err != nil {
		return err
	}
	if running {
		return fmt.Errorf("the container of %s runs", t.Name)
	}
	status, text, err := w.Visit(ctx, t.Name, "/web/login")
	if err != nil {
		return err
	}
	if status < http.StatusBadRequest || strings.Contains(text, "oe_login_form") {
		return fmt.Errorf("the login page of %s has status %d", t.Name, status)
	}
	return nil
}

// sized says that the container has its plan's limits.
func (w *world) sized(ctx context.Context, t tenant, plan string) error {
	var want string
	if err := w.Pool.QueryRow(ctx, "SELECT format('%s %s %s', memory_mb::bigint << 20, cpu_milli::bigint * 1000000, pids) FROM plans WHERE id = $1", plan).Scan(&want); err != nil {
		return err
	}
	got, err := rig.Docker(ctx, "inspect", "--format", "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}}", "odoo_"+t.Name)
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("the limits of %s are %s, and should be %s", t.Name, got, want)
	}
	return w.holds(ctx, "SELECT plan_id = $2 FROM tenants WHERE id = $1", t.ID, plan)
}

// gone says that nothing is left of the tenant but its row.
func (w *world) gone(ctx context.Context, t tenant) error {
	if err := w.settled(ctx, t, "deleted"); err != nil {
		return err
	}
	for _, list := range [][]string{{"ps", "-a", "-q"}, {"network", "ls", "-q"}, {"volume", "ls", "-q"}} {
		out, err := rig.Docker(ctx, append(list, "--filter", "name="+t.Name)...)
		if err != nil {
			return err
		}
		if out != "" {
			return fmt.Errorf("%s of %s is left: %s", list[0], t.Name, out)
		}
	}
	var left int
	err := w.cluster.QueryRow(ctx, "SELECT (SELECT count(*) FROM pg_database WHERE datname = $1) + (SELECT count(*) FROM pg_roles WHERE rolname = $1)", "odoo_"+t.Name).Scan(&left)
	if err != nil {
		return err
	}
	if left > 0 {
		return fmt.Errorf("%d of the database and the role of %s are left", left, t.Name)
	}
	return nil
}

// passwordWorks reads the credentials, which can be done once, and logs in with them.
func (w *world) passwordWorks(ctx context.Context, t tenant) error {
	got, err := w.owner.Must(ctx, http.MethodGet, "/api/clients/"+t.Name+"/credentials", nil)
	if err != nil {
		return err
	}
	login, _ := got["login"].(string)
	password, _ := got["password"].(string)
	return w.LogIn(ctx, t.Name, login, password)
}
