-- +goose Up
-- +goose StatementBegin
-- The last look at each host that runs tenants, by whichever worker took it. Sizes are in MiB.
CREATE TABLE host_samples (
    engine_id          text PRIMARY KEY,           -- the engine's own id, so that two workers on one engine aren't two hosts
    host               text NOT NULL,
    sampled_at         timestamptz NOT NULL,
    engine_version     text NOT NULL,
    cores              integer NOT NULL,
    cpu_percent        double precision NOT NULL,  -- of all cores
    memory_mb          integer NOT NULL,
    memory_used_mb     integer NOT NULL,           -- 0: the worker isn't on that host and can't tell; so is the disk
    disk_mb            integer NOT NULL,
    disk_used_mb       integer NOT NULL,
    containers_running integer NOT NULL,
    max_connections    integer NOT NULL,           -- of the tenants' database server, less what is reserved
    connections        integer NOT NULL,
    subnets            integer NOT NULL,           -- that tenants can have
    subnets_used       integer NOT NULL            -- in use or resting
);

-- What a tenant has on disk, and since when that is too much.
CREATE TABLE tenant_disks (
    tenant_id       bigint PRIMARY KEY REFERENCES tenants,
    database_bytes  bigint NOT NULL,
    filestore_bytes bigint NOT NULL,
    measured_at     timestamptz NOT NULL,
    told_percent    integer NOT NULL DEFAULT 0,    -- the crossing that the owner was told of last: 0, 80 or 100
    over_since      timestamptz                    -- above what is borne; null: not, or suspended for it
);

-- What owners are to be told. A dedupe_key is told once.
CREATE TABLE notices (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id bigint NOT NULL REFERENCES accounts,
    tenant_id  bigint REFERENCES tenants,
    kind       text NOT NULL,                      -- "disk.warning"
    dedupe_key text NOT NULL CONSTRAINT notices_told UNIQUE,
    data       jsonb NOT NULL DEFAULT '{}',        -- what the text needs; never a secret
    created_at timestamptz NOT NULL DEFAULT now(),
    sent_at    timestamptz
);
CREATE INDEX notices_account ON notices (account_id, id DESC);
CREATE INDEX notices_tenant ON notices (tenant_id, id DESC);
CREATE INDEX notices_unsent ON notices (id) WHERE sent_at IS NULL;
-- +goose StatementEnd

-- +goose Down
DROP TABLE notices, tenant_disks, host_samples;
