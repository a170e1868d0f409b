package provision

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/ops"
	"controlplane/internal/postgres"
	"controlplane/internal/tenants"
)

// patience is how many attempts a slow Odoo gets before it is started anew.
const patience = 2

// resumeInput is what a resumption may be told beside the tenant.
type resumeInput struct {
	Restart bool `json:"restart"` // what runs is stopped first
}

// ResumeWorkflow makes a tenant run that should: after a suspension or a cancelled deletion, and when its container stopped or is gone.
// Containers and networks are made again; a data volume or a database never is, since an empty one would pass for the tenant's.
func (s *Service) ResumeWorkflow() ops.Workflow {
	return ops.Workflow{
		Kind: tenants.ResumeKind, Preemptible: true,
		Steps: []ops.Step{
			{Name: "prepare", Timeout: 2 * time.Minute, Do: s.prepare, Tx: s.prepared},
			{Name: "start", Do: s.startAgain},
			{Name: "wait", Timeout: s.opts.ReadyTimeout + stopGrace + 30*time.Second, Do: s.waitAgain},
			{Name: "publish", Do: s.publishAgain, Tx: s.resumed},
		},
	}
}

// prepare writes odoo.conf for the present plan, unless the container runs: then its Odoo goes on with what it has read.
func (s *Service) prepare(ctx context.Context, r *ops.Run) error {
	t, err := s.changing(ctx, r)
	if err != nil || !shouldRun(t) {
		return err
	}
	if err := s.checkData(ctx, t); err != nil {
		return err
	}
	w, err := s.loadExisting(ctx, t)
	if err != nil {
		return err
	}
	var in resumeInput
	if err := r.Input(&in); err != nil {
		return err
	}
	if in.Restart {
		if err := s.stopContainer(ctx, t); err != nil {
			return err
		}
	}
	running, err := s.ensureContainer(ctx, w, r)
	if err != nil {
		return err
	}
	ep := tenants.Endpoint{Address: addressOf(t, w.subnet), HTTPPort: t.HTTPPort, EventPort: t.EventPort}
	if !running {
		ep.HTTPPort, ep.EventPort = httpPort, confOf(w.plan).eventPort()
		if err := s.refreshConf(ctx, w); err != nil {
			return err
		}
	}
	if err := s.limitRole(ctx, w, !running); err != nil {
		return outcome(err)
	}
	return r.Set("endpoint", ep)
}

// checkData holds the operation when something is missing that can't be made again.
func (s *Service) checkData(ctx context.Context, t tenants.Tenant) error {
	there, err := s.runtime.HasVolume(ctx, dataVolume(t), t.ID.String())
	if err != nil {
		return outcome(err)
	}
	if !there {
		return ops.Permanent(ErrDataMissing.WithCause(fmt.Errorf("tenant %s has no volume %s", t.ID, dataVolume(t))))
	}
	there, err = s.database.HasTenant(ctx, t.DBName, t.ID.Subject())
	if err != nil {
		return outcome(err)
	}
	if !there {
		return ops.Permanent(ErrDataMissing.WithCause(fmt.Errorf("tenant %s has no database %s", t.ID, t.DBName)))
	}
	return nil
}

// loadExisting reads what the container of a tenant that was made already is described by.
func (s *Service) loadExisting(ctx context.Context, t tenants.Tenant) (work, error) {
	w := work{tenant: t}
	var err error
	if w.plan, err = s.tenants.Plan(ctx, t.PlanID); err != nil {
		return w, err
	}
	if w.secrets, err = s.tenants.Secrets(ctx, t.ID); err != nil {
		return w, err
	}
	if w.subnet, err = subnetOf(ctx, s.pool, t.ID); err != nil {
		return w, err
	}
	if !w.subnet.IsValid() {
		return w, ops.Permanent(fmt.Errorf("tenant %s has no subnet", t.ID))
	}
	w.template.ImageID, err = s.imageOf(ctx, t)
	return w, err
}

// imageOf returns the image that the tenant's container has. For one that is gone it is that of the template it was cloned from, and
// the present one when nobody knows that any more.
func (s *Service) imageOf(ctx context.Context, t tenants.Tenant) (string, error) {
	status, err := s.runtime.InspectContainer(ctx, containerName(t))
	if err != nil {
		return "", outcome(err)
	}
	if status.Exists {
		return status.Image, nil
	}
	var id string
	err = s.pool.QueryRow(ctx, `
		SELECT t.image_id FROM operations o JOIN templates t ON t.id = (o.data->>'template')::bigint
		WHERE o.subject = $1 AND o.kind = $2 ORDER BY o.id DESC LIMIT 1`, t.ID.Subject(), tenants.ProvisionKind).Scan(&id)
	if err == nil || !postgres.NoRows(err) {
		return id, err
	}
	image, err := s.runtime.Image(ctx, s.opts.Image)
	return image.ID, outcome(err)
}

// ensureContainer makes network and container what they should be, and reports whether the container runs.
func (s *Service) ensureContainer(ctx context.Context, w work, r *ops.Run) (running bool, err error) {
	if err := s.ensureNetwork(ctx, w, r.ID); err != nil {
		return false, outcome(err)
	}
	err = s.runtime.EnsureContainer(ctx, s.container(w, r.ID))
	if errors.Is(err, ErrMemoryInUse) {
		r.Note(ctx, "Odoo uses more memory than the plan has, so it is started anew")
		err = s.shrink(ctx, w, r.ID)
	}
	if err != nil {
		return false, outcome(err)
	}
	status, err := s.runtime.InspectContainer(ctx, containerName(w.tenant))
	return status.Running, outcome(err)
}

// ensureNetwork takes the container from a network that isn't what it should be.
func (s *Service) ensureNetwork(ctx context.Context, w work, id ops.ID) error {
	network := Network{Name: networkName(w.tenant), Subnet: w.subnet, Gateway: gatewayOf(w.subnet), Labels: labels(w, id)}
	err := s.runtime.EnsureNetwork(ctx, network)
	if !errors.Is(err, ErrNetworkInUse) {
		return err
	}
	if err := s.stopContainer(ctx, w.tenant); err != nil {
		return err
	}
	if err := s.runtime.RemoveContainer(ctx, containerName(w.tenant)); err != nil {
		return err
	}
	return s.runtime.EnsureNetwork(ctx, network)
}

// shrink gives a container less memory than it uses, for which it has to be stopped. When that fails it goes on with what it had.
func (s *Service) shrink(ctx context.Context, w work, id ops.ID) error {
	if err := s.stopContainer(ctx, w.tenant); err != nil {
		return err
	}
	err := s.runtime.EnsureContainer(ctx, s.container(w, id))
	if err != nil && shouldRun(w.tenant) {
		err = errors.Join(err, s.startContainer(context.WithoutCancel(ctx), w.tenant))
	}
	return err
}

func (s *Service) refreshConf(ctx context.Context, w work) error {
	image, err := s.runtime.Image(ctx, w.template.ImageID)
	if err != nil {
		return outcome(err)
	}
	files, err := s.conf(ctx, w, image)
	if err != nil {
		return outcome(err)
	}
	return outcome(s.runtime.PutFiles(ctx, containerName(w.tenant), files))
}

// prepared stores the endpoint with odoo.conf and not with the end: the next attempt at all this may find a container that runs already.
func (s *Service) prepared(ctx context.Context, tx pgx.Tx, r *ops.Run) error {
	var ep tenants.Endpoint
	found, err := r.Get("endpoint", &ep)
	if err != nil || !found {
		return err
	}
	t, err := s.changingTx(ctx, tx, r)
	if err != nil || !shouldRun(t) {
		return err
	}
	return s.tenants.SetEndpointTx(ctx, tx, t.ID, ep)
}

func (s *Service) startAgain(ctx context.Context, r *ops.Run) error {
	t, err := s.changing(ctx, r)
	if err != nil || !shouldRun(t) {
		return err
	}
	return s.startContainer(ctx, t)
}

func (s *Service) waitAgain(ctx context.Context, r *ops.Run) error {
	t, err := s.changing(ctx, r)
	if err != nil || !shouldRun(t) {
		return err
	}
	subnet, err := subnetOf(ctx, s.pool, t.ID)
	if err != nil {
		return err
	}
	err = s.waitReady(ctx, containerName(t), addressOf(t, subnet))
	if err == nil {
		return nil
	}
	if _, away := s.database.Inspect(ctx); away != nil {
		return outcome(errors.Join(away, err))
	}
	if r.Attempt >= patience { // it may hang
		err = errors.Join(err, s.stopContainer(ctx, t))
	}
	return s.restart(ctx, t, err)
}

func (s *Service) publishAgain(ctx context.Context, r *ops.Run) error {
	t, err := s.changing(ctx, r)
	if err != nil || !shouldRun(t) {
		return err
	}
	if err := s.probeEdge(ctx, t.Domain); err != nil {
		return s.restart(ctx, t, err)
	}
	return r.Set("ready", true)
}

func (s *Service) resumed(ctx context.Context, tx pgx.Tx, r *ops.Run) error {
	t, err := s.changingTx(ctx, tx, r)
	if err != nil {
		return err
	}
	var ready bool
	if _, err := r.Get("ready", &ready); err != nil {
		return err
	}
	var ep tenants.Endpoint
	known, err := r.Get("endpoint", &ep)
	if err != nil {
		return err
	}
	if ready && known && shouldRun(t) && t.State != tenants.Active {
		if err := s.tenants.MarkResumedTx(ctx, tx, t.ID, ep); err != nil {
			return err
		}
		t.State = tenants.Active
	}
	follow(r, t, ready || !shouldRun(t))
	return nil
}
