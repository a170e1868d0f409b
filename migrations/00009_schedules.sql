-- +goose Up
-- +goose StatementBegin
-- What is done again and again, by whichever worker leads. The code brings the rows; admins may change when they run.
CREATE TABLE schedules (
    name             text PRIMARY KEY,
    description      text NOT NULL,
    cron             text NOT NULL,
    default_cron     text NOT NULL,               -- as the code has it; cron follows unless an admin changed it
    jitter_ms        integer NOT NULL DEFAULT 0,
    enabled          boolean NOT NULL DEFAULT true,
    next_run         timestamptz NOT NULL,
    requested_at     timestamptz,                 -- somebody wants it to run now
    run_token        bigint NOT NULL DEFAULT 0,   -- one more with each run; only its holder may write how that ended
    running_by       text,                        -- the leadership that runs it; another leader knows by it that the run was cut short
    running_since    timestamptz,
    last_run         timestamptz,                 -- when the last run that ended began
    last_status      text CHECK (last_status IN ('ok', 'failed')),
    last_error       text,
    last_result      jsonb,
    last_duration_ms integer,
    updated_at       timestamptz NOT NULL DEFAULT now()
);

-- From the first call that the payment gateway didn't answer to the next one that it did: the time isn't the customers' lateness.
CREATE TABLE gateway_outages (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    began_at timestamptz NOT NULL,
    ended_at timestamptz,
    CONSTRAINT gateway_outages_order CHECK (ended_at >= began_at)
);
CREATE UNIQUE INDEX gateway_outages_open ON gateway_outages ((true)) WHERE ended_at IS NULL;
CREATE INDEX gateway_outages_ended ON gateway_outages (ended_at);
-- +goose StatementEnd

-- +goose Down
DROP TABLE gateway_outages, schedules;
