-- +goose Up
-- +goose StatementBegin
-- Operators change plans here, without a rebuild. Prices are in kobo (1/100 naira), memory in MiB, CPU in thousandths of a core.
CREATE TABLE plans (
    id                      text PRIMARY KEY CHECK (id ~ '^[a-z][a-z0-9_-]{1,30}$'),
    name                    text NOT NULL,
    position                integer NOT NULL,
    price_monthly_kobo      bigint NOT NULL CHECK (price_monthly_kobo > 0),
    annual_discount_percent integer NOT NULL DEFAULT 20 CHECK (annual_discount_percent BETWEEN 0 AND 90),
    currency                text NOT NULL DEFAULT 'NGN' CHECK (currency ~ '^[A-Z]{3}$'),
    memory_mb               integer NOT NULL CHECK (memory_mb >= 512),
    db_memory_mb            integer NOT NULL CHECK (db_memory_mb > 0),
    cpu_milli               integer NOT NULL CHECK (cpu_milli >= 100),
    db_cpu_milli            integer NOT NULL CHECK (db_cpu_milli > 0),
    pids                    integer NOT NULL CHECK (pids >= 50),
    workers                 integer NOT NULL CHECK (workers BETWEEN 0 AND 64),
    db_connections          integer NOT NULL CHECK (db_connections BETWEEN 8 AND 500),
    storage_gb              integer NOT NULL CHECK (storage_gb > 0),
    backup_frequency        text NOT NULL CHECK (backup_frequency IN ('daily', 'hourly')),
    apps                    text[] NOT NULL CHECK (cardinality(apps) > 0),
    active                  boolean NOT NULL DEFAULT true      -- offered to new clients
);
INSERT INTO plans (id, name, position, price_monthly_kobo, memory_mb, db_memory_mb, cpu_milli, db_cpu_milli, pids, workers,
                   db_connections, storage_gb, backup_frequency, apps) VALUES
    ('basic', 'Starter', 1, 1500000, 2048, 1024, 1000, 500, 200, 0, 20, 10, 'daily', '{contacts,crm}'),
    ('business', 'Business', 2, 4500000, 4096, 2048, 2000, 1000, 300, 2, 40, 25, 'hourly',
     '{contacts,crm,sale_management,account,stock,purchase,project,hr_expense}'),
    ('enterprise', 'Enterprise', 3, 12000000, 8192, 4096, 4000, 2000, 500, 4, 60, 100, 'hourly',
     '{contacts,crm,sale_management,account,stock,purchase,project,hr_expense,mrp,website,point_of_sale}');

CREATE TABLE tenants (
    id                    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id            bigint NOT NULL REFERENCES accounts,
    name                  text NOT NULL CHECK (name ~ '^[a-z0-9]([a-z0-9-]{1,38})[a-z0-9]$'),
    db_name               text NOT NULL CHECK (db_name ~ '^odoo_[a-z0-9_]{3,40}$'),   -- database and role
    domain                text NOT NULL,                                             -- platform address, lower case
    email                 text NOT NULL CHECK (length(email) BETWEEN 3 AND 254),
    plan_id               text NOT NULL REFERENCES plans,
    state                 text NOT NULL CHECK (state IN ('pending', 'provisioning', 'active', 'suspended', 'sleeping', 'maintenance',
                                                         'failed', 'scheduled_for_deletion', 'deleting', 'deleted')),
    desired               text NOT NULL DEFAULT 'active' CHECK (desired IN ('active', 'suspended', 'deleted')),
    failure               text,                       -- why it is failed, for the owner
    payment_status        text NOT NULL DEFAULT 'pending' CHECK (payment_status IN ('pending', 'success', 'failed', 'refunded')),
    payment_reference     text,
    payment_deadline      timestamptz NOT NULL,
    notes                 text CHECK (length(notes) <= 10000),
    address               inet,                       -- of its container, as the edge reaches it
    http_port             integer NOT NULL DEFAULT 8069,
    event_port            integer NOT NULL DEFAULT 8069,   -- /websocket goes here; 8072 with workers
    disk_usage_mb         integer NOT NULL DEFAULT 0,
    created_at            timestamptz NOT NULL DEFAULT now(),
    updated_at            timestamptz NOT NULL DEFAULT now(),
    paid_at               timestamptz,
    activated_at          timestamptz,
    suspended_at          timestamptz,
    deletion_scheduled_at timestamptz,
    deleted_at            timestamptz,
    CONSTRAINT tenants_deleted CHECK ((deleted_at IS NOT NULL) = (state = 'deleted')),
    CONSTRAINT tenants_paid CHECK (state IN ('pending', 'scheduled_for_deletion', 'deleting', 'deleted') OR paid_at IS NOT NULL)
);
-- a-b and a_b would share a database name; the name itself is freed by deletion.
CREATE UNIQUE INDEX tenants_name_taken ON tenants (name) WHERE state <> 'deleted';
CREATE UNIQUE INDEX tenants_db_name_taken ON tenants (db_name) WHERE state <> 'deleted';
CREATE UNIQUE INDEX tenants_domain_taken ON tenants (domain) WHERE state <> 'deleted';
CREATE INDEX tenants_account ON tenants (account_id, id);
CREATE INDEX tenants_unpaid ON tenants (payment_deadline) WHERE state = 'pending';

CREATE TABLE tenant_events (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id  bigint NOT NULL REFERENCES tenants,
    at         timestamptz NOT NULL DEFAULT now(),
    from_state text,
    to_state   text NOT NULL,
    reason     text NOT NULL DEFAULT ''
);
CREATE INDEX tenant_events_tenant ON tenant_events (tenant_id, id);

-- Sealed with DATA_KEY; the context of each value is "tenants.<column>/<tenant id>".
CREATE TABLE tenant_secrets (
    tenant_id        bigint PRIMARY KEY REFERENCES tenants,
    db_password      bytea NOT NULL,
    master_password  bytea NOT NULL,      -- odoo.conf's admin_passwd
    admin_login      text NOT NULL,
    admin_password   bytea,               -- null once the owner has read it
    read_at          timestamptz
);

-- The edge listens; the payload is the tenant's id. Only what the edge's table holds wakes it.
CREATE FUNCTION notify_edge() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND (OLD.domain, OLD.state, OLD.address, OLD.http_port, OLD.event_port)
        IS NOT DISTINCT FROM (NEW.domain, NEW.state, NEW.address, NEW.http_port, NEW.event_port) THEN
        RETURN NULL;
    END IF;
    PERFORM pg_notify('edge_routes', NEW.id::text);
    RETURN NULL;
END $$;
CREATE TRIGGER tenants_notify_edge AFTER INSERT OR UPDATE ON tenants FOR EACH ROW EXECUTE FUNCTION notify_edge();
-- +goose StatementEnd

-- +goose Down
DROP TABLE tenant_secrets, tenant_events, tenants, plans;
DROP FUNCTION notify_edge;
