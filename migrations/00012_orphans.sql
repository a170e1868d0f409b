-- +goose Up
-- What bears our installation's id outside this database and belongs to nothing of ours. It is removed after a time of grace.
CREATE TABLE orphans (
    kind       text NOT NULL CHECK (kind IN ('container', 'network', 'volume', 'database', 'role', 'template')),
    name       text NOT NULL,
    object_id  text NOT NULL,            -- tells it from a later one of the same name
    owner      text NOT NULL,            -- "tenant/42", as the object says; "" for none
    reason     text NOT NULL,
    first_seen timestamptz NOT NULL,
    last_seen  timestamptz NOT NULL,
    PRIMARY KEY (kind, name)
);

-- A template that no plan needs any more is removed; its row stays, since it tells the image of the tenants cloned from it.
ALTER TABLE templates DROP CONSTRAINT templates_state_check, ADD CONSTRAINT templates_state_check
    CHECK (state IN ('building', 'ready', 'failed', 'removed'));

-- +goose Down
DELETE FROM templates WHERE state = 'removed';
ALTER TABLE templates DROP CONSTRAINT templates_state_check, ADD CONSTRAINT templates_state_check
    CHECK (state IN ('building', 'ready', 'failed'));
DROP TABLE orphans;
