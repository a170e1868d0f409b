-- +goose Up
-- +goose StatementBegin
-- What the edges show to browsers, one row per certificate that is wanted: "*.<base domain>" for all of the platform's addresses, else a
-- customer's domain. A row begins with the first try, so it also says why there is no certificate yet.
CREATE TABLE certificates (
    host          text PRIMARY KEY CHECK (host = lower(host) AND length(host) BETWEEN 1 AND 253),
    names         text[] NOT NULL DEFAULT '{}',      -- that the certificate is good for
    chain         text,                              -- PEM, leaf first
    private_key   bytea,                             -- PEM, sealed with DATA_KEY
    issuer        text,                              -- the CA's directory
    not_before    timestamptz,
    not_after     timestamptz,
    renew_at      timestamptz,                       -- from then on it is renewed
    version       bigint NOT NULL DEFAULT 0,         -- grows with each new certificate, over all rows; 0: there was none yet
    failures      integer NOT NULL DEFAULT 0 CHECK (failures >= 0), -- since the last success
    last_error    text CHECK (length(last_error) <= 2000),
    last_error_at timestamptz,
    retry_at      timestamptz,                       -- the CA isn't asked again before
    updated_at    timestamptz NOT NULL,
    CHECK (num_nulls(chain, private_key, issuer, not_before, not_after, renew_at) IN (0, 6)),
    CHECK ((chain IS NULL) = (version = 0)),
    CHECK (not_before < not_after AND renew_at <= not_after),
    CHECK ((last_error IS NULL) = (last_error_at IS NULL)),
    CHECK ((failures = 0) = (last_error IS NULL))
);
CREATE SEQUENCE certificates_version OWNED BY certificates.version;
CREATE INDEX certificates_by_version ON certificates (version);

CREATE FUNCTION notify_certificates() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('edge_certificates', NEW.host);
    RETURN NULL;
END $$;
CREATE TRIGGER certificates_notify AFTER INSERT OR UPDATE OF version ON certificates
    FOR EACH ROW WHEN (NEW.version > 0) EXECUTE FUNCTION notify_certificates();

-- What the ACME client keeps, under its own names: the account with its key, and the tokens of challenges under way. All of it sealed.
CREATE TABLE acme_files (
    key         text PRIMARY KEY CHECK (length(key) BETWEEN 1 AND 1000),
    value       bytea NOT NULL,
    size        bigint NOT NULL CHECK (size >= 0),   -- before it was sealed
    modified_at timestamptz NOT NULL
);
CREATE INDEX acme_files_prefix ON acme_files (key text_pattern_ops);

-- What one edge does for all of them. A lease, not a session's lock: its holder may lose the connection, and a lock would keep one.
CREATE TABLE acme_locks (
    name       text PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 1000),
    holder     text NOT NULL,
    expires_at timestamptz NOT NULL
);
-- +goose StatementEnd

-- +goose Down
DROP TABLE acme_locks, acme_files, certificates;
DROP FUNCTION notify_certificates;
