-- +goose Up
-- +goose StatementBegin
-- An operation may wait for the one before it on the same subject: one runs, one is queued behind it.
ALTER TABLE operations
    DROP CONSTRAINT operations_state_check,
    ADD CONSTRAINT operations_state_check CHECK (state IN ('queued', 'running', 'unwinding', 'held', 'done', 'abandoned'));
DROP INDEX operations_live;
CREATE UNIQUE INDEX operations_live ON operations (subject) WHERE finished_at IS NULL AND state <> 'queued';
CREATE UNIQUE INDEX operations_queued ON operations (subject) WHERE state = 'queued';

ALTER TABLE operation_events
    DROP CONSTRAINT operation_events_event_check,
    ADD CONSTRAINT operation_events_event_check CHECK (event IN
        ('queued', 'started', 'finished', 'retry', 'snoozed', 'held', 'unwinding', 'undone', 'note', 'done', 'abandoned', 'resumed'));

CREATE TABLE alerts (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind        text NOT NULL,                    -- "operation.held"
    subject     text NOT NULL,                    -- "tenant/42", "host"
    message     text NOT NULL,                    -- for admins; never a secret
    raised_at   timestamptz NOT NULL DEFAULT now(),
    last_at     timestamptz NOT NULL DEFAULT now(), -- raised again, the last time
    count       integer NOT NULL DEFAULT 1,
    resolved_at timestamptz
);
CREATE UNIQUE INDEX alerts_open ON alerts (kind, subject) WHERE resolved_at IS NULL;
CREATE INDEX alerts_resolved ON alerts (id DESC) WHERE resolved_at IS NOT NULL;
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
DROP TABLE alerts;
DELETE FROM operations WHERE state = 'queued';
DELETE FROM operation_events WHERE event = 'queued';
ALTER TABLE operation_events
    DROP CONSTRAINT operation_events_event_check,
    ADD CONSTRAINT operation_events_event_check CHECK (event IN
        ('started', 'finished', 'retry', 'snoozed', 'held', 'unwinding', 'undone', 'note', 'done', 'abandoned', 'resumed'));
DROP INDEX operations_queued, operations_live;
CREATE UNIQUE INDEX operations_live ON operations (subject) WHERE finished_at IS NULL;
ALTER TABLE operations
    DROP CONSTRAINT operations_state_check,
    ADD CONSTRAINT operations_state_check CHECK (state IN ('running', 'unwinding', 'held', 'done', 'abandoned'));
-- +goose StatementEnd
