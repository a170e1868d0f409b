-- +goose Up
-- +goose StatementBegin
-- Double-entry books. Rows are added and never changed: a mistake is undone by another entry. See internal/ledger.
CREATE TABLE ledger_accounts (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text NOT NULL CONSTRAINT ledger_accounts_name UNIQUE CHECK (name ~ '^[a-z][a-z_]{1,39}(/[1-9][0-9]{0,18})?$'),
    kind       text NOT NULL CHECK (kind IN ('asset', 'liability', 'income', 'expense')),
    created_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO ledger_accounts (name, kind) VALUES
    ('gateway', 'asset'), ('fees', 'expense'), ('revenue', 'income'), ('vat', 'liability'), ('refunds_in_transit', 'liability'),
    ('disputes', 'asset'), ('write_offs', 'expense'), ('suspense', 'liability');

CREATE TABLE ledger_entries (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key        text NOT NULL CONSTRAINT ledger_entries_key UNIQUE CHECK (length(key) BETWEEN 1 AND 200),   -- what is posted, once: "payment/ODOO-…"
    mode       text NOT NULL CHECK (mode IN ('test', 'live')),   -- play money and real money are two sets of books
    at         timestamptz NOT NULL,                   -- when it happened
    kind       text NOT NULL CHECK (kind ~ '^[a-z_]{1,40}$'),
    account_id bigint REFERENCES accounts,
    tenant_id  bigint REFERENCES tenants,
    payment_id bigint REFERENCES payments,
    memo       text NOT NULL DEFAULT '' CHECK (length(memo) <= 500),
    posted_at  timestamptz NOT NULL DEFAULT now(),     -- the server's to say, as is xid
    xid        xid8 NOT NULL DEFAULT pg_current_xact_id()
);
CREATE INDEX ledger_entries_account ON ledger_entries (account_id, id);
CREATE INDEX ledger_entries_payment ON ledger_entries (payment_id) WHERE payment_id IS NOT NULL;

CREATE TABLE ledger_lines (
    entry_id          bigint NOT NULL REFERENCES ledger_entries,
    position          smallint NOT NULL CHECK (position > 0),
    ledger_account_id bigint NOT NULL REFERENCES ledger_accounts,
    currency          text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    debit_kobo        bigint NOT NULL DEFAULT 0 CHECK (debit_kobo >= 0),
    credit_kobo       bigint NOT NULL DEFAULT 0 CHECK (credit_kobo >= 0),
    PRIMARY KEY (entry_id, position),
    CHECK ((debit_kobo = 0) <> (credit_kobo = 0))
);
CREATE INDEX ledger_lines_account ON ledger_lines (ledger_account_id, entry_id);

-- An entry belongs to the transaction that wrote it: nothing is added to it later.
CREATE FUNCTION ledger_same_transaction() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM public.ledger_entries WHERE id = NEW.entry_id AND xid = pg_current_xact_id()) THEN
        RAISE EXCEPTION 'ledger entry % is closed', NEW.entry_id USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_entry_closed';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER ledger_lines_same_transaction BEFORE INSERT ON ledger_lines
    FOR EACH ROW EXECUTE FUNCTION ledger_same_transaction();

-- At the commit an entry must have lines, and debits must equal credits in each currency. Both tables ask, so that no order of
-- statements gets around it. Names are qualified: a temporary table of the same name must not be read in their place.
CREATE FUNCTION ledger_balanced() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    entry bigint := CASE TG_TABLE_NAME WHEN 'ledger_entries' THEN (to_jsonb(NEW) ->> 'id')::bigint ELSE (to_jsonb(NEW) ->> 'entry_id')::bigint END;
    wrong text;
BEGIN
    IF NOT EXISTS (SELECT FROM public.ledger_lines WHERE entry_id = entry) THEN
        RAISE EXCEPTION 'ledger entry % has no lines', entry USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_entry_balanced';
    END IF;
    SELECT string_agg(currency || ' ' || difference, ', ') INTO wrong FROM (
        SELECT currency, sum(debit_kobo) - sum(credit_kobo) AS difference FROM public.ledger_lines WHERE entry_id = entry
        GROUP BY currency HAVING sum(debit_kobo) <> sum(credit_kobo)) AS d;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'ledger entry % is out of balance: %', entry, wrong USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_entry_balanced';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER ledger_entries_balanced AFTER INSERT ON ledger_entries DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION ledger_balanced();
CREATE CONSTRAINT TRIGGER ledger_lines_balanced AFTER INSERT ON ledger_lines DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION ledger_balanced();

CREATE TRIGGER ledger_accounts_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_accounts
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER ledger_entries_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER ledger_lines_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_lines
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Taxes by country and day; a new rate is a new row.
CREATE TABLE tax_rates (
    country      text NOT NULL CHECK (country ~ '^[A-Z]{2}$'),
    valid_from   date NOT NULL,
    name         text NOT NULL CHECK (name <> ''),
    basis_points integer NOT NULL CHECK (basis_points BETWEEN 0 AND 10000),
    PRIMARY KEY (country, valid_from)
);
INSERT INTO tax_rates (country, valid_from, name, basis_points) VALUES ('NG', '2020-02-01', 'VAT', 750);

-- Whom an account's invoices are made out to; without a row, to the account's name and address.
CREATE TABLE billing_profiles (
    account_id bigint PRIMARY KEY REFERENCES accounts,
    name       text NOT NULL DEFAULT '' CHECK (length(name) <= 200),
    address    text NOT NULL DEFAULT '' CHECK (length(address) <= 500),
    country    text NOT NULL DEFAULT '' CHECK (country ~ '^([A-Z]{2})?$'),
    tax_id     text NOT NULL DEFAULT '' CHECK (length(tax_id) <= 50),
    updated_at timestamptz NOT NULL
);

-- The last number that was given; a row is locked by whoever takes the next one, until that is committed.
CREATE TABLE invoice_counters (
    series text NOT NULL,
    year   integer NOT NULL,
    last   integer NOT NULL CHECK (last >= 0),
    PRIMARY KEY (series, year)
);

CREATE TABLE invoices (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    series          text NOT NULL CHECK (series IN ('INV', 'CN', 'TEST', 'TESTCN')),
    year            integer NOT NULL CHECK (year BETWEEN 2000 AND 9999),
    sequence        integer NOT NULL CHECK (sequence > 0),
    previous        integer GENERATED ALWAYS AS (nullif(sequence - 1, 0)) STORED,
    number          text NOT NULL GENERATED ALWAYS AS
                    (series || '-' || year::text || '-' || lpad(sequence::text, greatest(6, length(sequence::text)), '0')) STORED,
    key             text NOT NULL CONSTRAINT invoices_key UNIQUE CHECK (length(key) BETWEEN 1 AND 200),   -- what is invoiced, once
    credits_id      bigint REFERENCES invoices,          -- of a credit note: the invoice that it takes from
    account_id      bigint NOT NULL REFERENCES accounts,
    tenant_id       bigint REFERENCES tenants,
    payment_id      bigint REFERENCES payments,
    issued_at       timestamptz NOT NULL,
    period_start    date,
    period_end      date CHECK (period_end >= period_start),
    currency        text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    tax_name        text NOT NULL,
    tax_basis_points integer NOT NULL CHECK (tax_basis_points BETWEEN 0 AND 10000),
    net_kobo        bigint NOT NULL CHECK (net_kobo >= 0),
    tax_kobo        bigint NOT NULL CHECK (tax_kobo >= 0),
    gross_kobo      bigint NOT NULL CHECK (gross_kobo > 0 AND gross_kobo = net_kobo + tax_kobo),
    reference       text NOT NULL DEFAULT '',            -- the payment's, as the customer knows it
    reason          text NOT NULL DEFAULT '',            -- of a credit note
    seller          jsonb NOT NULL,                      -- both as they were on that day
    buyer           jsonb NOT NULL,
    CONSTRAINT invoices_number UNIQUE (series, year, sequence),
    CONSTRAINT invoices_gapless FOREIGN KEY (series, year, previous) REFERENCES invoices (series, year, sequence),
    CHECK ((series IN ('CN', 'TESTCN')) = (credits_id IS NOT NULL))
);
CREATE UNIQUE INDEX invoices_by_number ON invoices (number);
CREATE INDEX invoices_account ON invoices (account_id, id DESC);
CREATE INDEX invoices_credits ON invoices (credits_id) WHERE credits_id IS NOT NULL;
CREATE INDEX invoices_payment ON invoices (payment_id) WHERE payment_id IS NOT NULL;

CREATE TABLE invoice_lines (
    invoice_id  bigint NOT NULL REFERENCES invoices,
    position    smallint NOT NULL CHECK (position > 0),
    description text NOT NULL CHECK (length(description) BETWEEN 1 AND 500),
    quantity    integer NOT NULL CHECK (quantity > 0),
    net_kobo    bigint NOT NULL CHECK (net_kobo >= 0),
    tax_kobo    bigint NOT NULL CHECK (tax_kobo >= 0),
    gross_kobo  bigint NOT NULL CHECK (gross_kobo > 0 AND gross_kobo = net_kobo + tax_kobo),
    PRIMARY KEY (invoice_id, position)
);

-- At the commit an invoice's lines must add up to it.
CREATE FUNCTION invoice_adds_up() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    invoice bigint := CASE TG_TABLE_NAME WHEN 'invoices' THEN (to_jsonb(NEW) ->> 'id')::bigint ELSE (to_jsonb(NEW) ->> 'invoice_id')::bigint END;
BEGIN
    IF NOT EXISTS (
        SELECT FROM public.invoices i
        JOIN (SELECT sum(net_kobo) AS net, sum(tax_kobo) AS tax FROM public.invoice_lines WHERE invoice_id = invoice) l
            ON l.net = i.net_kobo AND l.tax = i.tax_kobo
        WHERE i.id = invoice) THEN
        RAISE EXCEPTION 'the lines of invoice % don''t add up to it', invoice USING ERRCODE = 'check_violation', CONSTRAINT = 'invoice_adds_up';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER invoices_add_up AFTER INSERT ON invoices DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION invoice_adds_up();
CREATE CONSTRAINT TRIGGER invoice_lines_add_up AFTER INSERT ON invoice_lines DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION invoice_adds_up();

CREATE TRIGGER invoices_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON invoices
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER invoice_lines_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON invoice_lines
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
-- +goose StatementEnd

-- +goose Down
DROP TABLE invoice_lines, invoices, invoice_counters, billing_profiles, tax_rates, ledger_lines, ledger_entries, ledger_accounts;
DROP FUNCTION invoice_adds_up, ledger_balanced, ledger_same_transaction;
