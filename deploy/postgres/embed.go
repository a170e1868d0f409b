// Package pgsetup carries the files that prepare a PostgreSQL server for tenants' databases, so that the control plane can apply to
// its own server what operators apply to theirs. It holds no code.
package pgsetup

import _ "embed"

// SuperuserSQL is superuser.sql: one statement, without anything that only psql understands.
//
//go:embed superuser.sql
var SuperuserSQL string //nolint:gochecknoglobals // an embedded file

// HBA is pg_hba.conf, the sample for a server of one's own.
//
//go:embed pg_hba.conf
var HBA string //nolint:gochecknoglobals // an embedded file
