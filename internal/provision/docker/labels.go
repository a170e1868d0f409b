package docker

import (
	"fmt"
	"maps"

	"controlplane/internal/provision"
)

// Labels on everything that we make. The caller gives the tenant's in its Labels; installation and spec are added here.
const (
	LabelInstallation = "com.odoo-cloud.installation"
	LabelClient       = "com.odoo-cloud.client"
	LabelPlan         = "com.odoo-cloud.plan"
	LabelOperation    = "com.odoo-cloud.operation"
	LabelSpec         = "com.odoo-cloud.spec"
)

// labelled returns a copy of labels with our installation's id.
func (r *Runtime) labelled(labels map[string]string) map[string]string {
	out := maps.Clone(labels)
	if out == nil {
		out = map[string]string{}
	}
	out[LabelInstallation] = r.installation
	return out
}

// owned returns ErrForeign unless labels bear our installation's id.
func (r *Runtime) owned(kind, name string, labels map[string]string) error {
	if labels[LabelInstallation] == r.installation {
		return nil
	}
	return provision.ErrForeign.WithCause(fmt.Errorf("%s %q exists and doesn't bear our installation's id", kind, name))
}
