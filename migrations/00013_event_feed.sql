-- +goose Up
-- +goose StatementBegin
-- Followers of events ask for "what my last snapshot couldn't see yet": ids alone would miss a row that was numbered early and
-- committed late. xid is the transaction that wrote a row.
ALTER TABLE tenant_events ADD COLUMN xid xid8 NOT NULL DEFAULT pg_current_xact_id();
ALTER TABLE operation_events ADD COLUMN xid xid8 NOT NULL DEFAULT pg_current_xact_id();
CREATE INDEX tenant_events_xid ON tenant_events (xid);
CREATE INDEX operation_events_xid ON operation_events (xid);

-- API processes listen; the payload says whom an event concerns, "<account> <tenant>", so that only its followers look.
CREATE FUNCTION notify_tenant_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('event_feed', t.account_id || ' ' || t.id)
    FROM (SELECT DISTINCT tenant_id FROM fresh) AS e JOIN tenants t ON t.id = e.tenant_id;
    RETURN NULL;
END $$;
CREATE TRIGGER tenant_events_notify AFTER INSERT ON tenant_events REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION notify_tenant_events();

CREATE FUNCTION notify_operation_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('event_feed', t.account_id || ' ' || t.id)
    FROM (SELECT DISTINCT operation_id FROM fresh) AS e
    JOIN operations o ON o.id = e.operation_id AND o.subject ~ '^tenant/[0-9]{1,18}$'
    JOIN tenants t ON t.id = substr(o.subject, 8)::bigint;
    RETURN NULL;
END $$;
CREATE TRIGGER operation_events_notify AFTER INSERT ON operation_events REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION notify_operation_events();

-- A session that was ended ends its streams, too: "session <id>".
CREATE FUNCTION notify_session_ended() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('event_feed', 'session ' || NEW.id);
    RETURN NULL;
END $$;
CREATE TRIGGER sessions_notify_ended AFTER UPDATE OF revoked_at ON sessions FOR EACH ROW
    WHEN (OLD.revoked_at IS NULL AND NEW.revoked_at IS NOT NULL) EXECUTE FUNCTION notify_session_ended();

-- What a browser shows in a URL instead of its token. Using one deletes it.
CREATE TABLE event_tickets (
    ticket_hash bytea PRIMARY KEY,           -- SHA-256 of the ticket
    account_id  bigint NOT NULL REFERENCES accounts ON DELETE CASCADE,
    session_id  uuid NOT NULL REFERENCES sessions ON DELETE CASCADE,
    expires_at  timestamptz NOT NULL
);
CREATE INDEX event_tickets_session ON event_tickets (session_id);
CREATE INDEX event_tickets_expires ON event_tickets (expires_at);
-- +goose StatementEnd

-- +goose Down
DROP TABLE event_tickets;
DROP TRIGGER sessions_notify_ended ON sessions;
DROP TRIGGER operation_events_notify ON operation_events;
DROP TRIGGER tenant_events_notify ON tenant_events;
DROP FUNCTION notify_session_ended, notify_operation_events, notify_tenant_events;
ALTER TABLE operation_events DROP COLUMN xid;
ALTER TABLE tenant_events DROP COLUMN xid;
