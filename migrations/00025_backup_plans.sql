-- +goose Up
-- How many daily backups of a client stay, as such and as those of their week and month. Operators change it per plan.
ALTER TABLE plans
    ADD COLUMN backups_daily   integer NOT NULL DEFAULT 7 CHECK (backups_daily BETWEEN 1 AND 366),
    ADD COLUMN backups_weekly  integer NOT NULL DEFAULT 4 CHECK (backups_weekly BETWEEN 0 AND 260),
    ADD COLUMN backups_monthly integer NOT NULL DEFAULT 3 CHECK (backups_monthly BETWEEN 0 AND 120);

-- When one of a kind was asked for last, whatever came of it.
CREATE INDEX backups_asked ON backups (tenant_id, kind, created_at DESC);
-- What may be forgotten.
CREATE INDEX backups_gone ON backups (deleted_at) WHERE state = 'deleted';

-- +goose Down
DROP INDEX backups_gone, backups_asked;
ALTER TABLE plans DROP COLUMN backups_daily, DROP COLUMN backups_weekly, DROP COLUMN backups_monthly;
