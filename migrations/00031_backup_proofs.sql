-- +goose Up
-- What came of restoring a backup for a trial: that Odoo answered on it is proven_at, that it didn't is here until it does.
ALTER TABLE backups
    ADD COLUMN proof_failed_at timestamptz,
    ADD COLUMN proof_error     text CHECK (length(proof_error) <= 500),   -- safe to show
    ADD CONSTRAINT backups_proof_failed CHECK ((proof_failed_at IS NULL) = (proof_error IS NULL));

-- Each trial. One that was given up says nothing about its backup: the store, the server or the engine was away, or the client went.
CREATE TABLE backup_proofs (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    backup_id    bigint NOT NULL REFERENCES backups ON DELETE CASCADE,
    tenant_id    bigint NOT NULL REFERENCES tenants,
    state        text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'proven', 'failed', 'given_up')),
    requested_by text NOT NULL,                    -- as the activity log names them
    slot         smallint NOT NULL CHECK (slot BETWEEN 0 AND 2), -- which of the subnets that are set apart for it
    error        text CHECK (length(error) <= 500),-- of the last attempt, safe to show
    at_fault     boolean NOT NULL DEFAULT false,   -- that error was the backup's
    created_at   timestamptz NOT NULL,
    finished_at  timestamptz,
    CONSTRAINT backup_proofs_finished CHECK ((state = 'running') = (finished_at IS NULL))
);
-- A second one of a client at once is refused, and another one in its subnet.
CREATE UNIQUE INDEX backup_proofs_slot ON backup_proofs (slot) WHERE state = 'running';
CREATE UNIQUE INDEX backup_proofs_one_at_a_time ON backup_proofs (tenant_id) WHERE state = 'running';
CREATE INDEX backup_proofs_tenant ON backup_proofs (tenant_id, id DESC);
CREATE INDEX backup_proofs_backup ON backup_proofs (backup_id, id DESC);

-- +goose Down
DROP TABLE backup_proofs;
ALTER TABLE backups DROP CONSTRAINT backups_proof_failed, DROP COLUMN proof_failed_at, DROP COLUMN proof_error;
