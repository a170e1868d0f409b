-- +goose Up
-- +goose StatementBegin
-- The activity log's hash chain: a job seals the rows that have come since, batch by batch. See internal/audit/chain.go.
CREATE TABLE audit_batches (
    id            bigint PRIMARY KEY CHECK (id > 0),   -- consecutive from 1: a batch that is gone leaves a gap
    first_id      bigint NOT NULL,
    last_id       bigint NOT NULL CHECK (last_id >= first_id),
    row_count     integer NOT NULL CHECK (row_count > 0),
    manifest      bytea NOT NULL,                      -- per row: its id (8 bytes) and digest (32), so that a difference can be named
    previous_hash bytea NOT NULL CHECK (length(previous_hash) = 32),
    hash          bytea NOT NULL CHECK (length(hash) = 32),
    seal          bytea NOT NULL,                      -- the hash sealed with DATA_KEY: only we can have written it
    sealed_at     timestamptz NOT NULL,
    CHECK (length(manifest) = 40 * row_count)
);
CREATE TRIGGER audit_batches_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_batches
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE INDEX activity_log_action ON activity_log (action text_pattern_ops, id);
CREATE INDEX activity_log_at ON activity_log USING brin (at);

-- A refused log-in is nobody's action, and anybody can cause any number: it isn't kept for ever, as the log is.
CREATE TABLE login_failures (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL,
    account_id bigint REFERENCES accounts ON DELETE CASCADE,   -- null: no such account
    ip         inet
);
CREATE INDEX login_failures_at ON login_failures (at);

-- What was answered to a request that bore an Idempotency-Key.
CREATE TABLE idempotency_keys (
    account_id  bigint NOT NULL REFERENCES accounts ON DELETE CASCADE,
    route       text NOT NULL,                 -- "POST /api/clients/{name}/suspend"
    key         text NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    fingerprint bytea NOT NULL,                -- SHA-256 of the request; its body isn't kept
    claim       bigint NOT NULL,               -- fencing: each claim takes a fresh one
    lease_until timestamptz NOT NULL,          -- a request that hasn't answered by then has died
    status      integer,                       -- null: in progress
    header      jsonb,
    body        bytea,
    expires_at  timestamptz NOT NULL,
    PRIMARY KEY (account_id, route, key),
    CHECK ((status IS NULL) = (body IS NULL))
);
CREATE INDEX idempotency_keys_expires ON idempotency_keys (expires_at);
-- +goose StatementEnd

-- +goose Down
DROP TABLE idempotency_keys, login_failures, audit_batches;
DROP INDEX activity_log_action, activity_log_at;
