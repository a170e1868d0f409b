-- +goose Up
-- +goose StatementBegin
-- Part of a payment, or all of it, may come from money that we hold for the customer; amount_kobo stays what the gateway is asked for.
ALTER TABLE payments
    ADD COLUMN credit_kobo bigint NOT NULL DEFAULT 0 CHECK (credit_kobo >= 0),
    DROP CONSTRAINT payments_amount_kobo_check,
    ADD CONSTRAINT payments_amount_kobo_check CHECK (amount_kobo > 0 OR amount_kobo = 0 AND credit_kobo > 0);
-- A period whose payment was given back may be paid again.
DROP INDEX payments_period;
CREATE UNIQUE INDEX payments_period ON payments (subscription_id, period_start) WHERE status = 'success' AND purpose = 'renewal';
CREATE INDEX payments_gateway ON payments (gateway_id) WHERE gateway_id IS NOT NULL;

ALTER TABLE credits
    ADD COLUMN used_kobo bigint NOT NULL DEFAULT 0,
    ADD CONSTRAINT credits_used CHECK (used_kobo BETWEEN 0 AND amount_kobo);
CREATE INDEX credits_kept ON credits (account_id, id) WHERE resolution = 'kept';

-- What a credit paid for. A row says returned_at once the money is the customer's credit again.
CREATE TABLE credit_uses (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    credit_id   bigint NOT NULL REFERENCES credits,
    payment_id  bigint NOT NULL REFERENCES payments,
    amount_kobo bigint NOT NULL CHECK (amount_kobo > 0),
    used_at     timestamptz NOT NULL,
    returned_at timestamptz CHECK (returned_at >= used_at),
    CONSTRAINT credit_uses_once UNIQUE (payment_id, credit_id)
);
CREATE INDEX credit_uses_credit ON credit_uses (credit_id);

ALTER TABLE refunds
    ADD COLUMN end_subscription boolean NOT NULL DEFAULT false,   -- what the payment paid for ends when the money is back
    ADD COLUMN to_credit        boolean NOT NULL DEFAULT false;   -- not to the customer's bank: to their credit with us

-- What was paid is with its payer again: nothing is charged, and no credit spent, until somebody pays by hand.
ALTER TABLE subscriptions ADD COLUMN returned_at timestamptz;

ALTER TABLE invoices
    ADD COLUMN credit_kobo bigint NOT NULL DEFAULT 0 CHECK (credit_kobo BETWEEN 0 AND gross_kobo),   -- of it paid from the customer's credit
    ADD COLUMN tax_note    text NOT NULL DEFAULT '' CHECK (length(tax_note) <= 300);                 -- why the tax isn't the usual one

-- The tax on what is sold to buyers of other countries. Without a row the seller's own rate holds for everybody.
CREATE TABLE tax_exports (
    country      text NOT NULL CHECK (country ~ '^[A-Z]{2}$'),           -- the seller's
    buyer        text NOT NULL DEFAULT '' CHECK (buyer ~ '^([A-Z]{2})?$'), -- '': every other country
    valid_from   date NOT NULL,
    name         text NOT NULL CHECK (name <> ''),
    basis_points integer NOT NULL CHECK (basis_points BETWEEN 0 AND 10000),
    note         text NOT NULL CHECK (length(note) BETWEEN 1 AND 300),   -- printed on the invoice
    PRIMARY KEY (country, buyer, valid_from),
    CHECK (buyer <> country)
);
INSERT INTO tax_exports (country, valid_from, name, basis_points, note) VALUES
    ('NG', '2020-02-01', 'VAT', 0, 'No VAT is charged: services exported from Nigeria to a buyer abroad.');
-- +goose StatementEnd

-- +goose Down
DROP TABLE tax_exports;
ALTER TABLE invoices DROP COLUMN tax_note, DROP COLUMN credit_kobo;
ALTER TABLE refunds DROP COLUMN to_credit, DROP COLUMN end_subscription;
ALTER TABLE subscriptions DROP COLUMN returned_at;
DROP TABLE credit_uses;
DROP INDEX credits_kept, payments_gateway, payments_period;
UPDATE payments p SET purpose = 'credit' WHERE status = 'refunded' AND purpose = 'renewal' AND EXISTS (
    SELECT FROM payments o WHERE o.subscription_id = p.subscription_id AND o.period_start = p.period_start AND o.purpose = 'renewal' AND o.id > p.id);
CREATE UNIQUE INDEX payments_period ON payments (subscription_id, period_start)
    WHERE status IN ('success', 'refunded') AND purpose = 'renewal';
ALTER TABLE credits DROP COLUMN used_kobo;
UPDATE payments SET amount_kobo = credit_kobo WHERE amount_kobo = 0;
ALTER TABLE payments
    DROP CONSTRAINT payments_amount_kobo_check,
    ADD CONSTRAINT payments_amount_kobo_check CHECK (amount_kobo > 0),
    DROP COLUMN credit_kobo;
