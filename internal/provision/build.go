package provision

import (
	"context"
	_ "embed"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/ops"
	"controlplane/internal/secrets"
)

const (
	buildTimeout    = 40 * time.Minute
	builderMemoryMB = 2048
	builderCPUMilli = 2000
	builderPIDs     = 200
)

// installScript runs in the builder. The second part makes, once for all clones, the style sheets and scripts that a browser asks for
// first; Odoo would otherwise make them while the owner waits for the first page.
//
//go:embed install.sh
var installScript string //nolint:gochecknoglobals // an embedded file

//go:embed warm.py
var warmScript []byte //nolint:gochecknoglobals // an embedded file

// buildInput is what a build is enqueued with.
type buildInput struct {
	TemplateID TemplateID `json:"template_id"`
}

// BuildWorkflow installs a template. It is begun anew after any trouble: half an installation is worth nothing.
func (s *Service) BuildWorkflow() ops.Workflow {
	return ops.Workflow{
		Kind: BuildKind,
		Steps: []ops.Step{
			{Name: "queue", Do: s.awaitTurn},
			{Name: "install", Timeout: buildTimeout, Do: s.install},
			{Name: "seal", Timeout: 5 * time.Minute, Do: s.seal, Tx: s.templateReady},
		},
		// The default number of attempts: a worker that dies costs one too, and an installation takes minutes in which several may.
		Held: s.templateFailed,
	}
}

func (s *Service) building(ctx context.Context, r *ops.Run) (Template, error) {
	var in buildInput
	if err := r.Input(&in); err != nil {
		return Template{}, err
	}
	return s.template(ctx, in.TemplateID)
}

// awaitTurn lets one template be built at a time, the oldest first: side by side on a small machine all would be late.
func (s *Service) awaitTurn(ctx context.Context, r *ops.Run) error {
	t, err := s.building(ctx, r)
	if err != nil {
		return err
	}
	var wait bool
	err = s.pool.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM templates t JOIN operations o ON o.subject = 'template/' || t.id AND o.state = 'running'
		WHERE t.id < $1 AND t.state = 'building')`, t.ID).Scan(&wait)
	if err != nil {
		return fmt.Errorf("look for other builds: %w", err)
	}
	if wait {
		return ops.Snooze(time.Second)
	}
	return nil
}

// install runs Odoo's own installation in a container. One that a crash of ours left running is waited for.
func (s *Service) install(ctx context.Context, r *ops.Run) error {
	t, err := s.building(ctx, r)
	if err != nil {
		return err
	}
	builder := s.builder(t, r.ID)
	status, err := s.runtime.InspectContainer(ctx, builder.Name)
	if err != nil {
		return outcome(err)
	}
	r.Note(ctx, "Installing "+strings.Join(t.Apps, ", "))
	if !status.Running {
		if err := s.prepareBuilder(ctx, t, builder); err != nil {
			return outcome(err)
		}
	}
	result, err := s.runtime.RunContainer(ctx, builder)
	if err != nil {
		return outcome(fmt.Errorf("install template %s: %w", t.Name, err))
	}
	if result.ExitCode != 0 {
		return fmt.Errorf("install template %s: exit code %d:\n%s", t.Name, result.ExitCode, strings.Join(result.Tail, "\n"))
	}
	return nil
}

func (s *Service) prepareBuilder(ctx context.Context, t Template, builder Container) error {
	if err := s.ensureFirewall(ctx); err != nil {
		return err
	}
	image, err := s.runtime.Image(ctx, t.ImageID)
	if err != nil {
		return err
	}
	if err := s.removeTemplateContainers(ctx, t); err != nil {
		return err
	}
	password := secrets.RandomPassword(passwordLength)
	if err := s.database.BeginTemplate(ctx, t.Name, password); err != nil {
		return err
	}
	if err := s.runtime.EnsureNetwork(ctx, s.builderNetwork()); err != nil {
		return err
	}
	if err := s.runtime.EnsureContainer(ctx, builder); err != nil {
		return err
	}
	conf := odooConf{
		Host: s.tenantDatabaseHost(gatewayOf(s.subnets.at(0))), Port: s.opts.DatabasePort, SSLMode: s.opts.SSLMode,
		Database: t.Name, Password: password, MasterPassword: secrets.RandomPassword(passwordLength),
		MemoryMB: builderMemoryMB, ConnectionLimit: 16,
	}
	content, err := conf.render()
	if err != nil {
		return ops.Permanent(err)
	}
	warm := File{Path: configDir + "/warm.py", Mode: 0o400, UID: image.UID, GID: image.GID, Content: warmScript}
	return s.runtime.PutFiles(ctx, builder.Name, append(s.connectionFiles(content, image, netip.Addr{}), warm))
}

// builderNetwork is shared by all builds; containers on it can't reach each other.
func (s *Service) builderNetwork() Network {
	subnet := s.subnets.at(0)
	return Network{Name: "odootmpl_" + s.opts.Installation + "_network", Subnet: subnet, Gateway: gatewayOf(subnet)}
}

func (s *Service) builder(t Template, id ops.ID) Container {
	c := s.holder(t)
	c.Name, c.Command = t.Name+"_build", []string{"bash", "-ec", installScript, "install", strings.Join(t.Apps, ",")}
	c.Network, c.Environment = s.builderNetwork().Name, s.trustEnvironment()
	c.MemoryMB, c.CPUMilli, c.PIDs = builderMemoryMB, builderCPUMilli, builderPIDs
	c.Mounts = append(c.Mounts, Mount{Volume: t.Name + "_config", Path: configDir})
	c.Labels = map[string]string{"com.odoo-cloud.operation": fmt.Sprint(id)}
	return c
}

// holder of a template's volumes never runs: files can only be copied out of a container.
func (s *Service) holder(t Template) Container {
	return s.holderOf(t.Name, t.ImageID, t.volume(), t.Name+"_addons")
}

// holderOf never runs: it is there for what the engine does with the volumes of a container.
func (s *Service) holderOf(name, image, data, addons string) Container {
	return Container{
		Name: name, Image: image, Command: []string{"true"}, DNS: s.opts.DNS,
		Mounts: []Mount{{Volume: data, Path: dataDir}, {Volume: addons, Path: addonsDir}},
		Tmpfs:  map[string]string{"/tmp": "size=256m", "/run": "size=16m"}, MemoryMB: 64, CPUMilli: 100, PIDs: 50,
	}
}

// seal keeps what the installation made and drops what it needed.
func (s *Service) seal(ctx context.Context, r *ops.Run) error {
	t, err := s.building(ctx, r)
	if err != nil {
		return err
	}
	if err := s.database.SealTemplate(ctx, t.Name); err != nil {
		return outcome(err)
	}
	if err := s.runtime.EnsureContainer(ctx, s.holder(t)); err != nil {
		return outcome(err)
	}
	return outcome(s.runtime.RemoveVolume(ctx, t.Name+"_config"))
}

func (s *Service) templateReady(ctx context.Context, tx pgx.Tx, r *ops.Run) error {
	var in buildInput
	if err := r.Input(&in); err != nil {
		return err
	}
	return setTemplate(ctx, tx, in.TemplateID, TemplateReady, "")
}

func (s *Service) templateFailed(ctx context.Context, tx pgx.Tx, r *ops.Run, cause error) error {
	var in buildInput
	if err := r.Input(&in); err != nil {
		return err
	}
	return setTemplate(ctx, tx, in.TemplateID, TemplateFailed, cause.Error())
}

func (s *Service) copyFilestore(ctx context.Context, w work) error {
	if err := s.runtime.EnsureContainer(ctx, s.holder(w.template)); err != nil {
		return err
	}
	return s.runtime.CopyTree(ctx, w.template.Name, filestore(w.template.Name), containerName(w.tenant), filestore(w.tenant.DBName))
}

func (s *Service) removeTemplateContainers(ctx context.Context, t Template) error {
	for _, name := range []string{t.Name + "_build", t.Name} {
		if err := s.runtime.RemoveContainer(ctx, name); err != nil {
			return err
		}
	}
	for _, name := range []string{t.volume(), t.Name + "_addons", t.Name + "_config"} {
		if err := s.runtime.RemoveVolume(ctx, name); err != nil {
			return err
		}
	}
	return nil
}
