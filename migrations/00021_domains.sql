-- +goose Up
-- +goose StatementBegin
-- How many own domains a client may have, proven or not. Operators change it here.
ALTER TABLE plans ADD max_domains integer NOT NULL DEFAULT 5 CHECK (max_domains BETWEEN 0 AND 1000);
UPDATE plans SET max_domains = 10 WHERE id = 'business';
UPDATE plans SET max_domains = 50 WHERE id = 'enterprise';

-- A claim to a domain, and once it is proven the right to it. Several clients may claim one; only one has it.
CREATE TABLE tenant_domains (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id     bigint NOT NULL REFERENCES tenants,
    domain        text NOT NULL CHECK (length(domain) <= 220 AND                      -- room for the label in front of the proof
                      domain ~ '^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
    display       text NOT NULL CHECK (display <> '' AND length(display) <= 255),     -- in its own script
    token         text NOT NULL CHECK (token ~ '^[0-9a-f]{32}$'),                     -- public: it is to be in the domain's DNS
    status        text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'live', 'misdirected')),
    reason_code   text NOT NULL DEFAULT '',                                           -- what the latest check found wrong
    reason        text NOT NULL DEFAULT '' CHECK (length(reason) <= 500),
    created_at    timestamptz NOT NULL,
    expires_at    timestamptz,                                                        -- of a claim that nobody proves
    verified_at   timestamptz,
    flagged_at    timestamptz,
    checked_at    timestamptz,
    next_check_at timestamptz NOT NULL,
    CONSTRAINT tenant_domains_claimed UNIQUE (tenant_id, domain),
    CONSTRAINT tenant_domains_pending CHECK ((status = 'pending') = (verified_at IS NULL) AND (status = 'pending') = (expires_at IS NOT NULL)),
    CONSTRAINT tenant_domains_flagged CHECK ((status = 'misdirected') = (flagged_at IS NOT NULL))
);
CREATE UNIQUE INDEX tenant_domains_proven ON tenant_domains (domain) WHERE status <> 'pending';
CREATE INDEX tenant_domains_claims ON tenant_domains (domain, tenant_id);
CREATE INDEX tenant_domains_due ON tenant_domains (next_check_at);

-- Which domain a client's links are to bear, and which they bear as far as we know; null: the platform address.
ALTER TABLE tenants
    ADD primary_domain  text,
    ADD link_domain     text,
    ADD link_tried_at   timestamptz,                                                  -- when it was given up last
    ADD CONSTRAINT tenants_primary_domain FOREIGN KEY (id, primary_domain) REFERENCES tenant_domains (tenant_id, domain) ON DELETE SET NULL (primary_domain);
CREATE INDEX tenants_links_differ ON tenants (id) WHERE primary_domain IS DISTINCT FROM link_domain;

-- Only what the edge's table holds wakes it: proven domains.
CREATE FUNCTION notify_edge_of_domain() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF OLD.status <> 'pending' THEN
            PERFORM pg_notify('edge_routes', OLD.tenant_id::text);
        END IF;
    ELSIF TG_OP = 'INSERT' THEN
        IF NEW.status <> 'pending' THEN
            PERFORM pg_notify('edge_routes', NEW.tenant_id::text);
        END IF;
    ELSIF (OLD.status = 'pending') <> (NEW.status = 'pending') THEN
        PERFORM pg_notify('edge_routes', NEW.tenant_id::text);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER tenant_domains_notify_edge AFTER INSERT OR UPDATE OR DELETE ON tenant_domains
    FOR EACH ROW EXECUTE FUNCTION notify_edge_of_domain();

-- Whichever way a client goes, its domains are free.
CREATE FUNCTION free_domains() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM tenant_domains WHERE tenant_id = NEW.id;
    RETURN NULL;
END $$;
CREATE TRIGGER tenants_free_domains AFTER UPDATE OF state ON tenants
    FOR EACH ROW WHEN (NEW.state = 'deleted' AND OLD.state <> 'deleted') EXECUTE FUNCTION free_domains();
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
DROP TRIGGER tenants_free_domains ON tenants;
DROP FUNCTION free_domains;
DROP INDEX tenants_links_differ;
ALTER TABLE tenants DROP CONSTRAINT tenants_primary_domain, DROP link_tried_at, DROP link_domain, DROP primary_domain;
DROP TABLE tenant_domains;
DROP FUNCTION notify_edge_of_domain;
ALTER TABLE plans DROP max_domains;
-- +goose StatementEnd
