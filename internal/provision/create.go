package provision

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"controlplane/internal/errs"
	"controlplane/internal/ops"
	"controlplane/internal/tenants"
)

// provisionInput is what a provisioning operation is enqueued with.
type provisionInput struct {
	TenantID tenants.ID `json:"tenant_id"`
}

// ErrNotProvisionable is returned for a tenant that isn't being provisioned: it was paid back or deleted meanwhile.
var ErrNotProvisionable = errs.New(errs.Conflict, "not_provisionable", "This client isn't being set up.")

// ProvisionWorkflow makes a tenant of a paid client. A step that fails is tried again, and held when it keeps failing: nothing that was
// paid for is unwound.
func (s *Service) ProvisionWorkflow() ops.Workflow {
	return ops.Workflow{
		Kind: ProvisionKind, Preemptible: true,
		Steps: []ops.Step{
			{Name: "reserve", Do: s.findTemplate, Tx: s.reserve},
			{Name: "create", Timeout: 5 * time.Minute, Do: s.create, Tx: s.setEndpoint},
			{Name: "start", Timeout: time.Minute, Do: s.start},
			{Name: "wait", Timeout: s.opts.ReadyTimeout + 10*time.Second, Do: s.waitForOdoo},
			{Name: "publish", Do: s.publish, Tx: s.activate},
		},
		Held: s.fail,
	}
}

// work is what the steps of one operation know.
type work struct {
	tenant   tenants.Tenant
	plan     tenants.Plan
	secrets  tenants.Secrets
	subnet   netip.Prefix
	template Template
}

// load reads what a step after "reserve" needs.
func (s *Service) load(ctx context.Context, r *ops.Run) (work, error) {
	var w work
	var err error
	if w.tenant, err = s.subject(ctx, r); err != nil {
		return w, err
	}
	if w.plan, err = s.tenants.Plan(ctx, w.tenant.PlanID); err != nil {
		return w, err
	}
	if w.secrets, err = s.tenants.Secrets(ctx, w.tenant.ID); err != nil {
		return w, err
	}
	if w.subnet, err = subnetOf(ctx, s.pool, w.tenant.ID); err != nil {
		return w, err
	}
	var id TemplateID
	if _, err = r.Get("template", &id); err != nil {
		return w, err
	}
	w.template, err = s.template(ctx, id)
	return w, err
}

// subject returns the tenant, which must still be wanted.
func (s *Service) subject(ctx context.Context, r *ops.Run) (tenants.Tenant, error) {
	var in provisionInput
	if err := r.Input(&in); err != nil {
		return tenants.Tenant{}, err
	}
	t, err := s.tenants.ByID(ctx, in.TenantID)
	if err != nil {
		return t, err
	}
	if t.State != tenants.Provisioning && t.State != tenants.Failed {
		return t, ops.Permanent(ErrNotProvisionable.WithCause(fmt.Errorf("tenant %s is %s", t.ID, t.State)))
	}
	return t, nil
}

// findTemplate finds the template of the plan, asking for it if nobody has, and waits if there has never been one.
func (s *Service) findTemplate(ctx context.Context, r *ops.Run) error {
	t, err := s.subject(ctx, r)
	if err != nil {
		return err
	}
	plan, err := s.tenants.Plan(ctx, t.PlanID)
	if err != nil {
		return err
	}
	template, err := s.EnsureTemplate(ctx, plan.Apps)
	if err != nil && !errors.Is(err, ErrTemplateFailed) {
		return outcome(err)
	}
	if template.State != TemplateReady {
		// After a change of image the new template takes minutes, or can't be built: who has paid gets the image before it meanwhile.
		earlier, found, findErr := s.earlierTemplate(ctx, plan.Apps)
		switch {
		case findErr != nil:
			return findErr
		case found:
			template = earlier
		case err != nil:
			return err
		default:
			return ops.Snooze(time.Second)
		}
	}
	return r.Set("template", template.ID)
}

func (s *Service) reserve(ctx context.Context, tx pgx.Tx, r *ops.Run) error {
	var in provisionInput
	if err := r.Input(&in); err != nil {
		return err
	}
	if err := s.tenants.MintSecretsTx(ctx, tx, in.TenantID); err != nil {
		return err
	}
	if password, ok := s.stock.take(); ok {
		if err := s.tenants.SetAdminPasswordTx(ctx, tx, in.TenantID, password); err != nil {
			return err
		}
	}
	_, err := s.subnets.allocate(ctx, tx, in.TenantID)
	return err
}

// create does what can be done side by side: the database, whose identity takes a slow hash, the network, and the container with its
// files. Nothing runs yet.
func (s *Service) create(ctx context.Context, r *ops.Run) error {
	w, err := s.load(ctx, r)
	if err != nil {
		return err
	}
	hash := make(chan string, 1)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(hash)
		h, err := s.stock.hash(w.secrets.AdminPassword)
		hash <- h
		return err
	})
	g.Go(func() error { return s.createDatabase(ctx, w, hash) })
	g.Go(func() error { return s.createNetwork(ctx, w, r.ID) })
	g.Go(func() error { return s.createContainer(ctx, w, r.ID) })
	g.Go(func() error { return s.ensureFirewall(ctx) })
	if err := g.Wait(); err != nil {
		return outcome(err)
	}
	return r.Set("endpoint", tenants.Endpoint{Address: addressOf(w.tenant, w.subnet), HTTPPort: httpPort, EventPort: confOf(w.plan).eventPort()})
}

func (s *Service) createDatabase(ctx context.Context, w work, hash <-chan string) error {
	if err := s.database.EnsureTenant(ctx, w.database()); err != nil {
		return err
	}
	h := <-hash
	if h == "" {
		return nil // hashing failed and says so itself
	}
	return s.database.HandOver(ctx, w.tenant.DBName, Identity{
		Login: w.secrets.AdminLogin, PasswordHash: h, BaseURL: s.opts.TenantURL(w.tenant.Domain), CompanyName: w.tenant.Name,
	})
}

func (w work) database() TenantDatabase {
	return TenantDatabase{
		Name: w.tenant.DBName, Subject: w.tenant.ID.Subject(), Template: w.template.Name, Password: w.secrets.DBPassword,
		ConnectionLimit: w.plan.DBConnections, TempFilesMB: w.plan.TempFilesMB(),
	}
}

func (s *Service) createNetwork(ctx context.Context, w work, id ops.ID) error {
	return s.runtime.EnsureNetwork(ctx, Network{
		Name: networkName(w.tenant), Subnet: w.subnet, Gateway: gatewayOf(w.subnet), Labels: labels(w, id),
	})
}

// createContainer needs no network yet: the engine looks for it at the start.
func (s *Service) createContainer(ctx context.Context, w work, id ops.ID) error {
	image, err := s.runtime.Image(ctx, w.template.ImageID)
	if err != nil {
		return err
	}
	if err := s.runtime.EnsureContainer(ctx, s.container(w, id)); err != nil {
		return err
	}
	files, err := s.conf(ctx, w, image)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.runtime.PutFiles(ctx, containerName(w.tenant), files) })
	g.Go(func() error { return s.copyFilestore(ctx, w) })
	return g.Wait()
}

// container is the tenant's. Its command passes the image's entry point by: that of the official image would repeat the database's password
// on Odoo's command line, for every process on the host to read.
func (s *Service) container(w work, id ops.ID) Container {
	return Container{
		Name: containerName(w.tenant), Image: w.template.ImageID, Command: []string{"env", "odoo"},
		Environment: s.trustEnvironment(),
		Network:     networkName(w.tenant), Address: addressOf(w.tenant, w.subnet), DNS: s.resolvers(w.tenant),
		Mounts: []Mount{
			{Volume: dataVolume(w.tenant), Path: dataDir},
			{Volume: addonsVolume(w.tenant), Path: addonsDir},
			{Volume: configVolume(w.tenant), Path: configDir},
		},
		Tmpfs:    map[string]string{"/tmp": "size=256m", "/run": "size=16m"},
		MemoryMB: w.plan.MemoryMB, CPUMilli: w.plan.CPUMilli, PIDs: w.plan.PIDs, Restart: true,
		Labels: labels(w, id),
	}
}

func labels(w work, id ops.ID) map[string]string {
	return map[string]string{
		labelClient: w.tenant.ID.String(), labelPlan: w.plan.ID, "com.odoo-cloud.operation": fmt.Sprint(id),
	}
}

func (s *Service) setEndpoint(ctx context.Context, tx pgx.Tx, r *ops.Run) error {
	return s.withEndpoint(ctx, tx, r, s.tenants.SetEndpointTx)
}

// Copies knows which tenants are to be copies.
type Copies interface {
	// FollowTx has one that is just being activated made a copy next, if it is to be one.
	FollowTx(ctx context.Context, tx pgx.Tx, r *ops.Run, id tenants.ID) error
}

func (s *Service) activate(ctx context.Context, tx pgx.Tx, r *ops.Run) error {
	var in provisionInput
	if err := r.Input(&in); err != nil {
		return err
	}
	if err := s.withEndpoint(ctx, tx, r, s.tenants.ActivateTx); err != nil || s.copies == nil {
		return err
	}
	return s.copies.FollowTx(ctx, tx, r, in.TenantID)
}

// withEndpoint hands on what "create" noted.
func (s *Service) withEndpoint(ctx context.Context, tx pgx.Tx, r *ops.Run, do func(context.Context, pgx.Tx, tenants.ID, tenants.Endpoint) error) error {
	var in provisionInput
	if err := r.Input(&in); err != nil {
		return err
	}
	var ep tenants.Endpoint
	if _, err := r.Get("endpoint", &ep); err != nil {
		return err
	}
	return do(ctx, tx, in.TenantID, ep)
}

func (s *Service) start(ctx context.Context, r *ops.Run) error {
	t, err := s.subject(ctx, r)
	if err != nil {
		return err
	}
	return s.startContainer(ctx, t)
}

func (s *Service) publish(ctx context.Context, r *ops.Run) error {
	t, err := s.subject(ctx, r)
	if err != nil {
		return err
	}
	if err := s.probeEdge(ctx, t.Domain); err != nil {
		return s.restart(ctx, t, err)
	}
	return nil
}

// fail tells the owner; the tenant may have been deleted meanwhile, and then there is nobody to tell.
func (s *Service) fail(ctx context.Context, tx pgx.Tx, r *ops.Run, cause error) error {
	var in provisionInput
	if err := r.Input(&in); err != nil {
		return err
	}
	t, err := s.tenants.Lock(ctx, tx, in.TenantID)
	if err != nil {
		return err
	}
	if t.State != tenants.Provisioning {
		return nil
	}
	return s.tenants.FailTx(ctx, tx, t.ID, ownersReason(cause))
}
