package provision

import (
	"strings"

	"controlplane/internal/tenants"
)

// Filestore tells in which volume a tenant's attachments are, and in which directory of that.
func Filestore(t tenants.Tenant) (volume, dir string) {
	return dataVolume(t), strings.TrimPrefix(filestore(t.DBName), dataDir+"/")
}
