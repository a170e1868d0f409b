-- +goose Up
-- A client may be suspended for two things at once: suspended_by is the one that shows, these are the reasons that stand behind it.
ALTER TABLE tenants
    ADD COLUMN also_unpaid     text CHECK (length(also_unpaid) BETWEEN 1 AND 500),
    ADD COLUMN also_over_quota text CHECK (length(also_over_quota) BETWEEN 1 AND 500),
    ADD CONSTRAINT tenants_also_suspended CHECK (
        (also_unpaid IS NULL OR suspended_by IN ('admin', 'quota')) IS TRUE AND (also_over_quota IS NULL OR suspended_by IN ('admin', 'billing')) IS TRUE);

-- +goose Down
ALTER TABLE tenants DROP COLUMN also_over_quota, DROP COLUMN also_unpaid;
