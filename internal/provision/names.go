package provision

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"controlplane/internal/tenants"
)

// Labels that tell what a container belongs to.
const (
	labelClient = "com.odoo-cloud.client"
	labelPlan   = "com.odoo-cloud.plan"
)

// Where the image keeps things, by the official image's contract.
const (
	dataDir   = "/var/lib/odoo"
	addonsDir = "/mnt/extra-addons"
	configDir = "/etc/odoo"
	confPath  = configDir + "/odoo.conf"
)

// The names of what a tenant has on the engine; the database's is in its row.
func containerName(t tenants.Tenant) string { return "odoo_" + t.Name }
func networkName(t tenants.Tenant) string   { return t.Name + "_network" }
func addonsVolume(t tenants.Tenant) string  { return "odoo_" + t.Name + "_addons" }
func configVolume(t tenants.Tenant) string  { return "odoo_" + t.Name + "_config" }

// dataVolume is the one that the last restore put there, if there was one.
func dataVolume(t tenants.Tenant) string { return cmp.Or(t.DataVolume, "odoo_"+t.Name+"_data") }

// filestore is where Odoo keeps the attachments of a database.
func filestore(database string) string { return dataDir + "/filestore/" + database }

// templateName names a template's database, role, container and volumes. No tenant's database is called like it: theirs begin with "odoo_".
func (s *Service) templateName(imageID, appsKey string) string {
	sum := sha256.Sum256([]byte(imageID + "\n" + appsKey))
	return "odootmpl_" + s.opts.Installation + "_" + hex.EncodeToString(sum[:5])
}

// appsKey is the same for the same set of apps in any order.
func appsKey(apps []string) string {
	sorted := slices.Clone(apps)
	slices.Sort(sorted)
	return strings.Join(slices.Compact(sorted), ",")
}
