-- +goose Up
-- +goose StatementBegin
-- What the edge lets through to a client. Operators change it here; the edge sees it with its next full reading, within two minutes.
ALTER TABLE plans
    ADD max_body_mb     integer NOT NULL DEFAULT 128 CHECK (max_body_mb BETWEEN 1 AND 16384), -- of one request, an upload mostly
    ADD max_connections integer NOT NULL DEFAULT 200 CHECK (max_connections BETWEEN 10 AND 100000); -- requests and WebSockets at a time, per edge
UPDATE plans SET max_body_mb = 256, max_connections = 500 WHERE id = 'business';
UPDATE plans SET max_body_mb = 512, max_connections = 1500 WHERE id = 'enterprise';

-- A trigger of its own beside tenants_notify_edge: a changed plan means other limits.
CREATE FUNCTION notify_edge_of_plan() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('edge_routes', NEW.id::text);
    RETURN NULL;
END $$;
CREATE TRIGGER tenants_notify_edge_of_plan AFTER UPDATE OF plan_id ON tenants
    FOR EACH ROW WHEN (OLD.plan_id IS DISTINCT FROM NEW.plan_id) EXECUTE FUNCTION notify_edge_of_plan();
-- +goose StatementEnd

-- +goose Down
DROP TRIGGER tenants_notify_edge_of_plan ON tenants;
DROP FUNCTION notify_edge_of_plan;
ALTER TABLE plans DROP max_connections, DROP max_body_mb;
