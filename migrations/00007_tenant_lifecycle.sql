-- +goose Up
-- +goose StatementBegin
ALTER TABLE tenants
    ADD COLUMN suspended_by         text CHECK (suspended_by IN ('owner', 'admin', 'billing', 'quota')),
    ADD COLUMN suspend_reason       text CHECK (length(suspend_reason) <= 500),
    ADD COLUMN return_state         text CHECK (return_state IN ('pending', 'active', 'suspended', 'failed')), -- where a cancelled deletion goes back to
    ADD COLUMN final_backup_skipped text CHECK (length(final_backup_skipped) <= 500);                           -- why an admin did without one

-- Nothing made such rows before; those that were made by hand become whole.
UPDATE tenants SET desired = 'suspended', suspended_by = 'admin' WHERE state = 'suspended';
UPDATE tenants SET desired = 'deleted' WHERE state IN ('scheduled_for_deletion', 'deleting', 'deleted');
UPDATE tenants SET return_state = CASE WHEN paid_at IS NULL THEN 'pending' ELSE 'active' END,
    deletion_scheduled_at = coalesce(deletion_scheduled_at, now() + interval '12 hours') WHERE state = 'scheduled_for_deletion';
UPDATE tenants SET deletion_scheduled_at = NULL WHERE state NOT IN ('scheduled_for_deletion', 'deleting', 'deleted');
UPDATE tenants SET state = 'deleted', deleted_at = now() WHERE state = 'deleting' AND paid_at IS NULL;

-- What can't be is refused here too, so that no mistake above makes a free tenant, or deletes one that should run.
ALTER TABLE tenants
    DROP CONSTRAINT tenants_paid,
    ADD CONSTRAINT tenants_paid CHECK (CASE
        WHEN state = 'deleted' THEN true
        WHEN state = 'pending' OR return_state = 'pending' THEN paid_at IS NULL
        ELSE paid_at IS NOT NULL END),
    ADD CONSTRAINT tenants_desired_fits CHECK (CASE state
        WHEN 'pending' THEN desired = 'active'
        WHEN 'provisioning' THEN desired = 'active'
        WHEN 'scheduled_for_deletion' THEN desired = 'deleted' OR (desired = 'active' AND return_state = 'active')
        WHEN 'deleting' THEN desired = 'deleted'
        WHEN 'deleted' THEN desired = 'deleted'
        ELSE desired <> 'deleted' END),
    ADD CONSTRAINT tenants_return CHECK ((return_state IS NOT NULL) = (state = 'scheduled_for_deletion')),
    ADD CONSTRAINT tenants_deletion_time CHECK (CASE state
        WHEN 'scheduled_for_deletion' THEN (deletion_scheduled_at IS NOT NULL) = (desired = 'deleted')
        WHEN 'deleting' THEN true
        WHEN 'deleted' THEN true
        ELSE deletion_scheduled_at IS NULL END),
    ADD CONSTRAINT tenants_suspended_by_whom CHECK (CASE
        WHEN state = 'suspended' OR desired = 'suspended' OR return_state = 'suspended' THEN suspended_by IS NOT NULL
        WHEN return_state = 'failed' THEN true
        ELSE suspended_by IS NULL END),
    ADD CONSTRAINT tenants_suspend_reason CHECK (suspend_reason IS NULL OR suspended_by IS NOT NULL),
    ADD CONSTRAINT tenants_backup_skipped CHECK (final_backup_skipped IS NULL OR state IN ('deleting', 'deleted'));

-- Lists and counts leave out what is deleted, of which there will be ever more; each shape of list has its index.
CREATE INDEX tenants_listed ON tenants (id) WHERE state <> 'deleted';
CREATE INDEX tenants_listed_by_state ON tenants (state, id) WHERE state <> 'deleted';
CREATE INDEX tenants_listed_by_account ON tenants (account_id, id) INCLUDE (state) WHERE state <> 'deleted';
CREATE INDEX tenants_due_deletion ON tenants (deletion_scheduled_at) WHERE state = 'scheduled_for_deletion' AND desired = 'deleted';
DROP INDEX tenants_account;
CREATE INDEX tenants_account ON tenants (account_id) WHERE state = 'deleted'; -- with the one above: all of an account's

-- The edge also sees what is wanted: a tenant whose suspension is under way is shown as suspended at once.
CREATE OR REPLACE FUNCTION notify_edge() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND (OLD.domain, OLD.state, OLD.desired, OLD.address, OLD.http_port, OLD.event_port)
        IS NOT DISTINCT FROM (NEW.domain, NEW.state, NEW.desired, NEW.address, NEW.http_port, NEW.event_port) THEN
        RETURN NULL;
    END IF;
    PERFORM pg_notify('edge_routes', NEW.id::text);
    RETURN NULL;
END $$;
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION notify_edge() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND (OLD.domain, OLD.state, OLD.address, OLD.http_port, OLD.event_port)
        IS NOT DISTINCT FROM (NEW.domain, NEW.state, NEW.address, NEW.http_port, NEW.event_port) THEN
        RETURN NULL;
    END IF;
    PERFORM pg_notify('edge_routes', NEW.id::text);
    RETURN NULL;
END $$;
DROP INDEX tenants_account, tenants_due_deletion, tenants_listed_by_account, tenants_listed_by_state, tenants_listed;
CREATE INDEX tenants_account ON tenants (account_id, id);
ALTER TABLE tenants
    DROP CONSTRAINT tenants_backup_skipped, DROP CONSTRAINT tenants_suspend_reason, DROP CONSTRAINT tenants_suspended_by_whom,
    DROP CONSTRAINT tenants_deletion_time, DROP CONSTRAINT tenants_return, DROP CONSTRAINT tenants_desired_fits, DROP CONSTRAINT tenants_paid,
    ADD CONSTRAINT tenants_paid CHECK (state IN ('pending', 'scheduled_for_deletion', 'deleting', 'deleted') OR paid_at IS NOT NULL),
    DROP COLUMN final_backup_skipped, DROP COLUMN return_state, DROP COLUMN suspend_reason, DROP COLUMN suspended_by;
-- +goose StatementEnd
