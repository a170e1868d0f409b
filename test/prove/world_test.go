package prove_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"controlplane/test/rig"
	"controlplane/test/wire"
)

const (
	templateTimeout = 90 * time.Second // ten times that with the real Odoo
	activeTimeout   = time.Minute
	quietTimeout    = 2 * time.Minute
	plan            = "basic"
)

// world is the platform under test and the people who use it.
type world struct {
	*rig.Rig

	serve *rig.Process
	admin *rig.Person
	owner *rig.Person

	reused  tenant        // see house
	cluster *pgxpool.Pool // the tenants' server, as its superuser
	store   *wire.HTTP    // of backups; nil: there is none

	operations sync.Map // by their ids
}

func newWorld(ctx context.Context, r *rig.Rig) (*world, error) {
	w := &world{Rig: r}
	var err error
	if w.cluster, err = pgxpool.New(ctx, r.ClusterURL("postgres")); err != nil {
		return nil, err
	}
	if realOdoo { // one installation is enough
		if _, err := r.Pool.Exec(ctx, "UPDATE plans SET apps = (SELECT apps FROM plans WHERE id = $1)", plan); err != nil {
			return nil, err
		}
	}
	if w.serve, err = r.Serve(ctx); err != nil {
		return nil, err
	}
	if w.admin, err = r.Admin(ctx); err != nil {
		return nil, err
	}
	if w.owner, err = r.SignUp(ctx); err != nil {
		return nil, err
	}
	within := templateTimeout
	if realOdoo {
		within *= 10
	}
	err = rig.Eventually(ctx, within, func(ctx context.Context) error {
		return w.holds(ctx, "SELECT count(*) >= (SELECT count(DISTINCT apps) FROM plans) AND bool_and(state = 'ready') FROM templates")
	})
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, w.serve.Tail(30))
	}
	return w, nil
}

// restart starts serve again after it was killed.
func (w *world) restart(ctx context.Context) error {
	p, err := w.Serve(ctx)
	if err == nil {
		w.serve = p
	}
	return err
}

// asks returns what the platform database says.
func (w *world) asks(ctx context.Context, sql string, args ...any) (bool, error) {
	var ok *bool
	err := w.Pool.QueryRow(ctx, sql, args...).Scan(&ok)
	return ok != nil && *ok, err
}

// holds returns an error unless the platform database says that the condition is true.
func (w *world) holds(ctx context.Context, sql string, args ...any) error {
	ok, err := w.asks(ctx, sql, args...)
	if err != nil {
		return err
	}
	if !ok {
		return errors.New("it doesn't hold: " + strings.Join(strings.Fields(sql), " "))
	}
	return nil
}

// tenant is a client and how the control plane names it.
type tenant struct {
	ID      int64
	Name    string
	Subject string
}

func (w *world) tenant(ctx context.Context, name string) (tenant, error) {
	t := tenant{Name: name}
	err := w.Pool.QueryRow(ctx, "SELECT id FROM tenants WHERE name = $1 ORDER BY id DESC LIMIT 1", name).Scan(&t.ID)
	t.Subject = fmt.Sprintf("tenant/%d", t.ID)
	return t, err
}

// settled says that the tenant is in the state, with nothing going on.
func (w *world) settled(ctx context.Context, t tenant, state string) error {
	var got, desired string
	var live int
	err := w.Pool.QueryRow(ctx, `SELECT t.state, t.desired, (SELECT count(*) FROM operations o WHERE o.subject = $2 AND o.finished_at IS NULL)
		FROM tenants t WHERE t.id = $1`, t.ID, t.Subject).Scan(&got, &desired, &live)
	if err != nil {
		return err
	}
	if got != state || live > 0 {
		return fmt.Errorf("client %s is %s (%s is wanted of it) with %d operations going on, and should be %s", t.Name, got, desired, live, state)
	}
	return nil
}

// active says that the tenant is there for its users.
func (w *world) active(ctx context.Context, t tenant) error {
	if err := w.settled(ctx, t, "active"); err != nil {
		return err
	}
	return w.answers(ctx, t.Name)
}

// answers says that the client shows its login page.
func (w *world) answers(ctx context.Context, name string) error {
	status, text, err := w.Visit(ctx, name, "/web/login")
	if err != nil {
		return err
	}
	if status != 200 || !strings.Contains(text, "oe_login_form") {
		return fmt.Errorf("the login page of %s has status %d: %.200s", name, status, text)
	}
	return nil
}

// running reports whether the tenant's container runs.
func (w *world) running(ctx context.Context, t tenant) (bool, error) {
	out, err := rig.Docker(ctx, "ps", "-a", "--filter", "name=^/?odoo_"+t.Name+"$", "--format", "{{.State}}")
	return out == "running", err
}

// provision makes an active client, of an owner of its own unless one is given.
func (w *world) provision(ctx context.Context, owner *rig.Person, plan string) (tenant, error) {
	name, err := owner.Buy(ctx, plan)
	if err != nil {
		return tenant{}, err
	}
	t, err := w.tenant(ctx, name)
	if err != nil {
		return t, err
	}
	return t, rig.Eventually(ctx, activeTimeout, func(ctx context.Context) error { return w.active(ctx, t) })
}
