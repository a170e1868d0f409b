-- +goose Up
-- Dumps of backups in which Odoo's own means have switched off all that acts on the world, and from which credentials are erased. Each is
-- one more object below its backup's prefix, kept for a while and made again when somebody asks for it.
CREATE TABLE backup_neutral_dumps (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    backup_id    bigint NOT NULL REFERENCES backups ON DELETE CASCADE,
    tenant_id    bigint NOT NULL REFERENCES tenants,
    state        text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'ready', 'failed')),
    requested_by text NOT NULL,                               -- as the activity log names them
    operation_id bigint,                                      -- that makes it, or did
    slot         smallint CHECK (slot BETWEEN 0 AND 2),       -- which of the sandboxes' subnets; null: it waits for one
    part         jsonb,                                       -- archive.Part, with the object's name below the prefix
    error        text CHECK (length(error) <= 500),           -- of the last attempt, safe to show
    created_at   timestamptz NOT NULL,
    finished_at  timestamptz,
    expires_at   timestamptz,                                 -- no link is given for it any more
    removed_at   timestamptz,                                 -- nothing of it is in the store any more
    CONSTRAINT backup_neutral_dumps_finished CHECK ((state = 'running') = (finished_at IS NULL)),
    CONSTRAINT backup_neutral_dumps_ready CHECK ((state = 'ready') = (part IS NOT NULL AND expires_at IS NOT NULL)),
    CONSTRAINT backup_neutral_dumps_removed CHECK (removed_at IS NULL OR state <> 'running')
);
-- A second one of a client at once is refused, and another one in its subnet.
CREATE UNIQUE INDEX backup_neutral_dumps_one_at_a_time ON backup_neutral_dumps (tenant_id) WHERE state = 'running';
CREATE UNIQUE INDEX backup_neutral_dumps_slot ON backup_neutral_dumps (slot) WHERE state = 'running';
CREATE INDEX backup_neutral_dumps_backup ON backup_neutral_dumps (backup_id, id DESC);
CREATE INDEX backup_neutral_dumps_tenant ON backup_neutral_dumps (tenant_id, created_at DESC);
CREATE INDEX backup_neutral_dumps_stored ON backup_neutral_dumps (backup_id) WHERE state <> 'running' AND removed_at IS NULL;

-- A link leads to the backup as it is, or with such a dump in the place of its own.
ALTER TABLE backup_links ADD neutral_dump_id bigint REFERENCES backup_neutral_dumps ON DELETE CASCADE;
CREATE INDEX backup_links_neutral_dump ON backup_links (neutral_dump_id) WHERE neutral_dump_id IS NOT NULL;

-- +goose Down
DROP INDEX backup_links_neutral_dump;
DELETE FROM backup_links WHERE neutral_dump_id IS NOT NULL;
ALTER TABLE backup_links DROP neutral_dump_id;
DROP TABLE backup_neutral_dumps;
