-- +goose Up
-- +goose StatementBegin
-- One row: the id that everything we make outside this database bears, so that two installations on one engine or one
-- PostgreSQL server never touch each other's things.
CREATE TABLE installation (
    singleton  boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    id         text NOT NULL DEFAULT substr(replace(gen_random_uuid()::text, '-', ''), 1, 12),
    created_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO installation DEFAULT VALUES;

CREATE TABLE accounts (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email         text NOT NULL CHECK (length(email) BETWEEN 3 AND 254),
    email_key     text NOT NULL CONSTRAINT accounts_email_taken UNIQUE,     -- trimmed, NFKC, case folded
    username      text NOT NULL CHECK (length(username) BETWEEN 3 AND 64),
    username_key  text NOT NULL CONSTRAINT accounts_username_taken UNIQUE,
    full_name     text CHECK (length(full_name) <= 200),
    password_hash text NOT NULL,
    role          text NOT NULL DEFAULT 'user' CHECK (role IN ('user', 'admin')),
    disabled_at   timestamptz,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now()
);

-- A session is a refresh-token family. Revoking it ends its access tokens too: each request reads it.
CREATE TABLE sessions (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    account_id bigint NOT NULL REFERENCES accounts ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    reason     text
);
CREATE INDEX sessions_account ON sessions (account_id);
CREATE INDEX sessions_expires ON sessions (expires_at);

CREATE TABLE refresh_tokens (
    token_hash bytea PRIMARY KEY,            -- SHA-256 of the token
    session_id uuid NOT NULL REFERENCES sessions ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    used_at    timestamptz
);
CREATE INDEX refresh_tokens_session ON refresh_tokens (session_id);
CREATE INDEX refresh_tokens_expires ON refresh_tokens (expires_at);

-- Shared by all replicas; losing it in a crash of the server only forgets a minute of counting.
CREATE UNLOGGED TABLE rate_limits (
    key     text PRIMARY KEY,
    free_at timestamptz NOT NULL,            -- when the key is back at its full limit
    wait    interval NOT NULL                -- the answer to the last call: zero, or how long to wait
);

CREATE TABLE activity_log (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT now(),
    account_id bigint,                       -- who; null: the system
    actor      text NOT NULL,
    tenant_id  bigint,
    action     text NOT NULL,
    ip         inet,
    detail     jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX activity_log_tenant ON activity_log (tenant_id, id);
CREATE INDEX activity_log_account ON activity_log (account_id, id);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME;
END $$;
CREATE TRIGGER activity_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON activity_log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
-- +goose StatementEnd

-- +goose Down
DROP TABLE activity_log, rate_limits, refresh_tokens, sessions, accounts, installation;
DROP FUNCTION refuse_change;
