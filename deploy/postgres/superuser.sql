-- What only a superuser can do on the PostgreSQL server that tenants' databases live on (15 or later). Run it once, connected to the
-- database "postgres"; running it again changes nothing. Everything else the control plane does itself, as the control role made here.
--
--   psql -d postgres
--   SET odoohost.control_role = 'odoo_clients';          -- EXTERNAL_DB_USER; this is the default
--   SET odoohost.close_databases = 'other_app,crm';      -- other databases on this server that tenants must not reach
--   \i superuser.sql
--   \password odoo_clients                               -- EXTERNAL_DB_PASSWORD
--
-- pg_hba.conf beside this file is the second half: who may connect from where.
DO $$
DECLARE
    control  text := coalesce(nullif(current_setting('odoohost.control_role', true), ''), 'odoo_clients');
    password text := nullif(current_setting('odoohost.control_password', true), '');   -- a SCRAM verifier, or plain text
    closed   text := coalesce(current_setting('odoohost.close_databases', true), '');
    modern   boolean := current_setting('server_version_num')::int >= 160000;
    name     text;
    func     regprocedure;
BEGIN
    IF current_setting('server_version_num')::int < 150000 THEN
        RAISE EXCEPTION 'PostgreSQL 15 or later is needed, this is %', current_setting('server_version');
    END IF;
    IF current_database() <> 'postgres' THEN
        RAISE EXCEPTION 'connect to the database "postgres" to run this, not to "%"', current_database();
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = control AND rolsuper) THEN
        RAISE EXCEPTION 'role "%" is a superuser; the control role must be one of its own', control;
    END IF;

    -- The control role makes roles and databases, and can do nothing to those it hasn't made.
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = control) THEN
        EXECUTE format('CREATE ROLE %I', control);
    END IF;
    EXECUTE format('ALTER ROLE %I LOGIN CREATEDB CREATEROLE NOREPLICATION NOBYPASSRLS', control);
    IF password IS NOT NULL THEN
        EXECUTE format('ALTER ROLE %I PASSWORD %L', control, password);
    END IF;

    -- Each tenant's role is made a member of this one, for the one right that they share: to connect to "postgres", where Odoo
    -- listens for its cron and bus signals.
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'odootenants') THEN
        CREATE ROLE odootenants NOLOGIN;
    END IF;
    IF modern THEN
        EXECUTE format('GRANT odootenants TO %I WITH ADMIN TRUE, INHERIT FALSE, SET FALSE', control);
    ELSE
        EXECUTE format('GRANT odootenants TO %I WITH ADMIN OPTION', control);
    END IF;

    -- No query of a tenant's may fill the server's disk with what it sorts. Only who may set the limit can also lift it, which tenants can't.
    EXECUTE format('GRANT SET ON PARAMETER temp_file_limit TO %I', control);

    -- Nobody connects anywhere by being nobody in particular.
    FOREACH name IN ARRAY array['postgres', 'template1'] || string_to_array(replace(closed, ' ', ''), ',') LOOP
        IF EXISTS (SELECT FROM pg_database WHERE datname = name) THEN
            EXECUTE format('REVOKE CONNECT, TEMPORARY, CREATE ON DATABASE %I FROM PUBLIC', name);
        END IF;
    END LOOP;
    EXECUTE format('GRANT CONNECT ON DATABASE postgres TO %I', control);
    GRANT CONNECT ON DATABASE postgres TO odootenants;

    -- In "postgres" a tenant can listen and notify, and can leave nothing behind: no tables, no temporary ones, no large objects.
    REVOKE ALL ON SCHEMA public FROM PUBLIC;
    FOR func IN
        SELECT oid FROM pg_proc
        WHERE pronamespace = 'pg_catalog'::regnamespace
          AND proname IN ('lo_creat', 'lo_create', 'lo_from_bytea', 'lo_import', 'lo_put', 'lowrite', 'lo_truncate', 'lo_truncate64')
    LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', func);
    END LOOP;
END $$;
