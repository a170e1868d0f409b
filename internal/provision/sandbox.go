package provision

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"path"
	"strconv"
	"strings"

	"controlplane/internal/errs"
	"controlplane/internal/ops"
	"controlplane/internal/secrets"
	"controlplane/internal/tenants"
)

const (
	sandboxMemoryMB = 2048 // at most; a smaller plan's has its own
	sandboxCPUMilli = 1000
	loginPage       = "/web/login"
)

// Sandbox is a database and a volume for something to be loaded into that an Odoo is then started on, where nobody but us reaches it and it
// reaches nothing but the database's port.
type Sandbox struct {
	Database string // and the role that owns it, which may do nothing else
	Password secrets.Secret
	Volume   string
	Dir      string // of the volume, where Odoo looks for the database's files
}

// ErrSandboxGone is returned for one that somebody removed meanwhile.
var ErrSandboxGone = errs.New(errs.Unavailable, "sandbox_gone", "What was restored for a trial is gone.")

// OpenSandbox makes an empty one for an operations subject, in the place of what an earlier attempt left. It is the tenant's: it goes with it.
// Slots are numbered from 0 to builderSubnets-2, and one is in each at a time.
func (s *Service) OpenSandbox(ctx context.Context, t tenants.Tenant, subject string, slot int) (Sandbox, error) {
	if err := s.CloseSandbox(ctx, subject, slot); err != nil {
		return Sandbox{}, err
	}
	name := s.sandboxName(subject)
	password := secrets.RandomPassword(passwordLength)
	if err := s.database.BeginSandbox(ctx, name, subject, password); err != nil {
		return Sandbox{}, err
	}
	plan, err := s.tenants.Plan(ctx, t.PlanID)
	if err != nil {
		return Sandbox{}, err
	}
	if err := s.database.LimitTempFiles(ctx, name, subject, plan.TempFilesMB()); err != nil {
		return Sandbox{}, err
	}
	if err := s.ensureSandbox(ctx, t, subject, slot); err != nil {
		return Sandbox{}, err
	}
	return sandboxOf(name, password), nil
}

func sandboxOf(name string, password secrets.Secret) Sandbox {
	return Sandbox{Database: name, Password: password, Volume: name + "_data", Dir: strings.TrimPrefix(filestore(name), dataDir+"/")}
}

// StartSandbox starts an Odoo in it, without scheduled jobs, and returns when it has shown its login page. Errors: ErrNotReady,
// ErrSandboxGone.
func (s *Service) StartSandbox(ctx context.Context, t tenants.Tenant, subject string, slot int) error {
	name := s.sandboxName(subject)
	if _, err := s.prepareSandbox(ctx, t, subject, slot); err != nil {
		return err
	}
	if err := s.runtime.StartContainer(ctx, name); err != nil {
		return err
	}
	return s.askSandbox(ctx, name, quarantined(s.sandboxSubnet(slot)))
}

// prepareSandbox has an Odoo ready to be started in it, and returns the password that it will use. Errors: ErrSandboxGone.
func (s *Service) prepareSandbox(ctx context.Context, t tenants.Tenant, subject string, slot int) (secrets.Secret, error) {
	name := s.sandboxName(subject)
	status, err := s.runtime.InspectContainer(ctx, name)
	if err != nil {
		return "", err
	}
	if !status.Exists {
		return "", ErrSandboxGone.WithCause(fmt.Errorf("no container %s", name))
	}
	if err := s.runtime.StopContainer(ctx, name, stopGrace); err != nil { // an attempt before this one started it, with another password
		return "", err
	}
	if err := s.ensureSandbox(ctx, t, subject, slot); err != nil {
		return "", err
	}
	password, err := s.configureSandbox(ctx, t, subject, slot)
	if err != nil {
		return "", err
	}
	return password, s.ensureFirewall(ctx)
}

func (s *Service) askSandbox(ctx context.Context, name string, address netip.Addr) error {
	err := s.waitReady(ctx, name, address)
	if err == nil {
		if err = s.prober.page(ctx, "http://"+net.JoinHostPort(address.String(), strconv.Itoa(httpPort)), loginPage); err != nil {
			err = ErrNotReady.WithCause(err)
		}
	}
	if err == nil {
		return nil
	}
	if _, away := s.database.Inspect(ctx); away != nil { // no Odoo comes up without it
		return fmt.Errorf("wait for %s (%s): %w", name, err.Error(), away)
	}
	return err
}

// ensureSandbox makes network, volumes and container; nothing runs yet.
func (s *Service) ensureSandbox(ctx context.Context, t tenants.Tenant, subject string, slot int) error {
	plan, err := s.tenants.Plan(ctx, t.PlanID)
	if err != nil {
		return err
	}
	image, err := s.imageOf(ctx, t)
	if err != nil {
		return err
	}
	if err := s.runtime.EnsureNetwork(ctx, s.sandboxNetwork(slot)); err != nil {
		return err
	}
	return s.runtime.EnsureContainer(ctx, s.sandbox(t, plan, image, subject, slot))
}

// sandbox is the container. The client's own modules are there to be read: what was restored may need them.
func (s *Service) sandbox(t tenants.Tenant, plan tenants.Plan, image, subject string, slot int) Container {
	name := s.sandboxName(subject)
	return Container{
		Name: name, Image: image, Command: []string{"env", "odoo"},
		Environment: s.trustEnvironment(),
		Network:     s.sandboxNetwork(slot).Name, Address: quarantined(s.sandboxSubnet(slot)), DNS: nowhere(),
		Mounts: []Mount{
			{Volume: name + "_data", Path: dataDir},
			{Volume: addonsVolume(t), Path: addonsDir, ReadOnly: true},
			{Volume: name + "_config", Path: configDir},
		},
		Tmpfs:    map[string]string{"/tmp": "size=256m", "/run": "size=16m"},
		MemoryMB: min(plan.MemoryMB, sandboxMemoryMB), CPUMilli: sandboxCPUMilli, PIDs: plan.PIDs,
		Labels: map[string]string{labelClient: t.ID.String()},
	}
}

// configureSandbox gives the role a new password, which the container's configuration knows, and the caller.
func (s *Service) configureSandbox(ctx context.Context, t tenants.Tenant, subject string, slot int) (secrets.Secret, error) {
	name := s.sandboxName(subject)
	plan, err := s.tenants.Plan(ctx, t.PlanID)
	if err != nil {
		return "", err
	}
	imageID, err := s.imageOf(ctx, t)
	if err != nil {
		return "", err
	}
	image, err := s.runtime.Image(ctx, imageID)
	if err != nil {
		return "", err
	}
	conf := odooConf{
		Host: s.tenantDatabaseHost(gatewayOf(s.sandboxSubnet(slot))), Port: s.opts.DatabasePort, SSLMode: s.opts.SSLMode,
		Database: name, Password: secrets.RandomPassword(passwordLength), MasterPassword: secrets.RandomPassword(passwordLength),
		MemoryMB: min(plan.MemoryMB, sandboxMemoryMB), ConnectionLimit: sandboxConnections, NoJobs: true,
	}
	address, err := s.databaseAddress(ctx)
	if err != nil {
		return "", err
	}
	conf.Host = s.hostWithoutNames(conf.Host, address)
	content, err := conf.render()
	if err != nil {
		return "", ops.Permanent(err)
	}
	if err := s.database.SetSandboxPassword(ctx, name, subject, conf.Password); err != nil {
		return "", err
	}
	return conf.Password, s.runtime.PutFiles(ctx, name, s.connectionFiles(content, image, address))
}

// CloseSandbox removes all of it; what isn't there is removed.
func (s *Service) CloseSandbox(ctx context.Context, subject string, slot int) error {
	name := s.sandboxName(subject)
	for _, container := range []string{name + neutraliserSuffix, name} {
		if err := s.runtime.RemoveContainer(ctx, container); err != nil {
			return err
		}
	}
	for _, volume := range []string{name + "_data", name + "_config"} {
		if err := s.runtime.RemoveVolume(ctx, volume); err != nil {
			return err
		}
	}
	if err := s.runtime.RemoveNetwork(ctx, s.sandboxNetwork(slot).Name); err != nil {
		return err
	}
	return s.database.RemoveTenant(ctx, name, subject)
}

// sandboxConnections is enough for one Odoo and what fills its database.
const sandboxConnections = 16

func (s *Service) sandboxPrefix() string { return "odooproof_" + s.opts.Installation + "_" }

// sandboxName names the database, its role, and the container: after the last part of the subject.
func (s *Service) sandboxName(subject string) string { return s.sandboxPrefix() + path.Base(subject) }

// sandboxSubnet is one of those that no tenant gets; the builders' is the first.
func (s *Service) sandboxSubnet(slot int) netip.Prefix { return s.subnets.at(1 + slot) }

func (s *Service) sandboxNetwork(slot int) Network {
	subnet := s.sandboxSubnet(slot)
	return Network{Name: s.sandboxPrefix() + "network" + strconv.Itoa(slot), Subnet: subnet, Gateway: gatewayOf(subnet)}
}

// sandboxNetworks are all that there may be.
func (s *Service) sandboxNetworks() []string {
	var names []string
	for slot := range builderSubnets - 1 {
		names = append(names, s.sandboxNetwork(slot).Name)
	}
	return names
}
