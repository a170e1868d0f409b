-- +goose Up
-- +goose StatementBegin
ALTER TABLE payments
    ADD COLUMN refunded_kobo bigint NOT NULL DEFAULT 0 CHECK (refunded_kobo >= 0),   -- what went back so far, by refunds and lost disputes
    ADD COLUMN received_kobo bigint CHECK (received_kobo > 0),                        -- of one that is parked: what was paid, which isn't what was asked for
    ADD COLUMN reconciled_at timestamptz;                                             -- when the gateway's list had it last
CREATE INDEX payments_unlisted ON payments (mode, id) WHERE status IN ('success', 'refunded') OR review IS NOT NULL;

-- What becomes of money that was of no use for its client.
ALTER TABLE credits
    ADD COLUMN resolution  text CHECK (resolution IN ('refunded', 'kept')),           -- null: somebody has to decide
    ADD COLUMN resolved_at timestamptz,
    ADD COLUMN resolved_by text,
    ADD COLUMN note        text,
    ADD CONSTRAINT credits_resolved CHECK ((resolution IS NULL) = (resolved_at IS NULL));

-- Money that is given back. Ours are written before the gateway hears of them; the note is how they are found there.
CREATE TABLE refunds (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    payment_id     bigint NOT NULL REFERENCES payments,
    amount_kobo    bigint NOT NULL CHECK (amount_kobo > 0),
    currency       text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    state          text NOT NULL CHECK (state IN ('requested', 'pending', 'needs_attention', 'processed', 'failed')),
    reason         text NOT NULL CHECK (length(reason) BETWEEN 1 AND 500),
    requested_by   text,                      -- null: made at the gateway's dashboard
    note           text NOT NULL CONSTRAINT refunds_note UNIQUE,
    gateway_id     bigint,
    gateway_status text NOT NULL DEFAULT '',
    error          text,
    sends          integer NOT NULL DEFAULT 0,
    sent_at        timestamptz,               -- when it was sent last: until it is found there, or isn't for long enough, it is not sent again
    created_at     timestamptz NOT NULL,
    accepted_at    timestamptz,               -- when we learnt that the gateway has it
    completed_at   timestamptz,
    next_check_at  timestamptz,
    CONSTRAINT refunds_gateway UNIQUE (payment_id, gateway_id),
    CHECK ((state IN ('processed', 'failed')) = (completed_at IS NOT NULL))
);
CREATE INDEX refunds_payment ON refunds (payment_id);
CREATE INDEX refunds_due ON refunds (next_check_at) WHERE next_check_at IS NOT NULL;
-- One whose fate is unknown at a time, so that what is found at the gateway can only be that one; and none is made twice by a repeat.
CREATE UNIQUE INDEX refunds_one_requested ON refunds (payment_id) WHERE state = 'requested';
CREATE UNIQUE INDEX refunds_not_repeated ON refunds (payment_id, amount_kobo, reason) WHERE state <> 'failed' AND requested_by IS NOT NULL;

-- What customers' banks claim back, as the gateway tells it.
CREATE TABLE disputes (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    gateway_id   bigint NOT NULL,
    payment_id   bigint NOT NULL REFERENCES payments,
    status       text NOT NULL,
    resolution   text NOT NULL DEFAULT '',
    category     text NOT NULL DEFAULT '',
    amount_kobo  bigint NOT NULL CHECK (amount_kobo > 0),   -- what the bank wants; once lost, what it got
    claimed_kobo bigint NOT NULL CHECK (claimed_kobo > 0),  -- as it was first told: what the books hold as claimed
    currency     text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    due_at       timestamptz,                 -- silence until then loses it
    outcome      text NOT NULL DEFAULT 'open' CHECK (outcome IN ('open', 'won', 'lost')),
    opened_at    timestamptz NOT NULL,
    resolved_at  timestamptz,
    updated_at   timestamptz NOT NULL,
    CONSTRAINT disputes_gateway UNIQUE (payment_id, gateway_id),
    CHECK ((outcome = 'open') = (resolved_at IS NULL))
);
CREATE INDEX disputes_open ON disputes (due_at) WHERE outcome = 'open';

CREATE INDEX payment_events_bodies ON payment_events (received_at) WHERE body <> '';
CREATE INDEX payment_events_received ON payment_events (received_at, id);

-- Comparisons of what the gateway lists with what we have.
CREATE TABLE reconciliation_runs (
    id                 bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    mode               text NOT NULL CHECK (mode IN ('test', 'live')),
    from_at            timestamptz NOT NULL,
    to_at              timestamptz NOT NULL,
    started_at         timestamptz NOT NULL,
    finished_at        timestamptz,
    error              text,
    transactions       bigint NOT NULL DEFAULT 0,   -- at the gateway
    payments           bigint NOT NULL DEFAULT 0,   -- of ours that the gateway's list lacked
    disputes           bigint NOT NULL DEFAULT 0,
    healed             bigint NOT NULL DEFAULT 0,
    differences        bigint NOT NULL DEFAULT 0    -- unexplained at its end
);
CREATE INDEX reconciliation_runs_mode ON reconciliation_runs (mode, id DESC);

CREATE TABLE reconciliation_differences (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    mode         text NOT NULL CHECK (mode IN ('test', 'live')),
    kind         text NOT NULL CHECK (kind ~ '^[a-z_]{1,40}$'),
    reference    text NOT NULL,
    payment_id   bigint REFERENCES payments,
    ours         text NOT NULL,
    theirs       text NOT NULL,
    first_run    bigint NOT NULL REFERENCES reconciliation_runs,
    last_run     bigint NOT NULL REFERENCES reconciliation_runs,
    first_seen   timestamptz NOT NULL,
    last_seen    timestamptz NOT NULL,
    resolved_at  timestamptz,
    resolution   text CHECK (resolution IN ('gone', 'explained')),
    resolved_by  text,
    note         text,
    CHECK ((resolution IS NULL) = (resolved_at IS NULL))
);
-- One row for a difference, however often it is seen; what was explained stays so as long as both sides say the same.
CREATE UNIQUE INDEX reconciliation_differences_current ON reconciliation_differences (mode, kind, reference)
    WHERE resolution IS DISTINCT FROM 'gone';
CREATE INDEX reconciliation_differences_open ON reconciliation_differences (id DESC) WHERE resolved_at IS NULL;
-- +goose StatementEnd

-- +goose Down
DROP TABLE reconciliation_differences, reconciliation_runs, disputes, refunds;
DROP INDEX payment_events_bodies, payment_events_received, payments_unlisted;
ALTER TABLE credits DROP CONSTRAINT credits_resolved, DROP COLUMN resolution, DROP COLUMN resolved_at, DROP COLUMN resolved_by, DROP COLUMN note;
ALTER TABLE payments DROP COLUMN refunded_kobo, DROP COLUMN received_kobo, DROP COLUMN reconciled_at;
