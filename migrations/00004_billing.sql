-- +goose Up
-- +goose StatementBegin
CREATE TABLE payments (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id          bigint NOT NULL REFERENCES accounts,
    tenant_id           bigint NOT NULL REFERENCES tenants,
    plan_id             text NOT NULL REFERENCES plans,
    billing_cycle       text NOT NULL CHECK (billing_cycle IN ('monthly', 'annual')),
    amount_kobo         bigint NOT NULL CHECK (amount_kobo > 0),
    currency            text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    mode                text NOT NULL CHECK (mode IN ('test', 'live')),
    email               text NOT NULL,
    reference           text NOT NULL CONSTRAINT payments_reference_taken UNIQUE,
    authorization_url   text,
    status              text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'success', 'failed', 'refunded')),
    purpose             text NOT NULL DEFAULT 'activation' CHECK (purpose IN ('activation', 'credit')),
    review              text,                  -- why a person has to look: "amount differs", …
    gateway_status      text NOT NULL DEFAULT '',
    gateway_id          bigint,
    fees_kobo           bigint,
    channel             text,
    created_at          timestamptz NOT NULL DEFAULT now(),
    paid_at             timestamptz,           -- as the gateway says
    completed_at        timestamptz,           -- when we learnt of it
    next_check_at       timestamptz,           -- the poller looks again; null: no more
    last_checked_at     timestamptz,
    checks              integer NOT NULL DEFAULT 0   -- how often the poller has looked
);
CREATE INDEX payments_account ON payments (account_id, id DESC);
CREATE INDEX payments_tenant ON payments (tenant_id, id DESC);
CREATE INDEX payments_due ON payments (next_check_at) WHERE next_check_at IS NOT NULL;
CREATE INDEX payments_review ON payments (id) WHERE review IS NOT NULL;
-- At most one payment activates a client; any other paid one is a credit.
CREATE UNIQUE INDEX payments_activation ON payments (tenant_id) WHERE status IN ('success', 'refunded') AND purpose = 'activation';

CREATE TABLE credits (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id  bigint NOT NULL REFERENCES accounts,
    payment_id  bigint NOT NULL UNIQUE REFERENCES payments,
    amount_kobo bigint NOT NULL CHECK (amount_kobo > 0),
    currency    text NOT NULL,
    reason      text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE payment_events (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dedupe_key   text NOT NULL CONSTRAINT payment_events_seen UNIQUE,
    event        text NOT NULL,
    reference    text,
    body         bytea NOT NULL,               -- as received
    received_at  timestamptz NOT NULL DEFAULT now(),
    applied_at   timestamptz,
    outcome      text
);
CREATE INDEX payment_events_reference ON payment_events (reference);
-- +goose StatementEnd

-- +goose Down
DROP TABLE payment_events, credits, payments;
