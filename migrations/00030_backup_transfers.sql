-- +goose Up
-- What customers bring along is a backup of a kind of its own.
ALTER TABLE backups DROP CONSTRAINT backups_kind_check;
ALTER TABLE backups ADD CONSTRAINT backups_kind_check CHECK (kind IN ('daily', 'hourly', 'manual', 'safety', 'final', 'imported'));

-- Links that a backup is downloaded by without a token: only what they hash to is kept.
CREATE TABLE backup_links (
    link_hash   bytea PRIMARY KEY CHECK (octet_length(link_hash) = 32),
    backup_id   bigint NOT NULL REFERENCES backups ON DELETE CASCADE,
    account_id  bigint NOT NULL REFERENCES accounts ON DELETE CASCADE,   -- who asked for it
    uses_left   integer NOT NULL CHECK (uses_left >= 0),
    expires_at  timestamptz NOT NULL
);
CREATE INDEX backup_links_expired ON backup_links (expires_at);
CREATE INDEX backup_links_backup ON backup_links (backup_id);
CREATE INDEX backup_links_account ON backup_links (account_id);

-- Uploads under way: their objects are in the store before there is a backup that they belong to.
CREATE TABLE backup_uploads (
    key_prefix  text PRIMARY KEY CHECK (key_prefix ~ '/$'),
    tenant_id   bigint NOT NULL REFERENCES tenants,
    begun_at    timestamptz NOT NULL
);
CREATE INDEX backup_uploads_begun ON backup_uploads (begun_at);

-- +goose Down
DROP TABLE backup_uploads, backup_links;
DELETE FROM backups WHERE kind = 'imported';
ALTER TABLE backups DROP CONSTRAINT backups_kind_check;
ALTER TABLE backups ADD CONSTRAINT backups_kind_check CHECK (kind IN ('daily', 'hourly', 'manual', 'safety', 'final'));
