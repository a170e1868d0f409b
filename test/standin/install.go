package main

import (
	"context"
	"crypto/sha1" //nolint:gosec // it names files, as Odoo does
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"

	"github.com/jackc/pgx/v5"
)

// schema is the part of Odoo's own that the control plane writes to, with enough rows to be copied.
const schema = `
CREATE TABLE res_partner (id serial PRIMARY KEY, name text, complete_name text, commercial_company_name text, email text, email_normalized text);
CREATE TABLE res_company (id serial PRIMARY KEY, name text, partner_id int REFERENCES res_partner);
CREATE TABLE res_users (id serial PRIMARY KEY, login text UNIQUE, password text, active boolean DEFAULT true, write_date timestamp,
    partner_id int REFERENCES res_partner, company_id int REFERENCES res_company);
CREATE TABLE ir_model_data (id serial PRIMARY KEY, module text, name text, model text, res_id int, UNIQUE (module, name));
CREATE TABLE ir_config_parameter (id serial PRIMARY KEY, key text UNIQUE, value text, create_uid int, write_uid int, create_date timestamp, write_date timestamp);
CREATE TABLE ir_cron (id serial PRIMARY KEY, nextcall timestamp);
CREATE TABLE ir_attachment (id serial PRIMARY KEY, name text, store_fname text);
CREATE TABLE ir_module_module (id serial PRIMARY KEY, name text UNIQUE, state text, latest_version text);
INSERT INTO res_partner (name) VALUES ('My Company'), ('Administrator');
INSERT INTO res_company (name, partner_id) VALUES ('My Company', 1);
INSERT INTO res_users (login, password, partner_id, company_id) VALUES ('admin', 'admin', 2, 1);
INSERT INTO ir_model_data (module, name, model, res_id) VALUES ('base', 'user_admin', 'res.users', 1);
INSERT INTO ir_module_module (name, state, latest_version) VALUES ('base', 'installed', '19.0.1.3');
INSERT INTO ir_cron (nextcall) SELECT now() - interval '1 day' FROM generate_series(1, 20)`

// install makes the database; one that is there already is an error, as half an installation is.
func install(ctx context.Context, c conf, apps []string) error {
	conn, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.Exec(ctx, schema, pgx.QueryExecModeSimpleProtocol); err != nil {
		return fmt.Errorf("make the tables: %w", err)
	}
	if _, err := conn.Exec(ctx, "INSERT INTO ir_module_module (name, state) SELECT unnest($1::text[]), 'installed' ON CONFLICT DO NOTHING", apps); err != nil {
		return fmt.Errorf("install %v: %w", apps, err)
	}
	return attach(ctx, conn, c, "logo", []byte("the company's logo"))
}

// attach keeps content where Odoo would: in the filestore, under its hash.
func attach(ctx context.Context, conn *pgx.Conn, c conf, name string, content []byte) error {
	sum := sha1.Sum(content) //nolint:gosec // see above
	hash := hex.EncodeToString(sum[:])
	path := filepath.Join(c.filestore(), hash[:2], hash)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		return err
	}
	_, err := conn.Exec(ctx, "INSERT INTO ir_attachment (name, store_fname) VALUES ($1, $2)", name, hash[:2]+"/"+hash)
	return err
}

// neutralize leaves the mark that Odoo's own leaves as the last.
func neutralize(ctx context.Context, c conf) error {
	conn, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	_, err = conn.Exec(ctx, `INSERT INTO ir_config_parameter (key, value) VALUES ('database.is_neutralized', 'true')
		ON CONFLICT (key) DO UPDATE SET value = 'true'`)
	return err
}
