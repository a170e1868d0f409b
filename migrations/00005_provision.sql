-- +goose Up
-- +goose StatementBegin
-- A template is an installed Odoo, kept to be cloned: one per image and set of apps.
CREATE TABLE templates (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    image_id      text NOT NULL,             -- the engine's content id (sha256:…), so that a moved tag is another template
    apps_key      text NOT NULL,             -- sorted, comma-separated
    apps          text[] NOT NULL,
    database_name text NOT NULL UNIQUE,
    volume_name   text NOT NULL UNIQUE,
    state         text NOT NULL CHECK (state IN ('building', 'ready', 'failed')),
    error         text,
    created_at    timestamptz NOT NULL DEFAULT now(),
    ready_at      timestamptz,
    UNIQUE (image_id, apps_key)
);

-- Subnets of TENANT_SUPERNET that are in use or resting after use.
CREATE TABLE tenant_subnets (
    subnet      cidr PRIMARY KEY,
    tenant_id   bigint UNIQUE REFERENCES tenants,   -- null: resting
    released_at timestamptz,
    CHECK ((tenant_id IS NULL) = (released_at IS NOT NULL))
);
-- +goose StatementEnd

-- +goose Down
DROP TABLE tenant_subnets, templates;
