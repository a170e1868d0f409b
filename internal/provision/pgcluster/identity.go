package pgcluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"controlplane/internal/provision"
)

// reportURL is where wkhtmltopdf, which runs beside Odoo, fetches styles and images for a PDF: the public address need not be
// reachable from inside.
const reportURL = "http://127.0.0.1:8069"

// HandOver does all in one transaction in the clone. The database's owner says whether it was done: the control role before, the tenant after.
func (c *Cluster) HandOver(ctx context.Context, name string, id provision.Identity) error {
	s, err := c.look(ctx, name)
	if err != nil {
		return err
	}
	switch {
	case !s.database.exists || !s.role.exists:
		return fmt.Errorf("hand over %s: there is no such database and role", name)
	case s.database.owner == name:
		return nil
	case s.database.owner != c.user:
		return provision.ErrForeign.WithCause(fmt.Errorf("database %s belongs to %s", name, s.database.owner))
	}
	return c.in(ctx, name, func(conn *pgx.Conn) error {
		return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			if err := personalise(ctx, tx, id); err != nil {
				return fmt.Errorf("give %s its identity: %w", name, err)
			}
			_, err := tx.Exec(ctx, "ALTER DATABASE "+quoteName(name)+" OWNER TO "+quoteName(name)+
				"; "+reassign(c.templateOwner(), name), pgx.QueryExecModeSimpleProtocol)
			if err != nil {
				return fmt.Errorf("hand over %s: %w", name, err)
			}
			return nil
		})
	})
}

// anatomy is what personalise has to know of an Odoo database: who is who, and which modules' tables there are.
type anatomy struct {
	admin, adminPartner     int
	company, companyPartner int
	mail, channels          bool
}

func dissect(ctx context.Context, tx pgx.Tx) (anatomy, error) {
	var a anatomy
	err := tx.QueryRow(ctx, `
		SELECT u.id, u.partner_id, c.id, c.partner_id,
		       EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'res_partner'::regclass AND attname = 'email_normalized'),
		       to_regclass('discuss_channel') IS NOT NULL
		FROM ir_model_data d JOIN res_users u ON u.id = d.res_id JOIN res_company c ON c.id = u.company_id
		WHERE d.module = 'base' AND d.name = 'user_admin' AND d.model = 'res.users'`).
		Scan(&a.admin, &a.adminPartner, &a.company, &a.companyPartner, &a.mail, &a.channels)
	if errors.Is(err, pgx.ErrNoRows) {
		return a, errors.New("the template has no administrator")
	}
	return a, err
}

// personalise makes anew what Odoo's own duplicate does (ir.config_parameter's init), and everything else that must not be shared by two
// Odoos or that names the owner.
func personalise(ctx context.Context, tx pgx.Tx, id provision.Identity) error {
	a, err := dissect(ctx, tx)
	if err != nil {
		return err
	}
	batch := &pgx.Batch{}
	for key, value := range parameters(id, time.Now()) {
		batch.Queue(setParameter, key, value)
	}
	batch.Queue("UPDATE res_users SET login = $2, password = $3 WHERE id = $1", a.admin, id.Login, id.PasswordHash)
	batch.Queue("UPDATE res_partner SET email = $2 WHERE id = $1", a.adminPartner, id.Login)
	batch.Queue("UPDATE res_company SET name = $2 WHERE id = $1", a.company, id.CompanyName)
	batch.Queue("UPDATE res_partner SET name = $2, complete_name = $2, commercial_company_name = $2 WHERE id = $1", a.companyPartner, id.CompanyName)
	if a.mail {
		batch.Queue("UPDATE res_partner SET email_normalized = lower($2) WHERE id = $1", a.adminPartner, id.Login)
	}
	if a.channels {
		batch.Queue(newInvitations)
	}
	// A template may be months old. Its scheduled jobs, all overdue, would run at once in the clone's first seconds.
	batch.Queue(`UPDATE ir_cron SET nextcall = (now() AT TIME ZONE 'utc') + interval '2 minutes' + random() * interval '10 minutes'
		WHERE nextcall < now() AT TIME ZONE 'utc' + interval '2 minutes'`)
	return tx.SendBatch(ctx, batch).Close()
}

// newInvitations makes the links anew by which guests get into channels.
const newInvitations = `UPDATE public.discuss_channel SET uuid = substr(replace(gen_random_uuid()::text, '-', ''), 1, 10) WHERE uuid IS NOT NULL`

// setParameter sets one of Odoo's system parameters.
const setParameter = `
	INSERT INTO public.ir_config_parameter (key, value, create_uid, write_uid, create_date, write_date)
	VALUES ($1, $2, 1, 1, now() AT TIME ZONE 'utc', now() AT TIME ZONE 'utc')
	ON CONFLICT (key) DO UPDATE SET value = excluded.value, write_date = excluded.write_date`

func parameters(id provision.Identity, now time.Time) map[string]string {
	return map[string]string{
		"database.uuid":                uuid.NewString(),
		"database.secret":              uuid.NewString(),
		"database.create_date":         now.UTC().Format(time.DateTime),
		"web.base.url":                 id.BaseURL,
		"web.base.url.freeze":          "True",
		"report.url":                   reportURL,
		"base.login_cooldown_after":    "10",
		"base.login_cooldown_duration": "60",
	}
}
