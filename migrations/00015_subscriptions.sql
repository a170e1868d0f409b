-- +goose Up
-- +goose StatementBegin
-- Cards as the gateway saved them. The code is sealed with DATA_KEY; its context is "payment_authorizations.code/<account>/<mode>/<card>".
CREATE TABLE payment_authorizations (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id  bigint NOT NULL REFERENCES accounts,
    mode        text NOT NULL CHECK (mode IN ('test', 'live')),
    card        text NOT NULL CHECK (card <> ''),        -- the card's signature: each use may bring a new code for the same card
    email       text NOT NULL CHECK (email <> ''),       -- only with this one the gateway charges it
    code        bytea NOT NULL CHECK (length(code) > 9),
    last4       text NOT NULL DEFAULT '',
    brand       text NOT NULL DEFAULT '',
    exp_month   text NOT NULL DEFAULT '',
    exp_year    text NOT NULL DEFAULT '',
    bank        text NOT NULL DEFAULT '',
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    unusable_at timestamptz,                             -- the gateway won't charge it any more
    CONSTRAINT payment_authorizations_card UNIQUE (account_id, mode, card)
);

-- One per client that was ever paid for: what is paid until when, and how far we are in asking for the next period.
CREATE TABLE subscriptions (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id       bigint NOT NULL REFERENCES accounts,
    tenant_id        bigint NOT NULL CONSTRAINT subscriptions_tenant UNIQUE REFERENCES tenants,
    plan_id          text NOT NULL REFERENCES plans,     -- what the present period was paid for
    next_plan_id     text REFERENCES plans,              -- from the next period on; null: as it is
    billing_cycle    text NOT NULL CHECK (billing_cycle IN ('monthly', 'annual')),
    currency         text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    mode             text NOT NULL CHECK (mode IN ('test', 'live')),
    email            text NOT NULL,                      -- of whom the gateway asks for the money
    status           text NOT NULL CHECK (status IN ('active', 'past_due', 'cancelled', 'ended')),
    anchor           timestamptz NOT NULL,               -- its day of the month is that of every period's end
    period_start     timestamptz NOT NULL,
    period_end       timestamptz NOT NULL,               -- paid until; the next period begins here
    authorization_id bigint REFERENCES payment_authorizations,
    stage            integer NOT NULL DEFAULT 0 CHECK (stage >= 0),       -- attempts that were begun to be paid for the next period
    announced        integer NOT NULL DEFAULT 0 CHECK (announced >= 0),   -- those that came to nothing and that the owner was told of
    stage_at         timestamptz,                        -- from when the days to the next step count
    suspended_at     timestamptz,                        -- by us, as unpaid
    deletion_at      timestamptz,                        -- by us, as unpaid or cancelled; the tenant's row decides
    cancelled_at     timestamptz,
    ended_at         timestamptz,
    next_action_at   timestamptz,                        -- when somebody looks at it next; null: nobody
    created_at       timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL,
    CONSTRAINT subscriptions_period CHECK (period_start < period_end),
    CONSTRAINT subscriptions_announced CHECK (announced <= stage),
    CONSTRAINT subscriptions_paid_up CHECK (status <> 'active' OR stage = 0 AND suspended_at IS NULL AND deletion_at IS NULL),
    CONSTRAINT subscriptions_cancelled CHECK ((status = 'cancelled') <= (cancelled_at IS NOT NULL)),
    CONSTRAINT subscriptions_ended CHECK ((status = 'ended') = (ended_at IS NOT NULL) AND (status <> 'ended' OR next_action_at IS NULL))
);
CREATE INDEX subscriptions_account ON subscriptions (account_id, id);
CREATE INDEX subscriptions_due ON subscriptions (next_action_at) WHERE next_action_at IS NOT NULL;

ALTER TABLE payments
    ADD COLUMN subscription_id bigint REFERENCES subscriptions,
    ADD COLUMN period_start    timestamptz,              -- of a renewal: what it pays for; of an upgrade: the rest of this period
    ADD COLUMN period_end      timestamptz,
    ADD COLUMN from_plan_id    text REFERENCES plans,    -- of an upgrade
    ADD COLUMN charged         boolean NOT NULL DEFAULT false,   -- taken from a saved card, not paid by the customer at a checkout
    ADD COLUMN attempt         integer NOT NULL DEFAULT 0,
    DROP CONSTRAINT payments_purpose_check,
    ADD CONSTRAINT payments_purpose_check CHECK (purpose IN ('activation', 'credit', 'renewal', 'upgrade')),
    ADD CONSTRAINT payments_of_subscription CHECK (purpose NOT IN ('renewal', 'upgrade') OR
        subscription_id IS NOT NULL AND period_start IS NOT NULL AND period_start < period_end),
    ADD CONSTRAINT payments_from_plan CHECK ((purpose = 'upgrade') <= (from_plan_id IS NOT NULL));
CREATE INDEX payments_subscription ON payments (subscription_id, id) WHERE subscription_id IS NOT NULL;
-- Nobody pays twice for a period: a second payment is a credit.
CREATE UNIQUE INDEX payments_period ON payments (subscription_id, period_start)
    WHERE status IN ('success', 'refunded') AND purpose = 'renewal';
-- Nobody's card is charged while the outcome of another charge for the same isn't known.
CREATE UNIQUE INDEX payments_one_charge ON payments (subscription_id) WHERE status = 'pending' AND charged;

-- When the job that asks for money last ran, and the times in which it didn't: they aren't the customers' lateness.
CREATE TABLE billing_heartbeat (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    at   timestamptz NOT NULL
);
CREATE TABLE billing_gaps (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    began_at timestamptz NOT NULL,
    ended_at timestamptz NOT NULL,
    CONSTRAINT billing_gaps_order CHECK (ended_at >= began_at)
);
CREATE INDEX billing_gaps_ended ON billing_gaps (ended_at);

-- Clients that were paid for before there were subscriptions have one from now on; the time until now doesn't count against them.
INSERT INTO subscriptions (account_id, tenant_id, plan_id, billing_cycle, currency, mode, email, status, anchor, period_start, period_end,
                           next_action_at, created_at, updated_at)
SELECT p.account_id, p.tenant_id, t.plan_id, p.billing_cycle, p.currency, p.mode, p.email, 'active', since, since,
    ((since AT TIME ZONE 'UTC') + CASE p.billing_cycle WHEN 'annual' THEN interval '1 year' ELSE interval '1 month' END) AT TIME ZONE 'UTC',
    now(), now(), now()
FROM payments p JOIN tenants t ON t.id = p.tenant_id, LATERAL (SELECT coalesce(p.paid_at, p.completed_at, p.created_at) AS since) AS s
WHERE p.status = 'success' AND p.purpose = 'activation' AND t.state NOT IN ('deleting', 'deleted');
INSERT INTO billing_gaps (began_at, ended_at) SELECT min(created_at) - interval '10 years', now() FROM subscriptions HAVING count(*) > 0;
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
DROP INDEX payments_one_charge, payments_period, payments_subscription;
UPDATE payments SET purpose = 'credit' WHERE purpose IN ('renewal', 'upgrade');
ALTER TABLE payments
    DROP CONSTRAINT payments_from_plan, DROP CONSTRAINT payments_of_subscription, DROP CONSTRAINT payments_purpose_check,
    ADD CONSTRAINT payments_purpose_check CHECK (purpose IN ('activation', 'credit')),
    DROP COLUMN attempt, DROP COLUMN charged, DROP COLUMN from_plan_id, DROP COLUMN period_end, DROP COLUMN period_start, DROP COLUMN subscription_id;
DROP TABLE billing_gaps, billing_heartbeat, subscriptions, payment_authorizations;
-- +goose StatementEnd
