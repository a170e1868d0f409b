-- +goose Up
-- What was kept of tenants. A row outlives its objects, and its tenant: names are used again, ids aren't, so both are kept.
CREATE TABLE backups (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id        bigint NOT NULL REFERENCES tenants,
    tenant_name      text NOT NULL,                    -- as it was called then
    kind             text NOT NULL CHECK (kind IN ('daily', 'hourly', 'manual', 'safety', 'final')),
    state            text NOT NULL CHECK (state IN ('queued', 'running', 'done', 'failed', 'deleting', 'deleted')),
    key_prefix       text NOT NULL CONSTRAINT backups_key_prefix UNIQUE CHECK (key_prefix ~ '/$'),
    requested_by     text NOT NULL,                    -- as the activity log names them
    operation_id     bigint,                           -- that makes it, or did
    stored_bytes     bigint NOT NULL DEFAULT 0 CHECK (stored_bytes >= 0),     -- of its objects, compressed and encrypted
    database_bytes   bigint NOT NULL DEFAULT 0 CHECK (database_bytes >= 0),   -- of the dump before that
    filestore_bytes  bigint NOT NULL DEFAULT 0 CHECK (filestore_bytes >= 0),
    filestore_files  bigint NOT NULL DEFAULT 0 CHECK (filestore_files >= 0),
    manifest         jsonb,                            -- of one that was stored; archive.Manifest
    kept             boolean NOT NULL DEFAULT false,   -- never pruned, until somebody lets go
    weekly           boolean NOT NULL DEFAULT false,   -- marks of a daily
    monthly          boolean NOT NULL DEFAULT false,
    error            text CHECK (length(error) <= 500),-- safe to show; of one that failed, or whose last verification did
    created_at       timestamptz NOT NULL,
    started_at       timestamptz,
    finished_at      timestamptz,                      -- done or failed
    verified_at      timestamptz,                      -- read back whole last, and found to be what was written
    proven_at        timestamptz,                      -- restored last, and Odoo answered on it
    broken_at        timestamptz,                      -- a later look found it damaged: it isn't counted any more
    deleted_at       timestamptz,
    CONSTRAINT backups_done CHECK (state <> 'done' OR (manifest IS NOT NULL AND verified_at IS NOT NULL)),
    CONSTRAINT backups_finished CHECK (CASE WHEN state IN ('queued', 'running') THEN finished_at IS NULL ELSE finished_at IS NOT NULL END),
    CONSTRAINT backups_deleted CHECK ((state = 'deleted') = (deleted_at IS NOT NULL)),
    CONSTRAINT backups_marks CHECK (kind = 'daily' OR NOT (weekly OR monthly))
);
-- A second at once is refused.
CREATE UNIQUE INDEX backups_one_at_a_time ON backups (tenant_id) WHERE state IN ('queued', 'running');
CREATE INDEX backups_tenant ON backups (tenant_id, id DESC) WHERE state <> 'deleted';
CREATE INDEX backups_all ON backups (id DESC) WHERE state <> 'deleted';
CREATE INDEX backups_good ON backups (tenant_id, kind, finished_at DESC) WHERE state = 'done' AND broken_at IS NULL;

-- +goose Down
DROP TABLE backups;
