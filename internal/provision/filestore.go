package provision

import (
	"context"
	"strings"

	"controlplane/internal/tenants"
)

// Filestore tells in which volume a tenant's attachments are, and in which directory of that.
func Filestore(t tenants.Tenant) (volume, dir string) {
	return dataVolume(t), strings.TrimPrefix(filestore(t.DBName), dataDir+"/")
}

// EnsureVolume makes a volume of the tenant's, which must have an Odoo, as its image has the data directory: empty, and the image's user's.
// The engine does that for the first container that mounts it; this one never runs.
func (s *Service) EnsureVolume(ctx context.Context, t tenants.Tenant, volume string) error {
	image, err := s.imageOf(ctx, t)
	if err != nil {
		return err
	}
	holder := s.holderOf(volume+"_holder", image, volume, addonsVolume(t))
	holder.Labels = map[string]string{labelClient: t.ID.String()}
	if err := s.runtime.EnsureContainer(ctx, holder); err != nil {
		return outcome(err)
	}
	return outcome(s.runtime.RemoveContainer(ctx, holder.Name))
}
