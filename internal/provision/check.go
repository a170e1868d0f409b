package provision

import (
	"context"
	"fmt"
	"strings"

	"controlplane/internal/tenants"
)

// platformConnections are what we and a person need on the tenants' database server beside the tenants.
const platformConnections = 20

// Report is what the start-up check found.
type Report struct {
	Problems []string // provisioning can't work, or isn't safe
	Warnings []string
}

// Check judges the tenants' database server: version, rights, who may connect where, and connections against the plans.
func (s *Service) Check(ctx context.Context) (Report, error) {
	status, err := s.database.Inspect(ctx)
	if err != nil {
		return Report{}, err
	}
	plans, err := s.tenants.Plans(ctx)
	if err != nil {
		return Report{}, err
	}
	return judge(status, plans), nil
}

func judge(s ServerStatus, plans []tenants.Plan) Report {
	var r Report
	problem := func(when bool, format string, args ...any) {
		if when {
			r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
		}
	}
	problem(s.Version < 150000, "PostgreSQL 15 or later is needed, this is %d", s.Version/10000)
	problem(s.Superuser, "the control role is a superuser; deploy/postgres/superuser.sql makes one that isn't")
	problem(!s.Superuser && !s.CreateDB, "the control role lacks CREATEDB")
	problem(!s.Superuser && !s.CreateRole, "the control role lacks CREATEROLE")
	problem(!s.TenantsGroup || !s.PostgresClosed, "deploy/postgres/superuser.sql hasn't been run on this server, or was undone")
	problem(len(s.OpenDatabases) > 0, "tenants' roles may connect to: %s (close them with deploy/postgres/superuser.sql)", strings.Join(s.OpenDatabases, ", "))
	if !s.TempFiles {
		r.Warnings = append(r.Warnings, "a query of a tenant's may fill the server's disk with temporary files: the control role can't limit them; "+
			"run deploy/postgres/superuser.sql again")
	}
	for _, p := range plans {
		room := s.MaxConnections - platformConnections
		problem(p.DBConnections > room, "plan %s takes %d connections, the server has %d to spare (max_connections)", p.ID, p.DBConnections, room)
		conf := confOf(p)
		problem(conf.maxConnections()*conf.processes() > p.DBConnections-spareConnections,
			"plan %s has %d processes, too many for its %d connections", p.ID, conf.processes(), p.DBConnections)
	}
	if s.TenantsConnections > s.MaxConnections-platformConnections {
		r.Warnings = append(r.Warnings, fmt.Sprintf("the tenants may use %d connections together, the server has %d to spare (max_connections)",
			s.TenantsConnections, s.MaxConnections-platformConnections))
	}
	return r
}
