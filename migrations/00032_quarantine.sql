-- +goose Up
-- A client whose data is a copy of another's starts in quarantine: it runs no scheduled jobs and reaches nobody, until its owner decides what it is to be.
ALTER TABLE tenants
    ADD quarantined_at   timestamptz,
    ADD quarantined_by   text CHECK (length(quarantined_by) <= 254),          -- as the activity log names them
    ADD quarantine_cause text CHECK (length(quarantine_cause) <= 500),        -- for the owner
    ADD neutralised_at   timestamptz,                                         -- how the last quarantine ended, if so
    ADD copy_of          bigint REFERENCES backups,                           -- what it is to be a copy of, until it is
    ADD CONSTRAINT tenants_quarantine CHECK ((quarantined_at IS NULL) = (quarantined_by IS NULL)
        AND (quarantined_at IS NULL) = (quarantine_cause IS NULL)
        AND (quarantined_at IS NULL OR neutralised_at IS NULL)),
    ADD CONSTRAINT tenants_quarantine_of_what CHECK (activated_at IS NOT NULL OR (quarantined_at IS NULL AND neutralised_at IS NULL));
CREATE INDEX tenants_copy_of ON tenants (copy_of) WHERE copy_of IS NOT NULL;

-- What was taken of a client in quarantine leads back there, wherever it is restored.
ALTER TABLE backups ADD quarantined boolean NOT NULL DEFAULT false;

-- +goose Down
ALTER TABLE backups DROP quarantined;
DROP INDEX tenants_copy_of;
ALTER TABLE tenants DROP CONSTRAINT tenants_quarantine_of_what, DROP CONSTRAINT tenants_quarantine,
    DROP copy_of, DROP neutralised_at, DROP quarantine_cause, DROP quarantined_by, DROP quarantined_at;
