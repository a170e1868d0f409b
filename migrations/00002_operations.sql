-- +goose Up
-- +goose StatementBegin
CREATE TABLE operations (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind            text NOT NULL,
    subject         text NOT NULL,                -- "tenant/42"
    state           text NOT NULL CHECK (state IN ('running', 'unwinding', 'held', 'done', 'abandoned')),
    step            text NOT NULL DEFAULT '',     -- the step being done, or done last
    step_index      integer NOT NULL DEFAULT 0,
    input           jsonb NOT NULL DEFAULT '{}',
    data            jsonb NOT NULL DEFAULT '{}',  -- what steps hand on; never a secret
    attempt         integer NOT NULL DEFAULT 0,   -- of the present step
    token           bigint NOT NULL DEFAULT 0,    -- fencing: each attempt takes a fresh one
    paused          boolean NOT NULL DEFAULT false, -- snoozed or interrupted: the next start goes on with this attempt
    unwinding       boolean NOT NULL DEFAULT false, -- so that a held operation, tried again, goes on in the right direction
    error           text,                         -- of the last attempt, safe to show to the owner
    error_detail    text,                         -- the same for admins and logs
    step_started_at timestamptz NOT NULL DEFAULT now(),
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    finished_at     timestamptz,
    CONSTRAINT operations_finished CHECK ((finished_at IS NOT NULL) = (state IN ('done', 'abandoned')))
);
CREATE UNIQUE INDEX operations_live ON operations (subject) WHERE finished_at IS NULL;
CREATE INDEX operations_subject ON operations (subject, id DESC);
CREATE INDEX operations_state ON operations (state) WHERE finished_at IS NULL;

CREATE TABLE operation_events (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    operation_id bigint NOT NULL REFERENCES operations ON DELETE CASCADE,
    at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    step         text NOT NULL,
    event        text NOT NULL CHECK (event IN ('started', 'finished', 'retry', 'snoozed', 'held', 'unwinding', 'undone', 'note', 'done', 'abandoned', 'resumed')),
    attempt      integer NOT NULL,
    message      text NOT NULL DEFAULT ''
);
CREATE INDEX operation_events_operation ON operation_events (operation_id, id);
-- +goose StatementEnd

-- +goose Down
DROP TABLE operation_events, operations;
