-- +goose Up
-- Since when backups can be proven at all: a client that had backups before isn't late by their age. One row.
CREATE TABLE backup_proving (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    since    timestamptz NOT NULL
);
INSERT INTO backup_proving (since) SELECT coalesce(min(created_at), now()) FROM backup_proofs;

-- +goose Down
DROP TABLE backup_proving;
