package pgcluster

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/jackc/pgx/v5"

	pgsetup "controlplane/deploy/postgres"
	"controlplane/internal/secrets"
)

// SetupParams are the parameters of superuser.sql.
type SetupParams struct {
	ControlRole     string
	ControlPassword secrets.Secret // "" leaves the role's password as it is
	CloseDatabases  []string       // others on the server that tenants must not reach
}

// SetupServer runs superuser.sql on a server of our own (and of tests). The URL is a superuser's, to the database "postgres".
func SetupServer(ctx context.Context, superuserURL secrets.Secret, p SetupParams) error {
	conn, err := pgx.Connect(ctx, superuserURL.Reveal())
	if err != nil {
		return classify(fmt.Errorf("connect as superuser: %w", err))
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	settings := map[string]string{"odoohost.control_role": p.ControlRole, "odoohost.close_databases": strings.Join(p.CloseDatabases, ",")}
	if p.ControlPassword != "" {
		if settings["odoohost.control_password"], err = scramVerifier(p.ControlPassword); err != nil {
			return err
		}
	}
	for name, value := range settings {
		if _, err := conn.Exec(ctx, "SELECT set_config($1, $2, false)", name, value); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	if _, err := conn.Exec(ctx, pgsetup.SuperuserSQL, pgx.QueryExecModeSimpleProtocol); err != nil {
		return fmt.Errorf("run superuser.sql: %w", err)
	}
	return nil
}

// HBA is pg_hba.conf for a server of our own: everybody from this host by password, the tenants' supernet as in the sample, where control, the
// role of EXTERNAL_DB_USER, has no business.
func HBA(supernet netip.Prefix, control string) string {
	const format = `# Written by the control plane.
local  all                all             scram-sha-256
host   all                all             127.0.0.1/32  scram-sha-256
host   all                all             ::1/128       scram-sha-256
host   all                "%[3]s"         %[2]s  reject
host   sameuser,postgres  +%[1]s  %[2]s  scram-sha-256
host   all                all             %[2]s  reject
`
	return fmt.Sprintf(format, TenantsRole, supernet.Masked(), control)
}
